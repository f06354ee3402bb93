"""The completion network: a crop -> where the whole object is.

A U-Net at half the crop's resolution, whose last layer gives a block of two by two pixels. While
it is trained it also learns the object's colours, beside the outline.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.complete.lite.scaled import INPUT_CHANNELS
from training.common.layers import GROUPS, UNet, of_seed

CHANNELS = (16, 32, 64, 96)
FINE = 32
OUTPUT_CHANNELS = 4  # the outline's logit, and colours


class Completer(UNet):
    """The network; see the module's docstring."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__(INPUT_CHANNELS, channels)
        self.fine = nn.Sequential(
            nn.GroupNorm(GROUPS, channels[0]), nn.SiLU(),
            nn.Conv2d(channels[0], FINE, 3, padding=1), nn.SiLU(),
            nn.Conv2d(FINE, 4 * OUTPUT_CHANNELS, 1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, 7, S, S) inputs, S a multiple of 16 -> (B, 4, S, S): a logit of "the object is
        here", and sRGB in [0, 1], as a change of the given colours."""
        raw = self.fine(self.features(x)[0])
        return torch.cat([raw[:, :1], raw[:, 1:] + (x[:, :3] + 1) / 2], 1)


class Outline(nn.Module):
    """What of a Completer is shipped: its outline."""

    def __init__(self, completer: Completer) -> None:
        super().__init__()
        self.completer = completer

    def forward(self, x: Tensor) -> Tensor:
        """(B, 7, S, S) -> (B, 1, S, S)."""
        return self.completer(x)[:, :1]


def new_network(seed: int, channels: tuple[int, ...] = CHANNELS) -> Completer:
    """A network with the initial weights of a seed; the global generator is left as it was."""
    return of_seed(seed, lambda: Completer(channels))
