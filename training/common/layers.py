"""What are the networks made of? Residual blocks, attention, a U-Net; weights of a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

GROUPS = 8
HEADS = 4

Network = TypeVar("Network", bound=nn.Module)


def of_seed(seed: int, make: Callable[[], Network]) -> Network:
    """A network with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class Residual(nn.Module):
    """Two convolutions beside a shortcut; starts as the shortcut alone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, inputs), nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, outputs), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(functional.silu(self.norm2(h)))


class Attention(nn.Module):
    """Every position looks at all others; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        split = self.query_key_value(tokens).view(batch, -1, 3, HEADS, channels // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-1, -2) * (channels // HEADS) ** -0.5).softmax(-1)
        mixed = self.out((weights @ value).transpose(1, 2).reshape(batch, -1, channels))
        return x + mixed.transpose(1, 2).reshape(batch, channels, height, width)


class UNet(nn.Module):
    """Features of a picture at half its resolution and below (Ronneberger et al. 2015)."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        """channels: of every level, the finest first."""
        super().__init__()
        last, pairs = channels[-1], list(zip(channels, channels[1:], strict=False))
        self.stem = nn.Conv2d(inputs, channels[0], 5, stride=2, padding=2)
        self.down_blocks = nn.ModuleList(Residual(c, c) for c in channels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.middle = nn.Sequential(Residual(last, last), Attention(last), Residual(last, last))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up_blocks = nn.ModuleList(Residual(2 * c, c) for c in channels[:-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """(B, I, S, S), S a multiple of 2 to the number of levels -> of every level, the finest
        first: (B, C, S / 2, S / 2), ..."""
        h = self.stem(x)
        skipped = []
        for i, block in enumerate(self.down_blocks):
            h = block(h)
            if i < len(self.down):
                skipped.append(h)
                h = self.down[i](h)
        levels = [self.middle(h)]
        for i in reversed(range(len(self.up_blocks))):
            h = functional.interpolate(self.narrow[i](levels[0]), scale_factor=2.0, mode="nearest")
            levels.insert(0, self.up_blocks[i](torch.cat([h, skipped[i]], 1)))
        return levels
