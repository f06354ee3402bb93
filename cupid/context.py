"""What do the flows see of the image as a whole? Its tokens, through cross-attention.

Tokens of patches that an occluder covers count less: a weight w in [0, 1] adds log(w + 1e-7) to
their logits before the softmax (Cupid, commit 10af9b2, modules/attention/modules.py,
`WeightedMultiHeadAttention`; the paper's occlusion-aware conditioning).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.transformer import ModulatedBlock

LOG_FLOOR = 1e-7
Keys = tuple[Tensor, ...]  # keys, values (heads, M, d) and maybe a bias (M,)


@dataclass(frozen=True, eq=False)
class ImageContext:
    """tokens (M, C) of an image: class token, registers, patches row by row; weights (M,) in
    [0, 1], None where nothing is covered."""

    tokens: Tensor
    weights: Tensor | None = None

    def without_image(self) -> ImageContext:
        """What an unconditional pass sees: one zero token. In the reference all M tokens are zero:
        their keys and values are equal, so that one of them gives the same sums."""
        return ImageContext(torch.zeros_like(self.tokens[:1]))


def prepare_contexts(
    blocks: nn.ModuleList, contexts: Sequence[ImageContext], dtype: torch.dtype
) -> tuple[tuple[Keys, ...], ...]:
    """For every block, the keys and values of every object's context: what no step changes."""
    prepared = []
    for block in cast("Iterable[ModulatedBlock]", blocks):
        keys = []
        for context in contexts:
            pair = block.cross_attn.context(context.tokens[None].to(dtype))
            bias = () if context.weights is None else ((context.weights + LOG_FLOOR).log(),)
            keys.append((*(part[0] for part in pair), *bias))
        prepared.append(tuple(keys))
    return tuple(prepared)


def through_blocks(
    blocks: nn.ModuleList,
    h: Tensor,
    embedded: Tensor,
    contexts: Sequence[Sequence[Keys]],
    lengths: tuple[int, ...],
) -> Tensor:
    """Rows (N, C) of objects with `lengths` rows through all blocks; embedded: the time, (B, C)."""
    for block, keys in zip(cast("Iterable[ModulatedBlock]", blocks), contexts, strict=True):
        h = block(h, embedded, partial(block.self_attn, lengths=lengths), keys, lengths)
    return h


def token_weights(occluded: Tensor, grid: int, global_tokens: int) -> Tensor:
    """The weight of every token: the share of its patch that no occluder covers.

    occluded: (S, S) float, 1 where something else hides the object, S a multiple of grid. Class
    token and registers have weight 1. Returns (global_tokens + grid^2,).
    """
    visible = F.avg_pool2d(1 - occluded[None, None], occluded.shape[-1] // grid).flatten()
    return torch.cat((visible.new_ones(global_tokens), visible))
