"""The flow transformer: velocity of noisy latents, conditioned on what each voxel projects onto.

One network serves the dense sparse-structure stage and the sparse shape and texture stages: all of
them are rows (N, C), one per voxel. Architecture: Pixal3D, commit cdbb2bb,
models/{sparse_structure_flow,structured_latent_flow}.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse3d.attention import (
    HeadNorm,
    TokenLayout,
    attend,
    compiled,
    normed_and_rotated,
    normed_and_rotated_by_steps,
    token_layout,
)
from sparse3d.transformer import (
    BLOCK_NORM_EPS,
    CrossAttention,
    FeedForward,
    TimeEmbedding,
    modulated,
    modulated_by_steps,
    per_row,
)
from sparse3d.voxels import Voxels

OUTPUT_NORM_EPS = 1e-5


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of a flow transformer.

    context_channels: of the global image tokens; projected_channels: of the features projected
    onto each voxel, None for a TRELLIS.2 network, which has no projection.
    """

    in_channels: int
    out_channels: int
    model_channels: int = 1536
    context_channels: int = 1024
    projected_channels: int | None = 2048
    num_blocks: int = 30
    num_heads: int = 12
    mlp_ratio: float = 5.3334

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads


@dataclass(frozen=True, eq=False)
class Condition:
    """Conditioning by the image: context (B, M, context_channels), the same few tokens for every
    voxel of an object, and projected (N, projected_channels), one row per voxel."""

    context: Tensor
    projected: Tensor | None


@dataclass(frozen=True, eq=False)
class BlockCondition:
    """A block's share of a condition that no step changes: keys and values (B, heads, M, d) of the
    context, and either the projection's term (N, C) or the features (N, P) to compute it from."""

    keys: Tensor
    values: Tensor
    term: Tensor | None
    features: Tensor | None


@dataclass(frozen=True, eq=False)
class PreparedCondition:
    """A condition ready for all steps of a sampling: lengths of the objects that it is for."""

    lengths: tuple[int, ...]
    blocks: tuple[BlockCondition, ...]


