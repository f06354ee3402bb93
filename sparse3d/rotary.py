"""Rotary positions of the patches and pixels of an image: those of DINOv3, which NAF has too."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cell_centres(count: int, like: Tensor) -> Tensor:
    """The centres (count,) float32 of equal cells that fill [-1, 1], on the device of `like`."""
    return 2 * (torch.arange(0.5, count, device=like.device) / count) - 1


def rotary_tables(rows: Tensor, columns: Tensor, periods: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (h w, 4 P) of the positions rows (h,) x columns (w,), row by row.

    Angles are 2 pi position / period for periods (P,): P channels follow the row, the next P the
    column, and the second half repeats the first.
    """
    by_row, by_column = (2 * math.pi * p[:, None] / periods for p in (rows, columns))
    shape = (len(rows), len(columns), len(periods))

    def table(of_row: Tensor, of_column: Tensor) -> Tensor:
        both = of_row[:, None].expand(shape), of_column[None].expand(shape)
        return torch.cat(both + both, -1).flatten(0, 1)

    return table(by_row.cos(), by_column.cos()), table(by_row.sin(), by_column.sin())


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each channel of the first half (..., D) together with its fellow in the second half."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine
