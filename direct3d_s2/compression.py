"""How do the keys and values of a block of voxels become one? The two released compressors.

Convolutions keep torchsparse's parameters: `conv.kernel` is (27, in, out), or (in, out) for a
1x1x1, with taps numbered 9 z + 3 y + x (x fastest), and `conv.bias`. Facts: Direct3D-S2, commit
a1cf235, spatial_sparse_attention/module/compression_block.py; torchsparse, commit 385f5ce: the
order of taps in backend/others/sparsemapping_cuda.cu (submanifold, odd kernels), and the 1x1x1,
features times (in, out), in nn/functional/conv/conv.py. Square ones would load transposed as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from direct3d_s2.blocks import Blocks, block_means
from sparse3d.sparse_conv import convolve
from sparse3d.voxels import TAPS, Voxels, group_norm

GROUPS = 32


class Kernel(nn.Module):
    """A kernel and its bias under torchsparse's names."""

    def __init__(self, *shape: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(*shape, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(shape[-1], dtype=dtype))


class KernelConv(nn.Module):
    """A 3x3x3 submanifold convolution with torchsparse's parameters: (N, in) to (N, out)."""

    def __init__(
        self, in_channels: int, out_channels: int, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.conv = Kernel(TAPS, in_channels, out_channels, dtype=dtype)

    @property
    def weight(self) -> Tensor:
        """(out, 3, 3, 3, in), axes x, y, z, as `sparse3d.sparse_conv` has it."""
        taps = self.conv.kernel.unflatten(0, (3, 3, 3))
        return taps.permute(4, 2, 1, 0, 3).contiguous()

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        return convolve(features, voxels, self.weight, self.conv.bias)


class PointConv(nn.Module):
    """A 1x1x1 convolution with torchsparse's parameters: (N, in) to (N, out)."""

    def __init__(self, in_channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = Kernel(in_channels, out_channels, dtype=dtype)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.conv.kernel + self.conv.bias


class VoxelNorm(nn.Module):
    """Group norm over all voxels of an object, (N, C), in float32; eps 1e-5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        return group_norm(features, voxels, GROUPS, self.weight, self.bias)


class PointwiseCompressor(nn.Module):
    """Version 1: a 1x1x1 convolution and SiLU at every token, then the mean of the block."""

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.act_layers = nn.Sequential(PointConv(channels, channels, dtype), nn.SiLU())

    def forward(self, features: Tensor, voxels: Voxels, blocks: Blocks) -> Tensor:
        """(N, C) of the tokens to (M, C) of their blocks."""
        return block_means(self.act_layers(features), blocks)


class DownBlock(nn.Module):
    """Norm and SiLU, the mean of the block, two convolutions among blocks, beside a skip.

    Version 2 of the compressor, and the encoder's step to half the resolution.
    """

    def __init__(self, channels: int, dtype: torch.dtype, out_channels: int | None = None) -> None:
        super().__init__()
        wide = out_channels or channels
        self.act_layers = nn.ModuleList([VoxelNorm(channels)])
        self.out_layers = nn.ModuleList(
            [
                KernelConv(channels, wide, dtype),
                VoxelNorm(wide),
                nn.SiLU(),
                KernelConv(wide, wide, dtype),
            ]
        )
        same = wide == channels
        self.skip_connection = nn.Identity() if same else PointConv(channels, wide, dtype)

    def forward(self, features: Tensor, voxels: Voxels, blocks: Blocks) -> Tensor:
        """(N, C) of the tokens to (M, C') of their blocks."""
        hidden = block_means(F.silu(self.act_layers[0](features, voxels)), blocks)
        enter, norm, _, leave = self.out_layers
        hidden = F.silu(norm(enter(hidden, blocks.voxels), blocks.voxels))
        skipped = self.skip_connection(block_means(features, blocks))
        return leave(hidden, blocks.voxels) + skipped


COMPRESSORS = {"v1": PointwiseCompressor, "v2": DownBlock}
