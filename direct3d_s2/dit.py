"""The two diffusion transformers: velocity of noisy latents, dense on a grid or at sparse voxels.

Architecture and state-dict names: Direct3D-S2, commit a1cf235, models/transformers/{dense,sparse}_
dit.py. All tokens are rows (N, C). What Pixal3D adds to it, the features projected onto each voxel,
comes in as one term (N, C) at the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from direct3d_s2.sparse_attention import (
    AttentionSizes,
    SpatialSparseAttention,
    TokenPlan,
    plan_tokens,
)
from sparse3d.positions import sin_cos_positions
from sparse3d.transformer import (
    Attention,
    BlockSizes,
    ModulatedBlock,
    SelfAttention,
    TimeEmbedding,
    modulation_layers,
)
from sparse3d.voxels import Voxels

OUTPUT_NORM_EPS = 1e-5


@dataclass(frozen=True)
class DitConfig:
    """Sizes of a transformer.

    grid: cells per side of its latent grid. position_factor: what coordinates are multiplied by.
    attention: of the sparse network, None for the dense one, whose patch_size^3 cells make a token.
    shifted: whether every other block shifts its windows by half of one (else all do).
    context_projected: whether the image's tokens have a layer and positions of their own (v1.0).
    """

    grid: int
    in_channels: int
    out_channels: int
    blocks: int
    sizes: BlockSizes
    attention: AttentionSizes | None = None
    patch_size: int = 1
    position_factor: float = 1.0
    shifted: bool = True
    context_projected: bool = False


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What the image gives: tokens, one (M, C) for each object; their places (M, 3) int where the
    network adds positions to them; term (N, width), added to the tokens of the latents."""

    tokens: Sequence[Tensor]
    places: Sequence[Tensor] | None = None
    term: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PreparedConditioning:
    """Keys and values (heads, M, d) for every block and object, the same in all steps."""

    contexts: Sequence[Sequence[tuple[Tensor, Tensor]]]
    term: Tensor | None


