"""The dense 3D U-Net of the refiners.

Architecture and state-dict names: Direct3D-S2, commit a1cf235, models/refiner/unet3d.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS, EPS = 4, 1e-5
WIDTHS = (8, 32, 128, 512)  # of every released refiner


class UNet3D(nn.Module):
    """(B, in_channels, X, Y, Z) to (B, widths[0], X, Y, Z); sides are multiples of 8."""

    def __init__(
        self,
        in_channels: int,
        layers: int,
        middle_layers: int,
        widths: Sequence[int] = WIDTHS,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv3d(in_channels, widths[0], 3, padding=1, dtype=dtype)
        self.down_blocks = nn.ModuleList(
            DownBlock(widths[max(i - 1, 0)], widths[i], layers, i < last, dtype)
            for i in range(last + 1)
        )
        self.mid_block = MiddleBlock(widths[-1], middle_layers, dtype)
        up = list(reversed(widths))
        self.up_blocks = nn.ModuleList(
            UpBlock(up[min(i + 1, last)], up[max(i - 1, 0)], up[i], layers + 1, i < last, dtype)
            for i in range(last + 1)
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[0], EPS)

    def forward(self, grid: Tensor) -> Tensor:
        hidden = self.conv_in(grid)
        kept = [hidden]
        for block in self.down_blocks:
            hidden, outputs = block(hidden)
            kept += outputs
        hidden = self.mid_block(hidden)
        for block in self.up_blocks:
            hidden = block(hidden, kept)
        return F.silu(self.conv_norm_out(hidden.float()).to(grid.dtype))


class ResnetBlock(nn.Module):
    """Two convolutions, each after group norm (float32) and SiLU, beside a skip."""

    def __init__(self, channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, EPS)
        self.conv1 = nn.Conv3d(channels, out_channels, 3, padding=1, dtype=dtype)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, EPS)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, dtype=dtype)
        self.conv_shortcut = nn.Identity()
        if channels != out_channels:
            self.conv_shortcut = nn.Conv3d(channels, out_channels, 1, dtype=dtype)

    def forward(self, grid: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(grid.float()).to(grid.dtype)))
        hidden = self.conv2(F.silu(self.norm2(hidden.float()).to(grid.dtype)))
        return self.conv_shortcut(grid) + hidden


class Resize(nn.Module):
    """A convolution to half the grid, or a transposed one to twice of it."""

    def __init__(self, channels: int, larger: bool, dtype: torch.dtype) -> None:
        super().__init__()
        kind = nn.ConvTranspose3d if larger else nn.Conv3d
        self.conv = kind(channels, channels, 2, stride=2, dtype=dtype)

    def forward(self, grid: Tensor) -> Tensor:
        return self.conv(grid)


class DownBlock(nn.Module):
    """Residual blocks, then half the grid; all that they give is kept for the way up."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, halves: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        inputs = [channels] + [out_channels] * (layers - 1)
        self.resnets = nn.ModuleList(ResnetBlock(c, out_channels, dtype) for c in inputs)
        self.downsamplers = nn.ModuleList([Resize(out_channels, False, dtype)] if halves else [])

    def forward(self, grid: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs = []
        for layer in (*self.resnets, *self.downsamplers):
            grid = layer(grid)
            outputs.append(grid)
        return grid, outputs


class MiddleBlock(nn.Module):
    """One residual block and `layers` more at the coarsest grid."""

    def __init__(self, channels: int, layers: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock(channels, channels, dtype) for _ in range(layers + 1)
        )

    def forward(self, grid: Tensor) -> Tensor:
        for layer in self.resnets:
            grid = layer(grid)
        return grid


class UpBlock(nn.Module):
    """Residual blocks, each reading what was kept on the way down, then twice the grid."""

    def __init__(
        self,
        kept_last: int,
        channels: int,
        out_channels: int,
        layers: int,
        doubles: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        before = [channels] + [out_channels] * (layers - 1)
        kept = [out_channels] * (layers - 1) + [kept_last]
        self.resnets = nn.ModuleList(
            ResnetBlock(a + b, out_channels, dtype) for a, b in zip(before, kept, strict=True)
        )
        self.upsamplers = nn.ModuleList([Resize(out_channels, True, dtype)] if doubles else [])

    def forward(self, grid: Tensor, kept: list[Tensor]) -> Tensor:
        """kept: outputs of the way down, of which the last ones are taken away."""
        for layer in self.resnets:
            grid = layer(torch.cat((grid, kept.pop()), 1))
        for layer in self.upsamplers:
            grid = layer(grid)
        return grid
