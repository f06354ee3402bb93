"""The lite generator's network: a picture of one object -> its layers along every pixel's ray.

A U-Net whose depth maps have half the picture's resolution. The finest head adds detail to what a
head one level lower says, so that the object's pose is settled where the receptive field is large.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

INPUTS = 11  # see `stages.generate.lite.layered.network_input`
LAYERS = 4  # first surface, near and far end of the gap, last surface
OUTPUTS = LAYERS + 2 + 6  # ... logits of gap and object, colours of the last surface and in the gap
CHANNELS = (24, 48, 96, 160)
GROUPS = 8
HEADS = 4
DEPTH_GAIN = 0.3  # raw outputs of size one are a third of the cube's side
DEPTH_START = (-0.15, 0.0, 0.1, 0.15)  # where the layers lie before anything is learned


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


class LayeredDepth(nn.Module):
    """The network; see the module's docstring."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(INPUTS, channels[0], 5, stride=2, padding=2)
        self.down_blocks = nn.ModuleList(Residual(c, c) for c in channels)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(channels, channels[1:], strict=False)
        )
        last = channels[-1]
        self.middle = nn.Sequential(Residual(last, last), Attention(last), Residual(last, last))
        self.narrow = nn.ModuleList(
            nn.Conv2d(b, a, 1) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.up_blocks = nn.ModuleList(Residual(2 * c, c) for c in channels[:-1])
        self.fine = nn.Sequential(
            nn.GroupNorm(GROUPS, channels[0]), nn.SiLU(),
            nn.Conv2d(channels[0], 48, 3, padding=1), nn.SiLU(), nn.Conv2d(48, OUTPUTS, 1),
        )  # fmt: skip
        self.coarse = nn.Sequential(
            nn.GroupNorm(GROUPS, channels[1]), nn.SiLU(), nn.Conv2d(channels[1], OUTPUTS, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 11, S, S) inputs, S a multiple of 16 -> (B, 12, S/2, S/2).

        Channels of the result: z of the four layers; logits of "there is a gap" and "the object is
        here"; sRGB in [0, 1] of the last surface and of the gap's far end.
        """
        h = self.stem(x)
        skipped = []
        for i, block in enumerate(self.down_blocks):
            h = block(h)
            if i < len(self.down):
                skipped.append(h)
                h = self.down[i](h)
        h = self.middle(h)
        coarse = h
        for i in reversed(range(len(self.up_blocks))):
            h = functional.interpolate(self.narrow[i](h), scale_factor=2.0, mode="nearest")
            h = self.up_blocks[i](torch.cat([h, skipped[i]], 1))
            coarse = h if i == 1 else coarse
        low = functional.interpolate(
            self.coarse(coarse), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        raw = self.fine(h) + low
        start = raw.new_tensor(DEPTH_START).view(1, LAYERS, 1, 1)
        depths = start + DEPTH_GAIN * raw[:, :LAYERS]
        colours = raw[:, LAYERS + 2 :].sigmoid()
        return torch.cat([depths, raw[:, LAYERS : LAYERS + 2], colours], 1)


def new_network(seed: int, channels: tuple[int, ...] = CHANNELS) -> LayeredDepth:
    """A network with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LayeredDepth(channels)
