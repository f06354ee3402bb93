"""What the flow transformers of sparse generators have in common: time, feed-forward, attention to
an image's tokens, and the block around them that the time modulates.

All tokens are rows (N, C); lengths says how many belong to each object. The whole block is that
of TRELLIS 1 and of Direct3D-S2 (commit a1cf235, modules/transformer/modulated.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse3d.attention import HeadNorm, attend, attend_to_context

BLOCK_NORM_EPS = 1e-6
TIME_CHANNELS = 256
TIME_MAX_PERIOD = 10000.0
TIME_SCALE = 1000.0  # the networks were trained on times from 0 to 1000
Attention = Callable[[Tensor], Tensor]


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of the time, then two layers: (B,) -> (B, width) float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, time: Tensor) -> Tensor:
        half = TIME_CHANNELS // 2
        steps = torch.arange(half, dtype=torch.float32, device=time.device)
        angles = time[:, None].float() * torch.exp(-math.log(TIME_MAX_PERIOD) * steps / half)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


class FeedForward(nn.Module):
    """Two linear layers around a tanh-approximated GELU."""

    def __init__(self, width: int, hidden: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, dtype=dtype),
            nn.GELU("tanh"),
            nn.Linear(hidden, width, dtype=dtype),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class SelfAttention(nn.Module):
    """Full attention among the tokens of each object, without rotary phases.

    normed: whether queries and keys are brought to length 1 and scaled by gains of their own.
    """

    def __init__(self, width: int, heads: int, normed: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, dtype=dtype)
        self.q_rms_norm = HeadNorm(heads, width // heads) if normed else nn.Identity()
        self.k_rms_norm = HeadNorm(heads, width // heads) if normed else nn.Identity()
        self.to_out = nn.Linear(width, width, dtype=dtype)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (N, heads, d) of tokens (N, C)."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(1)
        return self.q_rms_norm(q), self.k_rms_norm(k), v

    def forward(self, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
        return self.to_out(attend(*self.qkv(x), lengths).flatten(1))


class CrossAttention(nn.Module):
    """Tokens look at the image's tokens; no rotary phases."""

    def __init__(
        self, width: int, context: int, heads: int, dtype: torch.dtype, normed: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, dtype=dtype)
        self.to_kv = nn.Linear(context, 2 * width, dtype=dtype)
        self.q_rms_norm = HeadNorm(heads, width // heads) if normed else nn.Identity()
        self.k_rms_norm = HeadNorm(heads, width // heads) if normed else nn.Identity()
        self.to_out = nn.Linear(width, width, dtype=dtype)

    def context(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, M, d) of context tokens (B, M, context channels)."""
        k, v = self.to_kv(tokens).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.k_rms_norm(k).transpose(1, 2), v.transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: tuple[int, ...],
        bias: Tensor | None = None,
    ) -> Tensor:
        q = self.q_rms_norm(self.to_q(x).unflatten(-1, (self.heads, -1)))
        return self.to_out(attend_to_context(q, keys, values, lengths, bias).flatten(1))


@dataclass(frozen=True)
class BlockSizes:
    """width, context_channels: channels of tokens and of the image's tokens; shared_modulation:
    whether all blocks have one modulation, outside of them; normed, cross_normed: whether queries
    and keys of self- and of cross-attention are."""

    width: int
    context_channels: int
    heads: int
    mlp_ratio: float = 4.0
    shared_modulation: bool = False
    normed: bool = False
    cross_normed: bool = False


class ModulatedBlock(nn.Module):
    """Self-attention, attention to the image, feed-forward; the time modulates first and last.

    self_attn is a module of any kind: the caller of `forward` says how it runs.
    """

    def __init__(self, sizes: BlockSizes, self_attn: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        width = sizes.width
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_NORM_EPS)
        self.self_attn = self_attn
        self.cross_attn = CrossAttention(
            width, sizes.context_channels, sizes.heads, dtype, sizes.cross_normed
        )
        self.mlp = FeedForward(width, int(width * sizes.mlp_ratio), dtype)
        if not sizes.shared_modulation:
            self.adaLN_modulation = modulation_layers(width, dtype)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        attention: Attention,
        contexts: Sequence[tuple[Tensor, ...]],
        lengths: tuple[int, ...],
    ) -> Tensor:
        """x (N, C) -> (N, C).

        modulation: (B, C) embedded time, or (B, 6 C) where all blocks have one. attention: runs
        self_attn on (N, C). contexts: keys and values (heads, M, d) for each object, and a bias
        (M,) of its logits where some tokens count less.
        """
        if hasattr(self, "adaLN_modulation"):
            modulation = self.adaLN_modulation(modulation)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (
            per_row(part, lengths) for part in modulation.chunk(6, -1)
        )
        x = x + gate * attention(modulated(x, shift, scale))
        x = x + self._attend_to_image(x, contexts, lengths)
        return x + mlp_gate * self.mlp(modulated(x, mlp_shift, mlp_scale))

    def _attend_to_image(
        self, x: Tensor, contexts: Sequence[tuple[Tensor, ...]], lengths: tuple[int, ...]
    ) -> Tensor:
        normed = self.norm2(x.float()).to(x.dtype)
        parts = [
            self.cross_attn(rows, keys[None], values[None], (len(rows),), *bias)
            for rows, (keys, values, *bias) in zip(normed.split(lengths), contexts, strict=True)
        ]
        return torch.cat(parts)


def modulation_layers(width: int, dtype: torch.dtype) -> nn.Sequential:
    """From the embedded time (B, C) to shifts, scales and gates (B, 6 C)."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width, dtype=dtype))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without gain, back to x's type, then scaled and shifted.

    torch computes the norm of half types in float32, and so does the product and sum; each is
    rounded once (`modulated_by_steps` is the readable twin).
    """
    normed = F.layer_norm(x, x.shape[-1:], eps=BLOCK_NORM_EPS)
    return torch.addcmul(shift, normed, 1 + scale)


def modulated_by_steps(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The readable twin of `modulated`: every step in a type that is named."""
    normed = F.layer_norm(x.float(), x.shape[-1:], eps=BLOCK_NORM_EPS).to(x.dtype)
    return normed * (1 + scale) + shift


def per_row(values: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Values (B, C) of objects as rows (N, C) of their tokens; (1, C) broadcasts as it is."""
    if len(values) == 1:
        return values
    counts = torch.tensor(lengths, device=values.device)
    return values.repeat_interleave(counts, 0)
