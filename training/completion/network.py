"""The completion network: a crop -> where the whole object is.

A U-Net at half the crop's resolution, whose last layer gives a block of two by two pixels. While
it is trained it also learns the object's colours, beside the outline.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.complete.lite.scaled import INPUT_CHANNELS
from training.generator.network import GROUPS, Attention, Residual

CHANNELS = (16, 32, 64, 96)
FINE = 32
OUTPUT_CHANNELS = 4  # the outline's logit, and colours


class Completer(nn.Module):
    """The network; see the module's docstring."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        first, last = channels[0], channels[-1]
        pairs = list(zip(channels, channels[1:], strict=False))
        self.stem = nn.Conv2d(INPUT_CHANNELS, first, 5, stride=2, padding=2)
        self.down_blocks = nn.ModuleList(Residual(c, c) for c in channels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.middle = nn.Sequential(Residual(last, last), Attention(last), Residual(last, last))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up_blocks = nn.ModuleList(Residual(2 * c, c) for c in channels[:-1])
        self.fine = nn.Sequential(
            nn.GroupNorm(GROUPS, first), nn.SiLU(), nn.Conv2d(first, FINE, 3, padding=1),
            nn.SiLU(), nn.Conv2d(FINE, 4 * OUTPUT_CHANNELS, 1), nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, 7, S, S) inputs, S a multiple of 16 -> (B, 4, S, S): a logit of "the object is
        here", and sRGB in [0, 1], as a change of the given colours."""
        h = self.stem(x)
        skipped = []
        for i, block in enumerate(self.down_blocks):
            h = block(h)
            if i < len(self.down):
                skipped.append(h)
                h = self.down[i](h)
        h = self.middle(h)
        for i in reversed(range(len(self.up_blocks))):
            h = functional.interpolate(self.narrow[i](h), scale_factor=2.0, mode="nearest")
            h = self.up_blocks[i](torch.cat([h, skipped[i]], 1))
        raw = self.fine(h)
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Completer(channels)
