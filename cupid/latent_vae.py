"""Between the structured latents and what they stand for: image features in, a surface out.

The encoder turns image features that were projected onto voxels into their latents; the decoder
turns latents into what FlexiCubes needs of voxels four times as fine. Architecture and state-dict
names: Cupid, commit 10af9b2, models/structured_latent_vae, as in TRELLIS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cupid.latent_flow import NamedConvolution
from sparse3d.sparse_conv import Backend
from sparse3d.swin import SwinConfig, SwinTransformer
from sparse3d.voxels import Voxels, group_norm, subdivide, unpool

OUTPUT_NORM_EPS = 1e-5
GROUPS, GROUP_NORM_EPS = 32, 1e-5
CORNERS = 8
# Per voxel: signed distance, offset and colours of its corners, and the weights of FlexiCubes.
WEIGHTS = 21
SHAPE_CHANNELS = CORNERS * (1 + 3) + WEIGHTS
COLOUR_CHANNELS = 6  # of a corner: base colour, and a normal that is of no use here


class LatentEncoder(SwinTransformer):
    """Image features on voxels to the mean of their latents (TRELLIS' slat_enc_swin8_B_64l8)."""

    def __init__(
        self, config: SwinConfig, latent_channels: int, body_dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(config, body_dtype)
        self.latent_channels = latent_channels
        self.out_layer = nn.Linear(config.width, 2 * latent_channels)

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        """(N, in_channels) float32 to (N, latent_channels) float32."""
        hidden = self.transform(features, voxels).to(features.dtype)
        hidden = F.layer_norm(hidden, hidden.shape[-1:], eps=OUTPUT_NORM_EPS)
        return self.out_layer(hidden)[:, : self.latent_channels]


@dataclass(frozen=True, eq=False)
class CubeFeatures:
    """What the decoder says of cubes of a grid of `resolution` along each side.

    coords: (N, 3) int32. distance (N, 8, 1), offset (N, 8, 3) and colour (N, 8, 6, None without)
    of the corners in the order x + 2 y + 4 z; weights (N, 21). All float32, as decoded.
    """

    coords: Tensor
    distance: Tensor
    offset: Tensor
    weights: Tensor
    colour: Tensor | None
    resolution: int


class MeshDecoder(SwinTransformer):
    """Latents to the cubes of FlexiCubes, each voxel split into 4^3 of them.

    grid_size: of the latents. body_dtype: of everything but norms, first and last layer.
    """

    def __init__(
        self,
        config: SwinConfig,
        grid_size: int = 64,
        colours: bool = True,
        body_dtype: torch.dtype = torch.float32,
        backend: Backend = "torch",
    ) -> None:
        super().__init__(config, body_dtype)
        self.grid_size, self.colours = grid_size, colours
        widths = (config.width, config.width // 4, config.width // 8)
        self.upsample = nn.ModuleList(
            SplitBlock(before, after, body_dtype, backend)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        channels = SHAPE_CHANNELS + CORNERS * COLOUR_CHANNELS * colours
        self.out_layer = nn.Linear(widths[-1], channels)

    def forward(self, latent: Tensor, voxels: Voxels) -> CubeFeatures:
        """Latents (N, C) float32 of one object's voxels to its cubes."""
        hidden = self.transform(latent, voxels)
        for block in cast("Iterable[SplitBlock]", self.upsample):
            hidden, voxels = block(hidden, voxels)
        decoded = self.out_layer(hidden.to(latent.dtype))
        return split_channels(
            decoded, voxels.coords[:, 1:], self.grid_size * 2 ** len(self.upsample)
        )


def split_channels(decoded: Tensor, coords: Tensor, resolution: int) -> CubeFeatures:
    """The decoder's last layer (N, 53 or 101) by what its channels are."""
    sizes = [CORNERS, 3 * CORNERS, WEIGHTS, decoded.shape[1] - SHAPE_CHANNELS]
    distance, offset, weights, colour = decoded.split(sizes, 1)
    return CubeFeatures(
        coords,
        distance.unflatten(1, (CORNERS, 1)),
        offset.unflatten(1, (CORNERS, 3)),
        weights,
        colour.unflatten(1, (CORNERS, COLOUR_CHANNELS)) if sizes[3] else None,
        resolution,
    )


class SplitBlock(nn.Module):
    """All eight children of every voxel, then two convolutions among them beside a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, dtype: torch.dtype, backend: Backend
    ) -> None:
        super().__init__()
        self.act_layers = nn.ModuleList([_group_norm(in_channels)])
        # The released files number a sequence of layers whose third has no weights.
        self.out_layers = nn.ModuleDict(
            {
                "0": NamedConvolution(in_channels, out_channels, backend, dtype),
                "1": _group_norm(out_channels),
                "3": NamedConvolution(out_channels, out_channels, backend, dtype),
            }
        )
        self.skip_connection = nn.ModuleDict(
            {"conv": PointConvolution(in_channels, out_channels, dtype)}
        )

    def forward(self, features: Tensor, voxels: Voxels) -> tuple[Tensor, Voxels]:
        """(N, C) to (8 N, C') of the children, which are returned with them."""
        every = torch.ones(len(voxels), 8, dtype=torch.bool, device=features.device)
        children = subdivide(voxels, every)
        origin = children.origin
        assert origin is not None
        inner = F.silu(_normalised(self.act_layers[0], features, voxels))
        first, second = self.out_layers["0"], self.out_layers["3"]
        inner = first(unpool(inner, origin), children)
        inner = F.silu(_normalised(self.out_layers["1"], inner, children))
        # One row's shortcut is that of its parent.
        shortcut = self.skip_connection["conv"](features)
        return second(inner, children) + unpool(shortcut, origin), children


class PointConvolution(nn.Module):
    """A 1x1x1 convolution as spconv 2.x computes it, with which the decoders were trained.

    The weight's memory (Co, 1, 1, 1, Ci) is read as a matrix (Ci, Co), not transposed
    (spconv 2.3.8, pytorch/conv.py, `conv1x1`): another linear map than the shape suggests.
    """

    def __init__(self, in_channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, 1, 1, 1, in_channels, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(out_channels, dtype=dtype))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.reshape(features.shape[1], -1) + self.bias


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, GROUP_NORM_EPS)


def _normalised(norm: nn.Module, features: Tensor, voxels: Voxels) -> Tensor:
    assert isinstance(norm, nn.GroupNorm)
    return group_norm(features, voxels, norm.num_groups, norm.weight, norm.bias, norm.eps)
