"""What is left to do about a decoded field: smooth it (512^3), and fill its inside (1024^3).

Both run a 3D U-Net over 27 overlapping patches of 512^3. Architecture, state-dict names and tiling:
Direct3D-S2, commit a1cf235, models/refiner/unet_refiner.py. Only one patch is dense in features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from direct3d_s2.sdf import DenseSdf, SparseSdf, halved
from direct3d_s2.unet3d import WIDTHS, UNet3D

HIDDEN = 8  # channels of the refiners outside of the U-Net
MLP_WIDTH = 32
STEPS = 3  # patches along an axis
TAPS = 27
SMOOTHINGS = 3  # times that a filter is applied


@dataclass(frozen=True)
class RefinerConfig:
    """side: of the grid that is refined; patch: of what runs at once. Both are multiples of 8."""

    side: int = 512
    patch: int = 192
    layers: int = 2
    middle_layers: int = 2
    feature_channels: int = 32
    widths: Sequence[int] = WIDTHS

    @property
    def stride(self) -> int:
        """Between the starts of neighbouring patches, of which the last ends with the grid."""
        return (self.side - self.patch) // (STEPS - 1)

    @property
    def overlap(self) -> int:
        """What two neighbouring patches have in common."""
        return self.patch - self.stride


class SmoothingRefiner(nn.Module):
    """A decoded field with its features to a dense, smoother one."""

    def __init__(self, config: RefinerConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        self.unet3d1 = UNet3D(
            2 * HIDDEN, config.layers, config.middle_layers, config.widths, body_dtype
        )
        self.conv_in = nn.Conv3d(1, HIDDEN, 3, padding=1, dtype=body_dtype)
        self.latent_mlp = FeatureMlp(config.feature_channels, body_dtype)
        self.adaptive_conv1 = _filter_layers(body_dtype)
        self.adaptive_conv2 = _filter_layers(body_dtype)
        self.adaptive_conv3 = _filter_layers(body_dtype)
        self.mid_conv = nn.Conv3d(HIDDEN, HIDDEN, 3, padding=1, dtype=body_dtype)
        self.conv_out = nn.Conv3d(HIDDEN, 1, 3, padding=1, dtype=body_dtype)

    def forward(self, sdf: SparseSdf) -> DenseSdf:
        """Patches are blended linearly where they overlap. Raises ValueError for another side."""
        _check_side(sdf.side, self.config.side)
        values = torch.zeros((sdf.side,) * 3, dtype=self.body_dtype, device=sdf.values.device)
        ramps = self._ramps().to(values)
        for place, low, high in _patches(self.config):
            patch = sdf.region(low, high).to(self.body_dtype)
            features = sdf.feature_region(low, high).to(self.body_dtype)
            weights = [ramps[i] for i in place]
            refined = self.refine_patch(patch[None, None], features.movedim(-1, 0)[None])[0, 0]
            for axis, weight in enumerate(weights):
                refined = refined * weight.view([-1 if a == axis else 1 for a in range(3)])
            values[_slices(low, high)] += refined
        return DenseSdf(values)

    def refine_patch(self, sdf: Tensor, features: Tensor) -> Tensor:
        """(B, 1, P, P, P) and features (B, C, P, P, P) to the smoothed (B, 1, P, P, P)."""
        embedded = self.latent_mlp(features.movedim(1, -1)).movedim(-1, 1)
        hidden = self.unet3d1(torch.cat((self.conv_in(sdf), embedded), 1))
        hidden = smoothed(hidden, self.adaptive_conv1(hidden))
        hidden = self.mid_conv(hidden)
        hidden = smoothed(hidden, self.adaptive_conv2(hidden))
        return smoothed(self.conv_out(hidden), self.adaptive_conv3(hidden)).tanh()

    def _ramps(self) -> Tensor:
        """(3, P): the weight of a patch along an axis, by its place; together they are 1."""
        overlap = self.config.overlap
        rise = torch.linspace(0, 1, overlap)
        ramps = torch.ones(STEPS, self.config.patch)
        ramps[1:, :overlap] *= rise
        ramps[:-1, -overlap:] *= 1 - rise
        return ramps


class SignRefiner(nn.Module):
    """Which values that no voxel has are inside: the coarse grid of a field of twice its side."""

    def __init__(self, config: RefinerConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.body_dtype = config, body_dtype
        self.unet3d1 = UNet3D(
            HIDDEN, config.layers, config.middle_layers, config.widths, body_dtype
        )
        self.conv_in = nn.Conv3d(1, HIDDEN, 3, padding=1, dtype=body_dtype)
        self.conv_out = nn.Conv3d(HIDDEN, 1, 3, padding=1, dtype=body_dtype)

    def forward(self, sdf: SparseSdf) -> SparseSdf:
        """The same field with its `inside`; of overlapping patches the last one counts.

        The field's own values stay. Raises ValueError for another side.
        """
        _check_side(sdf.side, 2 * self.config.side)
        inside = torch.zeros((self.config.side,) * 3, dtype=torch.bool, device=sdf.values.device)
        coarse = halved(sdf)
        for _, low, high in _patches(self.config):
            patch = coarse.region(low, high).to(self.body_dtype)[None, None]
            outside = self.conv_out(self.unet3d1(self.conv_in(patch))).sigmoid() >= 0.5
            inside[_slices(low, high)] = ~outside[0, 0]
        return SparseSdf(sdf.cubes, sdf.values, sdf.side, None, inside)


class FeatureMlp(nn.Module):
    """Decoder features (..., C) to (..., 8)."""

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        widths = (channels, MLP_WIDTH, MLP_WIDTH, MLP_WIDTH)
        layers: list[nn.Module] = []
        for wide, out in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(wide, out, dtype=dtype), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(MLP_WIDTH, HIDDEN, dtype=dtype))

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features)


def _filter_layers(dtype: torch.dtype) -> nn.Sequential:
    """From (B, 8, ...) to the weights (B, 27, ...) of a filter at every node."""
    return nn.Sequential(
        nn.Conv3d(HIDDEN, HIDDEN, 3, padding=1, dtype=dtype),
        nn.ReLU(),
        nn.Conv3d(HIDDEN, TAPS, 3, padding=1, bias=False, dtype=dtype),
    )


def smoothed(grid: Tensor, weights: Tensor) -> Tensor:
    """A grid (B, C, X, Y, Z) filtered by weights (B, 27, X, Y, Z) of each node, three times.

    The weights' absolute values add up to 1; beyond the border the grid is zero.
    """
    weights = F.normalize(weights, dim=1, p=1)
    x, y, z = grid.shape[2:]
    for _ in range(SMOOTHINGS):
        padded = F.pad(grid, (1, 1, 1, 1, 1, 1))
        grid = torch.zeros_like(grid)
        for tap, (i, j, k) in enumerate(product(range(3), repeat=3)):
            shifted = padded[:, :, i : i + x, j : j + y, k : k + z]
            grid = torch.addcmul(grid, shifted, weights[:, tap : tap + 1])
    return grid


def _patches(
    config: RefinerConfig,
) -> Iterator[tuple[tuple[int, ...], tuple[int, int, int], tuple[int, int, int]]]:
    """Place, first node and end of every patch, the last axis fastest."""
    for i, j, k in product(range(STEPS), repeat=3):
        low = (i * config.stride, j * config.stride, k * config.stride)
        high = (low[0] + config.patch, low[1] + config.patch, low[2] + config.patch)
        yield (i, j, k), low, high


def _slices(low: Sequence[int], high: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _check_side(side: int, expected: int) -> None:
    if side != expected:
        raise ValueError(f"this refiner is for a field of {expected}^3 values, not {side}^3")
