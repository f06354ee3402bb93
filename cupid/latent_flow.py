"""The second stage: velocity of the structured latents, on the occupied voxels of 64^3.

Residual blocks bring the voxels to half the resolution, a transformer works there, residual blocks
bring them back. Beside the noisy latent every voxel reads what the pose lets it see of the image.
Architecture: Cupid, commit 10af9b2, models/structured_latent_flow.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cupid.conditioning import resized, sample_map
from cupid.context import ImageContext, Keys, prepare_contexts, through_blocks
from sparse3d.positions import sin_cos_positions
from sparse3d.sparse_conv import Backend, SparseConv
from sparse3d.transformer import (
    BLOCK_NORM_EPS,
    BlockSizes,
    ModulatedBlock,
    SelfAttention,
    TimeEmbedding,
    per_row,
)
from sparse3d.voxels import Origin, Voxels, coarsen, pool_mean_with_zero, unpool

OUTPUT_NORM_EPS = 1e-5


@dataclass(frozen=True)
class LatentFlowConfig:
    """Sizes of the flow; the defaults are the released ones.

    in_channels: of the noisy latent. encoded_channels: of the latent that the encoder makes of
    projected image features. visual_channels: of the convolutions over an image of visual_size
    pixels with visual_inputs channels (a fourth is the occluders' mask). io_channels: width of each
    finer level; io_blocks: residual blocks on a level, on each side.
    """

    grid_size: int = 64
    in_channels: int = 8
    out_channels: int = 8
    encoded_channels: int = 8
    visual_channels: tuple[int, ...] = (4, 4, 4, 4)
    visual_inputs: int = 3
    visual_size: int = 256
    visual_kernel: int = 3
    model_channels: int = 1024
    context_channels: int = 1024
    num_blocks: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4
    io_channels: tuple[int, ...] = (128,)
    io_blocks: int = 2
    skips: bool = True
    normed: bool = True
    cross_normed: bool = False

    @property
    def condition_channels(self) -> int:
        """Of what a voxel reads beside its noisy latent."""
        return self.encoded_channels + sum(self.visual_channels)

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


@dataclass(frozen=True, eq=False)
class PreparedLatents:
    """What no step changes: the levels of the octree, the coarse voxels' positions (N, C), and
    keys and values of each object's image, by block."""

    voxels: Voxels
    origins: tuple[Origin, ...]
    positions: Tensor
    contexts: tuple[tuple[Keys, ...], ...]


class LatentFlow(nn.Module):
    """Velocity v(x, t) of structured latents, one row per occupied voxel.

    body_dtype: the type of linear layers and convolutions in all blocks; everything else is
    float32. The encoder of the projected features is a network of its own (`LatentEncoder`).
    """

    def __init__(
        self,
        config: LatentFlowConfig,
        body_dtype: torch.dtype = torch.float32,
        backend: Backend = "torch",
    ) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        width, levels = config.model_channels, (*config.io_channels, config.model_channels)
        block = partial(ResBlock, time_channels=width, dtype=body_dtype, backend=backend)
        self.t_embedder = TimeEmbedding(width)
        self.input_layer = nn.Linear(config.in_channels + config.condition_channels, levels[0])
        self.input_blocks = nn.ModuleList()
        self.out_blocks = nn.ModuleList()
        for narrow, wide in pairwise(levels):
            same = (block(narrow, narrow) for _ in range(config.io_blocks - 1))
            self.input_blocks.extend([*same, block(narrow, wide, moves="down")])
        self.blocks = nn.ModuleList(
            ModulatedBlock(
                config.block_sizes,
                SelfAttention(width, config.num_heads, config.normed, body_dtype),
                body_dtype,
            )
            for _ in range(config.num_blocks)
        )
        joined = 2 if config.skips else 1
        for narrow, wide in reversed(list(pairwise(levels))):
            same = (block(joined * narrow, narrow) for _ in range(config.io_blocks - 1))
            self.out_blocks.extend([block(joined * wide, narrow, moves="up"), *same])
        self.out_layer = nn.Linear(levels[0], config.out_channels)
        kernel, inputs = config.visual_kernel, (config.visual_inputs, *config.visual_channels)
        self.visual_conv_blocks = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride=2 if number else 1, padding=kernel // 2)
            for number, (before, after) in enumerate(pairwise(inputs))
        )

    def visual_features(self, image: Tensor, uv: Tensor) -> Tensor:
        """Low-level features of an image (visual_inputs, H, W) in [0, 1] at uv (N, 2): every
        convolution's map, with no activation between them; (N, sum of visual_channels)."""
        maps, features = [], resized(image, self.config.visual_size)
        for convolution in self.visual_conv_blocks:
            features = convolution(features[None])[0]
            maps.append(sample_map(features, uv))
        return torch.cat(maps, 1)

    def prepare(self, voxels: Voxels, contexts: Sequence[ImageContext]) -> PreparedLatents:
        """Compute once what no step changes; `contexts` has one for each object of the voxels."""
        origins, level = [], voxels
        for _ in self.config.io_channels:
            origins.append(coarsen(level))
            level = origins[-1].parents
        positions = sin_cos_positions(level.coords[:, 1:], self.config.model_channels)
        keys = prepare_contexts(self.blocks, contexts, self.body_dtype)
        return PreparedLatents(voxels, tuple(origins), positions.to(self.body_dtype), keys)

    def forward(self, x: Tensor, time: Tensor, prepared: PreparedLatents) -> Tensor:
        """Velocity (N, out_channels) float32 of x at time (B,) or (1,), 0 to 1000.

        x: (N, in_channels + condition_channels), noisy latent, encoded features, visual features.
        """
        embedded = self.t_embedder(time).to(self.body_dtype)
        h, skips = self.input_layer(x).to(self.body_dtype), []
        levels = Levels(prepared)
        for block in self.input_blocks:
            h = block(h, embedded, levels)
            skips.append(h)
        h = h + prepared.positions
        h = through_blocks(self.blocks, h, embedded, prepared.contexts, levels.voxels.lengths)
        for block, skip in zip(self.out_blocks, reversed(skips), strict=True):
            h = block(torch.cat((h, skip), 1) if self.config.skips else h, embedded, levels)
        h = F.layer_norm(h, h.shape[-1:], eps=OUTPUT_NORM_EPS)
        return self.out_layer(h.to(x.dtype))


