"""Where a token is, as numbers that a transformer can add: sines and cosines of its coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BASE = 10000.0


def sin_cos_positions(coords: Tensor, channels: int, factor: float = 1.0) -> Tensor:
    """The absolute position embedding (N, channels) float32 of grid coordinates (N, 3).

    channels // 6 frequencies BASE^(-k/n) per axis: sines, then cosines, of x, then of y, then of z;
    what is left over is zero. factor multiplies the coordinates, so that grids of two resolutions
    span the same numbers. Formula: TRELLIS 1 and Direct3D-S2 (commit a1cf235,
    modules/transformer/blocks.py).
    """
    count = channels // 6
    steps = torch.arange(count, dtype=torch.float32, device=coords.device)
    frequencies = 1.0 / BASE ** (steps / count)
    angles = (coords * factor).float()[:, :, None] * frequencies
    embedding = torch.cat((angles.sin(), angles.cos()), -1).flatten(1)
    return F.pad(embedding, (0, channels - embedding.shape[1]))
