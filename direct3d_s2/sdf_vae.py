"""From latents at sparse voxels to a signed distance field eight times as fine.

Architecture and state-dict names: Direct3D-S2, commit a1cf235, models/autoencoders/decoder.py. The
encoder is not needed to generate, and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from direct3d_s2.compression import KernelConv
from direct3d_s2.sdf import CHILDREN, SparseSdf
from sparse3d.swin import SwinConfig, SwinTransformer
from sparse3d.voxels import Voxels, subdivide, unpool

LEVELS = 3
# Only what lies within so many latent voxels decides a value: one of the first convolution, then
# 2/2, 2/4 and 1/8 of those among its children. A core padded by them decodes as the whole does.
PADDING = 4
CORE = 32  # latent voxels along the edge of what is decoded at once


@dataclass(frozen=True)
class SdfDecoderConfig:
    """grid: latent voxels along the cube's edge; width, blocks, heads: of the transformer before
    the subdivisions, whose widths are a quarter, an eighth and a sixteenth of it."""

    grid: int
    latent_channels: int
    width: int = 512
    blocks: int = 4
    heads: int = 8
    mlp_ratio: float = 4.0
    window: int = 8

    @property
    def widths(self) -> tuple[int, int, int, int]:
        return (self.width, self.width // 4, self.width // 8, self.width // 16)


class SdfDecoder(SwinTransformer):
    """body_dtype: of all layers but the first and the last."""

    def __init__(self, config: SdfDecoderConfig, body_dtype: torch.dtype = torch.float32) -> None:
        sizes = (config.latent_channels, config.width, config.blocks, config.heads)
        super().__init__(SwinConfig(*sizes, config.mlp_ratio, config.window), body_dtype)
        self.config = config
        widths = config.widths
        self.upsample = nn.ModuleList(
            SubdivisionBlock(a, b, body_dtype) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.out_layer = nn.Linear(widths[-1], 1)

    def forward(self, latent: Tensor, voxels: Voxels, with_features: bool = False) -> SparseSdf:
        """Latents (L, channels) of one object's voxels to its field; the values are float32.

        with_features adds what the last layer reads, which the refiner of 512^3 needs. It is
        decoded core by core, each with its padding, to the same values as all at once.
        """
        hidden = self.transform(latent, voxels)
        coords = voxels.coords[:, 1:].long()
        values = torch.zeros(len(coords), CHILDREN, CHILDREN, CHILDREN, device=latent.device)
        features = None
        if with_features:
            shape = (*values.shape, self.config.widths[-1])
            features = torch.zeros(shape, dtype=self.body_dtype, device=latent.device)
        for padded, core in self._cores(coords):
            found = self.subdivide(hidden[padded], voxels.coords[padded])[core]
            kept = padded[core]
            values[kept] = self.out_layer(found.float())[..., 0].tanh()
            if features is not None:
                features[kept] = found
        return SparseSdf(coords, values, CHILDREN * self.config.grid, features)

    def _cores(self, coords: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For every core with voxels: the rows in it or in its padding, and which are in it."""
        if self.config.grid <= CORE:
            rows = torch.arange(len(coords), device=coords.device)
            yield rows, torch.ones_like(rows, dtype=torch.bool)
            return
        cores = torch.div(coords, CORE, rounding_mode="floor")
        for core in cores.unique(dim=0):
            low, high = core * CORE - PADDING, (core + 1) * CORE + PADDING
            padded = ((coords >= low) & (coords < high)).all(1).nonzero().squeeze(1)
            yield padded, (cores[padded] == core).all(1)

    def subdivide(self, hidden: Tensor, coords: Tensor) -> Tensor:
        """(L, width) of voxels (L, 4) to the features (L, 8, 8, 8, C) of their children."""
        count, voxels = len(hidden), Voxels(coords.contiguous())
        for block in self.upsample:
            hidden, voxels = block(hidden, voxels)
        # Every level's child has x as its lowest bit; the first level is the highest bit of all.
        nested = hidden.view(count, *(2,) * (3 * LEVELS), -1)
        axes = [3 * level + axis for axis in (3, 2, 1) for level in range(LEVELS)]
        return nested.permute(0, *axes, 3 * LEVELS + 1).reshape(
            count, CHILDREN, CHILDREN, CHILDREN, -1
        )


class SubdivisionBlock(nn.Module):
    """A convolution, all eight children, a convolution among them; SiLU after each."""

    def __init__(self, channels: int, out_channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.act_layers = nn.ModuleList([KernelConv(channels, out_channels, dtype)])
        self.out_layers = nn.ModuleList([KernelConv(out_channels, out_channels, dtype)])

    def forward(self, features: Tensor, voxels: Voxels) -> tuple[Tensor, Voxels]:
        """(N, C) to (8 N, C') of the children, which are returned with them."""
        hidden = F.silu(self.act_layers[0](features, voxels))
        mask = torch.ones(len(voxels), 8, dtype=torch.bool, device=hidden.device)
        children = subdivide(voxels, mask)
        assert children.origin is not None
        return F.silu(self.out_layers[0](unpool(hidden, children.origin), children)), children