class Levels:
    """Where a pass is in the octree: blocks that move to another level say so."""

    def __init__(self, prepared: PreparedLatents) -> None:
        self.voxels = prepared.voxels
        self._finer: list[tuple[Voxels, Origin]] = []
        self._coarser = list(prepared.origins)

    def down(self, features: Tensor) -> Tensor:
        """To half the resolution."""
        origin = self._coarser.pop(0)
        self._finer.append((self.voxels, origin))
        self.voxels = origin.parents
        return pool_mean_with_zero(features, origin).to(features.dtype)

    def up(self, features: Tensor) -> Tensor:
        """Back to the resolution before."""
        self.voxels, origin = self._finer.pop()
        self._coarser.insert(0, origin)
        return unpool(features, origin)


class ResBlock(nn.Module):
    """Two sparse convolutions beside a shortcut; the time scales and shifts between them.

    moves: whether the voxels are brought to another level first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        dtype: torch.dtype,
        backend: Backend,
        moves: str = "",
    ) -> None:
        super().__init__()
        self.moves = moves
        self.norm1 = nn.LayerNorm(in_channels, eps=BLOCK_NORM_EPS)
        self.conv1 = NamedConvolution(in_channels, out_channels, backend, dtype)
        self.conv2 = NamedConvolution(out_channels, out_channels, backend, dtype)
        time_layer = nn.Linear(time_channels, 2 * out_channels, dtype=dtype)
        self.emb_layers = nn.Sequential(nn.SiLU(), time_layer)
        self.skip_connection: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip_connection = nn.Linear(in_channels, out_channels, dtype=dtype)

    def forward(self, features: Tensor, embedded: Tensor, levels: Levels) -> Tensor:
        """(N, C) to (M, C') on the voxels that `levels` is at afterwards."""
        if self.moves:
            features = levels.down(features) if self.moves == "down" else levels.up(features)
        voxels = levels.voxels
        scale, shift = (
            per_row(part, voxels.lengths) for part in self.emb_layers(embedded).chunk(2, 1)
        )
        inner = F.silu(self.norm1(features.float()).to(features.dtype))
        inner = self.conv1(inner, voxels)
        normed = F.layer_norm(inner.float(), inner.shape[-1:], eps=BLOCK_NORM_EPS).to(inner.dtype)
        inner = self.conv2(F.silu(normed * (1 + scale) + shift), voxels)
        return inner + self.skip_connection(features)


class NamedConvolution(nn.Module):
    """A convolution under the names of the released files: `<name>.conv.weight`."""

    def __init__(
        self, in_channels: int, out_channels: int, backend: Backend, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.conv = SparseConv(in_channels, out_channels, backend=backend, dtype=dtype)

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        return self.conv(features, voxels)
