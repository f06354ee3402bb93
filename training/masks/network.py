"""What finds a mask in a box? A few convolutions on the detector's features and the photo."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.common.layers import of_seed

FEATURES = 64 + 128 + 256  # channels of strides 4, 8 and 16
WIDTH, FINE = 48, 16  # channels of the window's coarse and fine grids
DILATIONS = (1, 2, 4, 1)  # the last layers see the whole window


class MaskHead(nn.Module):
    """features (N, 448, 28, 28), colours (N, 3, 56, 56) -> logits (N, 56, 56)."""

    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(FEATURES, WIDTH, 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(WIDTH + 2 * (i == 0), WIDTH, 3, padding=d, dilation=d)
            for i, d in enumerate(DILATIONS)
        )
        self.whole = nn.Linear(WIDTH, WIDTH)
        self.colour = nn.Conv2d(3, FINE, 3, padding=1)
        self.narrow = nn.Conv2d(WIDTH, FINE, 1)
        self.fine = nn.Conv2d(2 * FINE, 2 * FINE, 3, padding=1)
        self.finest = nn.Conv2d(2 * FINE, FINE, 3, padding=1)
        self.answer = nn.Conv2d(FINE, 1, 1)
        cells = self.answer.weight.new_tensor([(i + 0.5) / 14 - 1 for i in range(28)])
        self.register_buffer("place", torch.stack(torch.meshgrid(cells, cells, indexing="ij")))

    def forward(self, features: Tensor, colours: Tensor) -> Tensor:
        x = functional.gelu(self.stem(features))
        place = self.place[None].expand(x.shape[0], -1, -1, -1)
        x = functional.gelu(self.blocks[0](torch.cat([x, place], 1)))
        for block in self.blocks[1:]:
            x = x + functional.gelu(block(x))
        x = x + self.whole(x.mean((2, 3)))[:, :, None, None]
        wide = functional.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear")
        y = torch.cat([wide, functional.gelu(self.colour(colours))], 1)
        y = y + functional.gelu(self.fine(y))
        return self.answer(functional.gelu(self.finest(y)))[:, 0]


class Likely(nn.Module):
    """The head as it is exported: likelihoods in [0, 1] instead of logits."""

    def __init__(self, head: MaskHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, colours: Tensor) -> Tensor:
        return torch.sigmoid(self.head(features, colours))


def new_network(seed: int) -> MaskHead:
    """A network with the initial weights of a seed; the global generator is left as it was."""
    return of_seed(seed, MaskHead)
