"""How do latents on a coarse grid become fine voxels with shape or texture features, and back?

A sparse U-Net without skips: every level runs ConvNeXt blocks, then splits (decoder) or merges
(encoder) its voxels. Architecture and state-dict names: Pixal3D, commit cdbb2bb,
models/sc_vaes/{sparse_unet_vae,fdg_vae}.py. All layers of a level share one neighbour table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixal3d.latent_blocks import ConvNeXtBlock, DownBlock, UpBlock
from sparse3d.errors import BadConfiguration
from sparse3d.sparse_conv import Backend, default_chunk_bytes, row_slices
from sparse3d.voxels import Voxels, coarsen, subdivide

# A dual vertex may leave its voxel by half a voxel on either side (`voxel_margin`).
VOXEL_MARGIN = 0.5
SHAPE_CHANNELS, SHAPE_INPUT_CHANNELS = 7, 6


@dataclass(frozen=True)
class LatentConfig:
    """Sizes of a decoder or encoder; the defaults are shape_dec_next_dc_f16c32_fp16.

    voxel_channels: of the finest voxels (shape decoder 7, texture decoder 6, encoders 6).
    channels: one width per level in the network's own order, a decoder's coarse to fine (the
    official encoder: (64, 128, 256, 512, 1024)). blocks: ConvNeXt blocks per level, as many
    entries (the official encoder: (0, 4, 8, 16, 4)). Raises BadConfiguration for another number.
    """

    voxel_channels: int = SHAPE_CHANNELS
    latent_channels: int = 32
    channels: tuple[int, ...] = (1024, 512, 256, 128, 64)
    blocks: tuple[int, ...] = (4, 16, 8, 4, 0)

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks):
            raise BadConfiguration(
                f"channels {self.channels} and blocks {self.blocks} differ in number"
            )


@dataclass(frozen=True, eq=False)
class ShapeVoxels:
    """What the shape decoder makes of a latent.

    features: (M, voxel channels) float32, raw; `split_head` gives them meaning. subdivisions: per
    level, coarse to fine, (N_level, 8) raw logits; a child exists where its logit is positive.
    """

    voxels: Voxels
    features: Tensor
    subdivisions: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class DualGridHead:
    """A flexible dual grid on M voxels, ready to be meshed.

    dual_vertices: (M, 3) in voxels from the voxel's low corner, -0.5 to 1.5. intersected: (M, 3)
    bool, whether the surface crosses the voxel's edge along x, y, z. split_weight: (M, 1) positive.
    """

    dual_vertices: Tensor
    intersected: Tensor
    split_weight: Tensor


@dataclass(frozen=True, eq=False)
class EncodedVoxels:
    """The latent's distribution: mean and log_variance (N, latent channels) of sorted voxels."""

    voxels: Voxels
    mean: Tensor
    log_variance: Tensor


def split_head(features: Tensor) -> DualGridHead:
    """Read the shape decoder's raw features (M, 7).

    Vertex (1 + 2 m) sigmoid - m with the margin m = 0.5, flags where positive, split weight by
    softplus (fdg_vae.py). Raises ValueError for another number of channels.
    """
    if features.ndim != 2 or features.shape[1] != SHAPE_CHANNELS:
        raise ValueError(f"shape features must be (M, 7), not {tuple(features.shape)}")
    vertices, flags, weight = features.split([3, 3, 1], dim=1)
    vertices = (1 + 2 * VOXEL_MARGIN) * vertices.sigmoid() - VOXEL_MARGIN
    return DualGridHead(vertices, flags > 0, F.softplus(weight))


