"""Attention over the tokens of several objects: per-head RMS norm, 3D rotary phases, softmax.

Tokens of all objects are rows of one (N, ...) tensor; `lengths` says how many belong to each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTEST = 1e-12  # a head below this length counts as one of it
ROTARY_BASE = 10000.0  # `rope_freq` of every released configuration: (1, 10000)
Function = TypeVar("Function", bound=Callable[..., Tensor])


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Which rows belong together and where they sit: lengths per object, and the rotary phases.

    cos, sin: (N, 1, head_dim / 2) float32; phases: the same as complex64 numbers cos + i sin.
    """

    lengths: tuple[int, ...]
    cos: Tensor
    sin: Tensor

    @cached_property
    def phases(self) -> Tensor:
        return torch.complex(self.cos, self.sin)

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


def compiled(function: Function) -> Function:
    """A function of tensors alone as one kernel, by `torch.compile`.

    It is compiled once per process, for any number of rows: it belongs to no network, so nothing is
    compiled again when networks are moved, released and read anew.
    """
    if function not in _compiled:
        _compiled[function] = torch.compile(function, dynamic=True)
    return _compiled[function]


_compiled: dict[Callable[..., Tensor], Any] = {}


class HeadNorm(nn.Module):
    """RMS norm of each head with its own gain, computed in float32: (N, heads, head_dim)."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**0.5
        self.compiles = False
        self.gamma = nn.Parameter(torch.ones(heads, head_dim))

    @property
    def gain(self) -> Tensor:
        """What a head of length 1 is multiplied by: (heads, head_dim) float32."""
        return self.gamma * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return (compiled(normed_by_steps) if self.compiles else normed)(x, self.gain)


def normed(x: Tensor, gain: Tensor) -> Tensor:
    """Heads (..., heads, head_dim) brought to length 1 in float32, times a gain, in x's type."""
    return (_unit(x) * gain).to(x.dtype)


def normed_by_steps(x: Tensor, gain: Tensor) -> Tensor:
    """The readable twin of `normed`."""
    return (F.normalize(x.float(), dim=-1, eps=SHORTEST) * gain).to(x.dtype)


def normed_and_rotated(x: Tensor, gains: Tensor, layout: TokenLayout) -> Tensor:
    """Queries and keys normed, and turned by the layout's phases, with few passes over memory.

    x: (N, 2, heads, head_dim); gains: (2, heads, head_dim) float32. Returns x's shape and type. A
    half type is rounded once, at the end.
    """
    pairs = torch.view_as_complex((_unit(x) * gains).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * layout.phases[:, None]).flatten(-2).to(x.dtype)


def normed_and_rotated_by_steps(x: Tensor, gains: Tensor, layout: TokenLayout) -> Tensor:
    """The readable twin of `normed_and_rotated`; between the two a half type is rounded as well."""
    queries, keys = normed_by_steps(x, gains).unbind(1)
    return torch.stack((rotate(queries, layout), rotate(keys, layout)), dim=1)


def rotate(x: Tensor, layout: TokenLayout) -> Tensor:
    """Turn pairs of ADJACENT channels of x (N, heads, head_dim) by the layout's phases, in fp32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = layout.cos, layout.sin
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return turned.flatten(-2).to(x.dtype)


def _unit(x: Tensor) -> Tensor:
    """Vectors (..., C) of length 1, float32."""
    lengths = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x / lengths.clamp(min=SHORTEST)


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


def attend_to_context(
    q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], bias: Tensor | None = None
) -> Tensor:
    """Each object's tokens look at its own context: q (N, heads, d); k, v (B, heads, M, d).

    bias: (M,) what is added to the logits of each token of the context, None for nothing.
    """
    mask = None if bias is None else bias.to(q.dtype)[None, None, None]
    parts = []
    for queries, keys, values in zip(q.split(lengths), k, v, strict=True):
        seen = F.scaled_dot_product_attention(
            queries.transpose(0, 1)[None], keys[None], values[None], mask
        )
        parts.append(seen[0].transpose(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
