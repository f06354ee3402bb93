"""Attention over the tokens of several objects: per-head RMS norm, 3D rotary phases, softmax.

Tokens of all objects are rows of one (N, ...) tensor; `lengths` says how many belong to each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_BASE = 10000.0  # `rope_freq` of every released configuration: (1, 10000)


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Which rows belong together and where they sit: lengths per object, and the rotary phases.

    cos, sin: (N, 1, head_dim / 2) float32.
    """

    lengths: tuple[int, ...]
    cos: Tensor
    sin: Tensor

    @property
    def rows(self) -> int:
        """N, the number of tokens."""
        return sum(self.lengths)

    def repeated(self, times: int) -> TokenLayout:
        """The same objects several times over, as batched guidance needs them."""
        cos, sin = self.cos.repeat(times, 1, 1), self.sin.repeat(times, 1, 1)
        return TokenLayout(self.lengths * times, cos, sin)


def token_layout(coords: Tensor, lengths: tuple[int, ...], head_dim: int) -> TokenLayout:
    """Rotary phases of voxels at integer coords (N, 3), unscaled grid indices.

    head_dim // 6 frequencies per axis, x then y then z; pairs of channels that are left over are
    not rotated (Pixal3D, commit cdbb2bb, modules/attention/rope.py).
    """
    count = head_dim // 2 // 3
    steps = torch.arange(count, dtype=torch.float32, device=coords.device)
    frequencies = 1.0 / ROTARY_BASE ** (steps / count)
    angles = (coords.to(torch.float32)[:, :, None] * frequencies).flatten(1)
    angles = F.pad(angles, (0, head_dim // 2 - angles.shape[1]))[:, None]
    return TokenLayout(lengths, angles.cos(), angles.sin())


def rotate(x: Tensor, layout: TokenLayout) -> Tensor:
    """Turn pairs of ADJACENT channels of x (N, heads, head_dim) by the layout's phases, in fp32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = layout.cos, layout.sin
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return turned.flatten(-2).to(x.dtype)


class HeadNorm(nn.Module):
    """RMS norm of each head with its own gain, computed in float32: (N, heads, head_dim)."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**0.5
        self.gamma = nn.Parameter(torch.ones(heads, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.normalize(x.float(), dim=-1, eps=1e-12)
        return (normed * self.gamma * self.scale).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Full attention within each object: q, k, v (N, heads, head_dim) -> the same shape.

    Objects of one length go through one batched call; others one after the other, exactly.
    """
    if len(set(lengths)) == 1:
        batch = (len(lengths), lengths[0])
        q, k, v = (a.unflatten(0, batch).transpose(1, 2) for a in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)
    parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    return torch.cat([attend(a, b, c, (len(a),)) for a, b, c in parts])


def attend_to_context(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Each object's tokens look at its own context: q (N, heads, d); k, v (B, heads, M, d)."""
    parts = []
    for queries, keys, values in zip(q.split(lengths), k, v, strict=True):
        seen = F.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], keys[None], values[None]
        )
        parts.append(seen[0].transpose(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
