"""How do the structure latent and the occupied voxels of a dense grid become each other?

The sparse-structure autoencoder: dense 3D convolutions, tensors indexed (batch, channel, x, y, z).
Architecture and state-dict names: Pixal3D, commit cdbb2bb, models/sparse_structure_vae.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.voxels import Voxels


@dataclass(frozen=True)
class StructureConfig:
    """Sizes of the decoder or the encoder; the defaults are the decoder ss_dec_conv3d_16l8_fp16.

    image_channels: of the dense grid. channels: one width per level, in the network's own order
    (the encoder's is (32, 128, 512)); every level doubles or halves the grid. blocks: residual
    blocks per level; middle_blocks: those at the coarsest level beside the latent.
    """

    image_channels: int = 1
    latent_channels: int = 8
    channels: tuple[int, ...] = (512, 128, 32)
    blocks: int = 2
    middle_blocks: int = 2


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels at every grid point, affine, computed in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to the same, in the dtype that came."""
        last = input.movedim(1, -1).float()
        last = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return last.movedim(-1, 1).to(input.dtype)


class ResBlock(nn.Module):
    """Two 3x3x3 convolutions, each after a norm and SiLU, beside the identity."""

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1, dtype=dtype)
        self.norm2 = ChannelNorm(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, dtype=dtype)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to the same."""
        inner = self.conv1(F.silu(self.norm1(grid)))
        return grid + self.conv2(F.silu(self.norm2(inner)))


class Upsample(nn.Module):
    """A 3x3x3 convolution to eight times the channels, then a pixel shuffle to twice the grid."""

    def __init__(self, in_channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, 8 * out_channels, 3, padding=1, dtype=dtype)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to (B, C', 2X, 2Y, 2Z)."""
        return pixel_shuffle(self.conv(grid))


class Downsample(nn.Module):
    """A 2x2x2 convolution with stride 2."""

    def __init__(self, in_channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 2, stride=2, dtype=dtype)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, 2X, 2Y, 2Z) to (B, C', X, Y, Z)."""
        return self.conv(grid)


def pixel_shuffle(grid: Tensor) -> Tensor:
    """Spread groups of eight channels over 2x2x2 grid points.

    (B, 8 C, X, Y, Z) to (B, C, 2X, 2Y, 2Z): channel 8 c + 4 i + 2 j + k goes to channel c at offset
    (i, j, k), so x is the HIGH bit here, unlike in the sparse networks.
    """
    batch, channels, *sizes = grid.shape
    blocks = grid.view(batch, channels // 8, 2, 2, 2, *sizes).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, channels // 8, *(2 * size for size in sizes))


def occupied_voxels(logits: Tensor, pool: int = 1) -> Voxels:
    """The voxels whose occupancy logit is positive, ordered by (batch, x, y, z).

    logits: (B, 1, X, Y, Z). pool: side of the cubes of grid points that make one voxel each,
    occupied if any of them is (a max-pool; Pixal3D pools the 64^3 grid by 2). Raises ValueError
    for another shape.
    """
    if logits.ndim != 5 or logits.shape[1] != 1:
        raise ValueError(f"occupancy logits must be (B, 1, X, Y, Z), not {tuple(logits.shape)}")
    occupancy = (logits > 0).float()
    if pool > 1:
        occupancy = F.max_pool3d(occupancy, pool)
    return Voxels(occupancy[:, 0].nonzero().int())


class StructureDecoder(nn.Module):
    """From the structure latent to occupancy logits of a grid 2^(levels - 1) times as fine.

    body_dtype: of everything but the norms and the first and last layer, which are float32 (the
    released network runs its body in float16).
    """

    def __init__(self, config: StructureConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        channels = config.channels
        self.input_layer = nn.Conv3d(config.latent_channels, channels[0], 3, padding=1)
        middle = (ResBlock(channels[0], body_dtype) for _ in range(config.middle_blocks))
        self.middle_block = nn.Sequential(*middle)
        self.blocks = nn.Sequential()
        for width, next_width in pairwise((*channels, 0)):
            self.blocks.extend(ResBlock(width, body_dtype) for _ in range(config.blocks))
            if next_width:
                self.blocks.append(Upsample(width, next_width, body_dtype))
        self.out_layer = _out_layer(channels[-1], config.image_channels)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, latent channels, X, Y, Z) float32 to (B, image channels, sX, sY, sZ) float32 logits.

        Raises ValueError for another number of dimensions or channels.
        """
        _check_grid(latent, self.config.latent_channels)
        hidden = self.input_layer(latent).to(self.body_dtype)
        hidden = self.blocks(self.middle_block(hidden))
        return self.out_layer(hidden.to(latent.dtype))


class StructureEncoder(nn.Module):
    """From an occupancy grid to the mean and log variance of its structure latent.

    body_dtype: as in `StructureDecoder`.
    """

    def __init__(self, config: StructureConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        channels = config.channels
        self.input_layer = nn.Conv3d(config.image_channels, channels[0], 3, padding=1)
        self.blocks = nn.Sequential()
        for width, next_width in pairwise((*channels, 0)):
            self.blocks.extend(ResBlock(width, body_dtype) for _ in range(config.blocks))
            if next_width:
                self.blocks.append(Downsample(width, next_width, body_dtype))
        middle = (ResBlock(channels[-1], body_dtype) for _ in range(config.middle_blocks))
        self.middle_block = nn.Sequential(*middle)
        self.out_layer = _out_layer(channels[-1], 2 * config.latent_channels)

    def forward(self, occupancy: Tensor) -> tuple[Tensor, Tensor]:
        """(B, image channels, X, Y, Z) float32, 0 or 1, to (mean, log variance) of the latent.

        Each is (B, latent channels, X/s, Y/s, Z/s). Raises ValueError for another number of
        dimensions or channels.
        """
        _check_grid(occupancy, self.config.image_channels)
        hidden = self.input_layer(occupancy).to(self.body_dtype)
        hidden = self.middle_block(self.blocks(hidden))
        mean, log_variance = self.out_layer(hidden.to(occupancy.dtype)).chunk(2, dim=1)
        return mean, log_variance


def _out_layer(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv3d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(ChannelNorm(in_channels), nn.SiLU(), convolution)


def _check_grid(grid: Tensor, channels: int) -> None:
    if grid.ndim != 5 or grid.shape[1] != channels:
        raise ValueError(f"expected a (B, {channels}, X, Y, Z) grid, not {tuple(grid.shape)}")