class Flow(nn.Module):
    """Velocity v(x, t) of latents x, one row per voxel.

    body_dtype is the type of the linear layers inside the blocks; everything else (embeddings,
    norms, gains, modulation, first and last layer) is float32, as the released networks run.
    """

    def __init__(self, config: FlowConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.body_dtype = body_dtype
        width = config.model_channels
        self.t_embedder = TimeEmbedding(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.input_layer = nn.Linear(config.in_channels, width)
        blocks = [Block(config, body_dtype) for _ in range(config.num_blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.out_layer = nn.Linear(width, config.out_channels)

    def compile_steps(self) -> None:
        """Let norms, modulation and rotary phases run as one kernel each (`attention.compiled`);
        what is between them is matrix products."""
        for module in self.modules():
            if isinstance(module, (Block, SelfAttention, HeadNorm)):
                module.compiles = True

    def layout(self, voxels: Voxels) -> TokenLayout:
        """The rotary phases of voxels, computed once for all steps."""
        return token_layout(voxels.coords[:, 1:], voxels.lengths, self.config.head_dim)

    def prepare(
        self, condition: Condition, lengths: tuple[int, ...], term_bytes: int = 0
    ) -> PreparedCondition:
        """Compute once what no step changes: context keys and values, and projection terms.

        lengths: rows per object. term_bytes bounds the terms kept (one (N, C) tensor per block);
        blocks beyond it compute theirs in every step, to the same numbers.
        """
        left, blocks = term_bytes, []
        projected = condition.projected
        if (projected is None) != (self.config.projected_channels is None):
            raise ValueError("features projected onto the voxels: given or expected, not both")
        if projected is not None:
            projected = projected.to(self.body_dtype)
        for block in cast("Iterable[Block]", self.blocks):
            keys, values = block.cross_attn.cross_attn_block.context(
                condition.context.to(self.body_dtype)
            )
            term, features = None, projected
            if projected is not None and block.cross_attn.proj_linear is not None:
                size = len(projected) * self.config.model_channels * projected.element_size()
                if size <= left:
                    term, features = block.cross_attn.proj_linear(projected), None
                    left -= size
            blocks.append(BlockCondition(keys, values, term, features))
        return PreparedCondition(lengths, tuple(blocks))

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        layout: TokenLayout,
        condition: PreparedCondition | None,
    ) -> Tensor:
        """Velocity (N, out_channels) float32 of x (N, in_channels) at time (B,) or (1,), 0 to 1000.

        The condition belongs to the first objects of the layout; those after them are without
        one: they see zero context, which is a constant (see `CrossBranch`).
        """
        embedded = self.t_embedder(time)
        modulation = self.adaLN_modulation(embedded).to(self.body_dtype)
        h = self.input_layer(x).to(self.body_dtype)
        for i, block in enumerate(self.blocks):
            share = None if condition is None else condition.blocks[i]
            lengths = () if condition is None else condition.lengths
            h = block(h, modulation, layout, share, lengths)
        h = F.layer_norm(h.to(x.dtype), (self.config.model_channels,), eps=OUTPUT_NORM_EPS)
        return self.out_layer(h)


class Block(nn.Module):
    """Self-attention, image branch, feed-forward; the first and last are modulated by the time."""

    def __init__(self, config: FlowConfig, dtype: torch.dtype) -> None:
        super().__init__()
        width = config.model_channels
        self.compiles = False
        self.modulation = nn.Parameter(torch.zeros(6 * width))
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_NORM_EPS)
        self.self_attn = SelfAttention(width, config.num_heads, dtype)
        self.cross_attn = CrossBranch(config, dtype)
        self.mlp = FeedForward(width, int(width * config.mlp_ratio), dtype)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        layout: TokenLayout,
        condition: BlockCondition | None,
        lengths: tuple[int, ...],
    ) -> Tensor:
        """x (N, C) -> (N, C); modulation (B, 6 C) of the time; lengths of conditioned objects."""
        parts = (self.modulation + modulation).to(x.dtype).chunk(6, -1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (
            per_row(part, layout.lengths) for part in parts
        )
        modulate = compiled(modulated_by_steps) if self.compiles else modulated
        x = torch.addcmul(x, gate, self.self_attn(modulate(x, shift, scale), layout))
        x = self._attend_to_image(x, condition, lengths)
        return torch.addcmul(x, mlp_gate, self.mlp(modulate(x, mlp_shift, mlp_scale)))

    def _attend_to_image(
        self, x: Tensor, condition: BlockCondition | None, lengths: tuple[int, ...]
    ) -> Tensor:
        """Add the image branch; a constant to rows without a condition."""
        constant = self.cross_attn.unconditional
        if condition is None:
            return x + constant()
        rows = sum(lengths)
        seen = x[:rows]
        seen = seen + self.cross_attn(self.norm2(seen.float()).to(x.dtype), condition, lengths)
        return seen if rows == len(x) else torch.cat([seen, x[rows:] + constant()])


class SelfAttention(nn.Module):
    """Attention among the tokens of each object, rotary in three dimensions."""

    def __init__(self, width: int, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads = heads
        self.compiles = False
        self.to_qkv = nn.Linear(width, 3 * width, dtype=dtype)
        self.q_rms_norm = HeadNorm(heads, width // heads)
        self.k_rms_norm = HeadNorm(heads, width // heads)
        self.to_out = nn.Linear(width, width, dtype=dtype)

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        gains = torch.stack((self.q_rms_norm.gain, self.k_rms_norm.gain))
        turn = compiled(normed_and_rotated_by_steps) if self.compiles else normed_and_rotated
        q, k = turn(qkv[:, :2], gains, layout).unbind(1)
        return self.to_out(attend(q, k, qkv[:, 2], layout.lengths).flatten(1))


class CrossBranch(nn.Module):
    """What a voxel learns from the image: attention to the global tokens plus its projection.

    Without a condition (all zeros in the reference) every key and value is a bias, so attention
    returns the value's bias whatever the query: the branch is the constant of `unconditional`.
    """

    def __init__(self, config: FlowConfig, dtype: torch.dtype) -> None:
        super().__init__()
        width = config.model_channels
        self.cross_attn_block = CrossAttention(
            width, config.context_channels, config.num_heads, dtype
        )
        self.proj_linear = None
        if config.projected_channels is not None:
            self.proj_linear = nn.Linear(config.projected_channels, width, dtype=dtype)

    def forward(self, x: Tensor, condition: BlockCondition, lengths: tuple[int, ...]) -> Tensor:
        """(N, C) of the rows that have a condition to what the branch adds to them."""
        seen = self.cross_attn_block(x, condition.keys, condition.values, lengths)
        if condition.term is not None:
            return seen + condition.term
        if self.proj_linear is None or condition.features is None:
            return seen
        return seen + self.proj_linear(condition.features)

    def unconditional(self) -> Tensor:
        """(1, C): the branch under zero context and zero projected features."""
        attention = self.cross_attn_block
        bias = attention.to_kv.bias.chunk(2)[1]
        constant = attention.to_out(bias[None])
        return constant if self.proj_linear is None else constant + self.proj_linear.bias
