"""Tokens by cubic blocks of their grid: sums over a block, means, and Direct3D-S2's order of rows.

Facts: Direct3D-S2, commit a1cf235, modules/sparse/spatial.py and utils/sparse.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparse3d.voxels import Voxels, voxel_codes


@dataclass(frozen=True, eq=False)
class Blocks:
    """The occupied blocks of some tokens.

    voxels: one per block, sorted by (batch, x, y, z). block (N,) int64: each token's. order (N,):
    rows of one block after the other. counts (M,) int64: tokens of each block.
    """

    voxels: Voxels
    block: Tensor
    order: Tensor
    counts: Tensor

    @cached_property
    def starts(self) -> Tensor:
        """(M,) int64: where in `order` each block begins."""
        return self.counts.cumsum(0) - self.counts

    @cached_property
    def max_count(self) -> int:
        """The tokens of the fullest block."""
        return int(self.counts.max())


def blocks_of(coords: Tensor, size: int) -> Blocks:
    """Which tokens (N, 4) int32 lie in which blocks of size^3 cells."""
    cells = coords.clone()
    cells[:, 1:] = torch.div(cells[:, 1:], size, rounding_mode="floor")
    codes, _ = voxel_codes(cells, margin=0)
    _, block, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    order = block.argsort(stable=True)
    first = order[counts.cumsum(0) - counts]
    return Blocks(Voxels(cells[first]), block, order, counts)


def block_sums(values: Tensor, blocks: Blocks) -> Tensor:
    """Sums over the rows of every block: (N, ...) to (M, ...) float32; the same in every run."""
    ordered = values.float().index_select(0, blocks.order)
    return torch.segment_reduce(ordered, "sum", lengths=blocks.counts, axis=0, unsafe=True)


def block_means(features: Tensor, blocks: Blocks) -> Tensor:
    """Direct3D-S2's mean: the sum over n rows divided by n + 1, (N, C) to (M, C) in their type.

    Its scatter counts the zero that it starts from; the released weights were trained with it.
    """
    sums = block_sums(features, blocks)
    return (sums / (blocks.counts + 1)[:, None]).to(features.dtype)


def sort_by_block(coords: Tensor, size: int) -> Tensor:
    """Rows (N, 4) in the released order: by batch item, by block, then within the block; each
    lexicographic in x, y, z. The order of the noise drawn for the rows depends on it."""
    block, inner = coords.clone(), coords.clone()
    block[:, 1:] = torch.div(block[:, 1:], size, rounding_mode="floor")
    inner[:, 1:] -= block[:, 1:] * size
    block_codes, _ = voxel_codes(block, margin=0)
    inner_codes = (inner[:, 1].long() * size + inner[:, 2]) * size + inner[:, 3]
    return coords[(block_codes * size**3 + inner_codes).argsort(stable=True)]
