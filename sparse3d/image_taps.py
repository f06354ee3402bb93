"""Bilinear samples of a feature map at a few positions, by the four pixels around each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Taps:
    """The four pixels around each position: index (N, 4) int64 row by row, weight (N, 4)."""

    index: Tensor
    weight: Tensor


def taps_of(positions: Tensor, map_size: Sequence[int]) -> Taps:
    """The bilinear taps of positions (N, 2) in [-1, 1] on a map (h, w), which continues."""
    height, width = map_size
    size = positions.new_tensor([width, height])
    place = ((positions + 1) * size - 1) / 2
    place = place.clamp(min=0).minimum(size - 1)
    low = place.floor()
    share = place - low
    low = low.long()
    high = (low + 1).minimum(size.long() - 1)
    (x0, y0), (x1, y1), (right, down) = (t.unbind(-1) for t in (low, high, share))
    index = torch.stack((y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1), -1)
    left, up = 1 - right, 1 - down
    return Taps(index, torch.stack((left * up, right * up, left * down, right * down), -1))


def weighted(rows: Tensor, taps: Taps) -> Tensor:
    """Weighted sums (N, C) of rows (pixels, C), without an intermediate of all taps."""
    return F.embedding_bag(taps.index, rows, mode="sum", per_sample_weights=taps.weight)