class LatentDecoder(nn.Module):
    """The layers that the shape and the texture decoder have in common.

    body_dtype: of everything but the norms and the first and last layer, which are float32 (the
    released networks run their body in float16). backend: of the convolutions.
    """

    def __init__(
        self,
        config: LatentConfig,
        body_dtype: torch.dtype,
        backend: Backend,
        predicts_subdivision: bool,
    ) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        self.from_latent = nn.Linear(config.latent_channels, config.channels[0])
        levels = [_stack(n, w, body_dtype, backend) for n, w in _sizes(config)]
        self.ups = tuple(
            UpBlock(*widths, predicts_subdivision, body_dtype, backend)
            for widths in pairwise(config.channels)
        )
        for level, up in zip(levels, self.ups, strict=False):
            level.append(up)
        self.blocks = nn.ModuleList(levels)
        self.output_layer = nn.Linear(config.channels[-1], config.voxel_channels)

    def enter(self, latent: Tensor, voxels: Voxels) -> Tensor:
        """(N, latent channels) float32 to features in the body's dtype.

        Raises ValueError for another number of rows or channels.
        """
        _check_rows(latent, voxels, self.config.latent_channels)
        return self.from_latent(latent).to(self.body_dtype)

    def refine(self, features: Tensor, voxels: Voxels, level: int, chunk_bytes: int) -> Tensor:
        """The ConvNeXt blocks of a level: (N, C) to the same."""
        return _run_blocks(self, features, voxels, level, chunk_bytes)

    def decode(
        self,
        latent: Tensor,
        voxels: Voxels,
        logits_of: Callable[[int, Tensor], Tensor],
        chunk_bytes: int | None = None,
    ) -> tuple[Tensor, Voxels]:
        """All levels: features (M, voxel channels) float32 and the voxels they belong to.

        logits_of: subdivision logits (N, 8) of a level's features. chunk_bytes bounds the working
        memory beside the features of two neighbouring levels (None: `default_chunk_bytes`).
        """
        chunk_bytes = chunk_bytes or default_chunk_bytes(latent.device)
        features = self.enter(latent, voxels)
        for level, up in enumerate(self.ups):
            features = self.refine(features, voxels, level, chunk_bytes)
            voxels = subdivide(voxels, logits_of(level, features) > 0)
            features = up(features, voxels, chunk_bytes)
        features = self.refine(features, voxels, len(self.ups), chunk_bytes)
        return self.leave(features, chunk_bytes), voxels

    def leave(self, features: Tensor, chunk_bytes: int) -> Tensor:
        """The last layer, in float32: (M, C) to (M, voxel channels)."""
        width = features.shape[1]
        output = features.new_zeros(len(features), self.config.voxel_channels, dtype=torch.float32)
        for rows in row_slices(len(features), 3 * 4 * width, chunk_bytes):
            output[rows] = self.output_layer(F.layer_norm(features[rows].float(), (width,)))
        return output


class ShapeDecoder(LatentDecoder):
    """From shape latents to voxels 2^(levels - 1) times as fine; it predicts which exist."""

    def __init__(
        self,
        config: LatentConfig,
        body_dtype: torch.dtype = torch.float32,
        backend: Backend = "torch",
    ) -> None:
        super().__init__(config, body_dtype, backend, predicts_subdivision=True)

    def forward(
        self, latent: Tensor, voxels: Voxels, chunk_bytes: int | None = None
    ) -> ShapeVoxels:
        """Decode shape latents (N, latent channels) float32, not normalised.

        chunk_bytes: as in `decode`.
        """
        subdivisions: list[Tensor] = []

        def predicted(level: int, features: Tensor) -> Tensor:
            subdivisions.append(self.ups[level].subdivision(features))
            return subdivisions[-1]

        features, fine = self.decode(latent, voxels, predicted, chunk_bytes)
        # Without their origin: the neighbour tables of all levels end here.
        return ShapeVoxels(Voxels(fine.coords), features, tuple(subdivisions))

    def upsample(
        self, latent: Tensor, voxels: Voxels, levels: int, chunk_bytes: int | None = None
    ) -> Voxels:
        """The voxels after some subdivisions, 2^levels times as fine, without their features.

        Raises ValueError for more levels than the network has, or fewer than one.
        """
        if not 1 <= levels <= len(self.ups):
            raise ValueError(f"levels must be 1 to {len(self.ups)}, not {levels}")

        def predicted(level: int, features: Tensor) -> Tensor:
            return self.ups[level].subdivision(features)

        return self.subdivided(latent, voxels, levels, predicted, chunk_bytes)

    def subdivided(
        self,
        latent: Tensor,
        voxels: Voxels,
        levels: int,
        logits_of: Callable[[int, Tensor], Tensor],
        chunk_bytes: int | None = None,
    ) -> Voxels:
        """`upsample` by any logits, as `decode` takes them."""
        features = self.enter(latent, voxels)
        chunk_bytes = chunk_bytes or default_chunk_bytes(latent.device)
        for level in range(levels):
            if level:
                features = self.ups[level - 1](features, voxels, chunk_bytes)
            features = self.refine(features, voxels, level, chunk_bytes)
            voxels = subdivide(voxels, logits_of(level, features) > 0)
        return Voxels(voxels.coords)