class Dit(nn.Module):
    """What both transformers have.

    body_dtype: of the blocks; embeddings, first and last layer are float32 (the released networks
    run all of it in float16).
    """

    def __init__(self, config: DitConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        sizes, patch = config.sizes, config.patch_size**3
        self.t_embedder = TimeEmbedding(sizes.width)
        if sizes.shared_modulation:
            self.adaLN_modulation = modulation_layers(sizes.width, body_dtype)
        self.input_layer = nn.Linear(config.in_channels * patch, sizes.width)
        blocks = (
            ModulatedBlock(sizes, self._attention(number, body_dtype), body_dtype)
            for number in range(config.blocks)
        )
        self.blocks = nn.ModuleList(blocks)
        self.out_layer = nn.Linear(sizes.width, config.out_channels * patch)

    def _attention(self, number: int, dtype: torch.dtype) -> nn.Module:
        raise NotImplementedError

    def prepare(self, conditioning: Conditioning) -> PreparedConditioning:
        """Compute once what no step changes."""
        tokens = [t.to(self.body_dtype) for t in self._context_tokens(conditioning)]
        contexts = []
        for block in self._blocks():
            found = (block.cross_attn.context(t[None]) for t in tokens)
            contexts.append([(keys[0], values[0]) for keys, values in found])
        return PreparedConditioning(contexts, conditioning.term)

    def _context_tokens(self, conditioning: Conditioning) -> Sequence[Tensor]:
        return conditioning.tokens

    def _blocks(self) -> Iterable[ModulatedBlock]:
        return cast("Iterable[ModulatedBlock]", self.blocks)

    def _velocity(
        self,
        x: Tensor,
        time: Tensor,
        positions: Tensor,
        attentions: Sequence[Attention],
        prepared: PreparedConditioning,
        lengths: tuple[int, ...],
    ) -> Tensor:
        modulation = self.t_embedder(time).to(self.body_dtype)
        if self.config.sizes.shared_modulation:
            modulation = self.adaLN_modulation(modulation)
        hidden = self.input_layer(x) + positions
        if prepared.term is not None:
            hidden = hidden + prepared.term
        hidden = hidden.to(self.body_dtype)
        for block, attention, contexts in zip(
            self._blocks(), attentions, prepared.contexts, strict=True
        ):
            hidden = block(hidden, modulation, attention, contexts, lengths)
        hidden = hidden.to(x.dtype)
        return self.out_layer(F.layer_norm(hidden, hidden.shape[-1:], eps=OUTPUT_NORM_EPS))


class DenseDit(Dit):
    """The network over a whole grid; pos_emb (P, width) is stored with its weights."""

    pos_emb: Tensor

    def __init__(self, config: DitConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(config, body_dtype)
        axis = torch.arange(config.grid // config.patch_size)
        cells = torch.cartesian_prod(axis, axis, axis)
        self.register_buffer("pos_emb", sin_cos_positions(cells, config.sizes.width))

    def _attention(self, number: int, dtype: torch.dtype) -> nn.Module:
        sizes = self.config.sizes
        return SelfAttention(sizes.width, sizes.heads, sizes.normed, dtype)

    def forward(self, x: Tensor, time: Tensor, prepared: PreparedConditioning) -> Tensor:
        """Velocity (B, out, G, G, G) float32 of x (B, in, G, G, G) at time (B,) or (1,), 0 to 1000.

        Raises ValueError for another shape.
        """
        grid = self.config.grid
        if tuple(x.shape[1:]) != (self.config.in_channels, grid, grid, grid):
            expected = f"(B, {self.config.in_channels}, {grid}, {grid}, {grid})"
            raise ValueError(f"expected {expected}, not {tuple(x.shape)}")
        patch = self.config.patch_size
        lengths = (len(self.pos_emb),) * len(x)
        rows = grid_to_patches(x, patch).flatten(0, 1)
        attentions = [partial(block.self_attn, lengths=lengths) for block in self._blocks()]
        positions = self.pos_emb.repeat(len(x), 1)
        v = self._velocity(rows, time, positions, attentions, prepared, lengths)
        return patches_to_grid(v.unflatten(0, (len(x), -1)), patch)


class SparseDit(Dit):
    """The network over sparse voxels."""

    def __init__(self, config: DitConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(config, body_dtype)
        if config.context_projected:
            channels = config.sizes.context_channels
            self.cond_proj = nn.Linear(channels, channels)

    def _attention(self, number: int, dtype: torch.dtype) -> nn.Module:
        sizes = self._sizes
        shift = sizes.window // 2 * (number % 2 if self.config.shifted else 1)
        return SpatialSparseAttention(sizes, shift, dtype)

    @property
    def _sizes(self) -> AttentionSizes:
        if self.config.attention is None:
            raise ValueError("a sparse transformer needs the sizes of its attention")
        return self.config.attention

    def plan(self, voxels: Voxels) -> TokenPlan:
        """What all steps need to know of the voxels' places."""
        shifts = {cast("SpatialSparseAttention", b.self_attn).shift for b in self._blocks()}
        return plan_tokens(voxels, self._sizes, shifts)

    def _context_tokens(self, conditioning: Conditioning) -> Sequence[Tensor]:
        """With v1.0's own layer and positions of the image's tokens."""
        if not self.config.context_projected:
            return conditioning.tokens
        if conditioning.places is None:
            raise ValueError("this network adds positions to the image's tokens: give their places")
        return [
            self.cond_proj(tokens) + sin_cos_positions(places, self.config.sizes.width)
            for tokens, places in zip(conditioning.tokens, conditioning.places, strict=True)
        ]

    def forward(
        self, x: Tensor, time: Tensor, plan: TokenPlan, prepared: PreparedConditioning
    ) -> Tensor:
        """Velocity (N, out) float32 of x (N, in) at time (B,) or (1,), 0 to 1000."""
        places, factor = plan.voxels.coords[:, 1:], self.config.position_factor
        positions = sin_cos_positions(places, self.config.sizes.width, factor)
        attentions = [partial(block.self_attn, plan=plan) for block in self._blocks()]
        return self._velocity(x, time, positions, attentions, prepared, plan.lengths)


def grid_to_patches(grid: Tensor, size: int) -> Tensor:
    """(B, C, G, G, G) to tokens (B, P, C size^3); of a token the channel is slowest, z fastest."""
    batch, channels, side = grid.shape[:3]
    cells = side // size
    split = grid.reshape(batch, channels, cells, size, cells, size, cells, size)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, cells**3, -1)


def patches_to_grid(tokens: Tensor, size: int) -> Tensor:
    """The inverse of `grid_to_patches`."""
    batch, count, width = tokens.shape
    cells = round(count ** (1 / 3))
    split = tokens.reshape(batch, cells, cells, cells, width // size**3, size, size, size)
    return split.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(batch, -1, *(cells * size,) * 3)
