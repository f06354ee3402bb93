"""The first stage: velocity of the latents of occupancy and UV cube, on a dense grid of 16^3.

Latents are rows (N, 16), one per cell of the grid: 8 channels of the occupancy's latent, then 8 of
the UV cube's. Architecture: Cupid, commit 10af9b2, models/sparse_structure_flow.py, which is
TRELLIS' with twice the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cupid.context import ImageContext, Keys, prepare_contexts, through_blocks
from sparse3d.positions import sin_cos_positions
from sparse3d.transformer import BlockSizes, ModulatedBlock, SelfAttention, TimeEmbedding

OUTPUT_NORM_EPS = 1e-5


@dataclass(frozen=True)
class StructureFlowConfig:
    """Sizes of the flow; the defaults are the released ones. grid_size: cells along a side;
    normed, cross_normed: whether queries and keys are, in self- and in cross-attention."""

    grid_size: int = 16
    in_channels: int = 16
    out_channels: int = 16
    model_channels: int = 1024
    context_channels: int = 1024
    num_blocks: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4
    normed: bool = True
    cross_normed: bool = False

    @property
    def block_sizes(self) -> BlockSizes:
        return BlockSizes(
            self.model_channels,
            self.context_channels,
            self.num_heads,
            self.mlp_ratio,
            normed=self.normed,
            cross_normed=self.cross_normed,
        )


class StructureFlow(nn.Module):
    """Velocity v(x, t) of structure latents; body_dtype is the type of the layers in the blocks."""

    def __init__(
        self, config: StructureFlowConfig, body_dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        width = config.model_channels
        self.t_embedder = TimeEmbedding(width)
        cells = torch.cartesian_prod(*[torch.arange(config.grid_size)] * 3)
        # Every released file has the positions in it.
        self.pos_emb: Tensor
        self.register_buffer("pos_emb", sin_cos_positions(cells, width))
        self.input_layer = nn.Linear(config.in_channels, width)
        self.blocks = nn.ModuleList(
            ModulatedBlock(
                config.block_sizes,
                SelfAttention(width, config.num_heads, config.normed, body_dtype),
                body_dtype,
            )
            for _ in range(config.num_blocks)
        )
        self.out_layer = nn.Linear(width, config.out_channels)

    def prepare(self, contexts: Sequence[ImageContext]) -> tuple[tuple[Keys, ...], ...]:
        """Keys and values of each object's image, by block: what no step changes."""
        return prepare_contexts(self.blocks, contexts, self.body_dtype)

    def forward(self, x: Tensor, time: Tensor, prepared: Sequence[Sequence[Keys]]) -> Tensor:
        """Velocity (N, out_channels) float32 of x (N, in_channels) at time (B,) or (1,), 0 to 1000.

        prepared: of B objects; N is B times the grid's cells, z fastest.
        """
        count = len(prepared[0])
        lengths = (len(x) // count,) * count
        embedded = self.t_embedder(time).to(self.body_dtype)
        h = (self.input_layer(x) + self.pos_emb.repeat(count, 1)).to(self.body_dtype)
        h = through_blocks(self.blocks, h, embedded, prepared, lengths)
        h = F.layer_norm(h.to(x.dtype), h.shape[-1:], eps=OUTPUT_NORM_EPS)
        return self.out_layer(h)