class TextureDecoder(LatentDecoder):
    """From texture latents to features of the voxels that the shape decoder found."""

    def __init__(
        self,
        config: LatentConfig,
        body_dtype: torch.dtype = torch.float32,
        backend: Backend = "torch",
    ) -> None:
        super().__init__(config, body_dtype, backend, predicts_subdivision=False)

    def forward(
        self,
        latent: Tensor,
        voxels: Voxels,
        subdivisions: Sequence[Tensor],
        chunk_bytes: int | None = None,
    ) -> Tensor:
        """Raw features (M, voxel channels) float32, in the row order of the shape decoder's voxels.

        0.5 * features + 0.5 are base colour 0:3, metallic 3, roughness 4 and alpha 5, not clamped.
        latent: (N, latent channels) float32 on the same voxels as the shape latents; subdivisions:
        the shape decoder's. Raises ValueError where these do not fit.
        """
        if len(subdivisions) != len(self.ups):
            raise ValueError(f"expected {len(self.ups)} subdivisions, not {len(subdivisions)}")
        features, _ = self.decode(latent, voxels, lambda level, _: subdivisions[level], chunk_bytes)
        return features


class ShapeEncoder(nn.Module):
    """From a flexible dual grid to the distribution of its shape latents."""

    def __init__(
        self,
        config: LatentConfig,
        body_dtype: torch.dtype = torch.float32,
        backend: Backend = "torch",
    ) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        self.input_layer = nn.Linear(config.voxel_channels, config.channels[0])
        levels = [_stack(n, w, body_dtype, backend) for n, w in _sizes(config)]
        self.downs = tuple(
            DownBlock(*widths, body_dtype, backend) for widths in pairwise(config.channels)
        )
        for level, down in zip(levels, self.downs, strict=False):
            level.append(down)
        self.blocks = nn.ModuleList(levels)
        self.to_latent = nn.Linear(config.channels[-1], 2 * config.latent_channels)

    def forward(
        self,
        dual_vertices: Tensor,
        intersected: Tensor,
        voxels: Voxels,
        chunk_bytes: int | None = None,
    ) -> EncodedVoxels:
        """Encode a dual grid.

        dual_vertices: (M, 3) float32 in voxels from the voxel's low corner, 0 to 1; intersected:
        (M, 3) bool or 0/1. Raises ValueError for other numbers of rows or channels.
        """
        features = torch.cat([dual_vertices - 0.5, intersected.to(dual_vertices) - 0.5], dim=1)
        _check_rows(features, voxels, self.config.voxel_channels)
        features = self.input_layer(features).to(self.body_dtype)
        chunk_bytes = chunk_bytes or default_chunk_bytes(features.device)
        for level, down in enumerate(self.downs):
            features = _run_blocks(self, features, voxels, level, chunk_bytes)
            origin = coarsen(voxels)
            features = down(features, voxels, origin, chunk_bytes)
            voxels = origin.parents
        features = _run_blocks(self, features, voxels, len(self.downs), chunk_bytes)
        features = F.layer_norm(features.float(), features.shape[1:])
        mean, log_variance = self.to_latent(features).chunk(2, dim=1)
        return EncodedVoxels(Voxels(voxels.coords), mean, log_variance)


def _sizes(config: LatentConfig) -> list[tuple[int, int]]:
    return list(zip(config.blocks, config.channels, strict=True))


def _stack(count: int, channels: int, dtype: torch.dtype, backend: Backend) -> nn.ModuleList:
    return nn.ModuleList(ConvNeXtBlock(channels, dtype, backend) for _ in range(count))


def _run_blocks(
    network: LatentDecoder | ShapeEncoder,
    features: Tensor,
    voxels: Voxels,
    level: int,
    chunk_bytes: int,
) -> Tensor:
    stack = network.blocks[level]
    for block in stack.children():
        if isinstance(block, ConvNeXtBlock):
            features = block(features, voxels, chunk_bytes)
    return features


def _check_rows(features: Tensor, voxels: Voxels, channels: int) -> None:
    if tuple(features.shape) != (len(voxels), channels):
        raise ValueError(
            f"expected features ({len(voxels)}, {channels}) for {len(voxels)} voxels, "
            f"not {tuple(features.shape)}"
        )
