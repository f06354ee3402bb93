"""What do the decoders and finishing work on: an object of known surface, as large as a real one.

Random weights decode no surface. So the voxels of every level, and the crossed edges of the finest,
are given: those of nested spheres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pixal3d.latent_vae import LatentDecoder, ShapeDecoder, TextureDecoder
from sparse3d.surface import VoxelAttributes
from sparse3d.voxels import Voxels, full_grid, subdivide

# Radius of the outer sphere in sides of the grid, and of each next one in that of the one before.
OUTER, INNER = 0.46, 0.7
VOXELS_PER_AREA = 6 * math.pi  # that a sphere of radius 1 goes through, for radii of many voxels
LEVELS = 4  # subdivisions of the official decoders


@dataclass(frozen=True, eq=False)
class GivenObject:
    """levels: voxels from the latents' to the finest, each with its origin in the one before;
    radii: of the spheres, in sides of the grid; grid: side of the coarsest."""

    levels: tuple[Voxels, ...]
    radii: tuple[float, ...]
    grid: int

    @property
    def side(self) -> int:
        """Of the finest grid."""
        return self.grid << (len(self.levels) - 1)

    @property
    def subdivisions(self) -> list[Tensor]:
        """Logits (N, 8) that lead from each level to the next."""
        return [_logits(fine) for fine in self.levels[1:]]


def nested_spheres(
    tokens: int, grid: int, device: torch.device, subdivisions: int = LEVELS
) -> GivenObject:
    """Spheres that go through about so many voxels of a grid."""
    radii, left, outer = [], float(tokens), OUTER * grid
    while left > VOXELS_PER_AREA * outer**2:
        radii.append(outer / grid)
        left, outer = left - VOXELS_PER_AREA * outer**2, INNER * outer
    radii.append(math.sqrt(left / VOXELS_PER_AREA) / grid)
    every = full_grid(1, grid, device)
    levels = [Voxels(every.coords[_crossed(every.coords, grid, radii)])]
    for level in range(1, subdivisions + 1):
        parents = levels[-1]
        mask = torch.ones(len(parents), 8, dtype=torch.bool, device=device)
        children = subdivide(parents, mask)
        crossed = _crossed(children.coords, grid << level, radii)
        levels.append(subdivide(parents, crossed.view(-1, 8)))
    return GivenObject(tuple(levels), tuple(radii), grid)


def upsample(decoder: ShapeDecoder, latent: Tensor, given: GivenObject) -> None:
    """What `ShapeDecoder.upsample` computes, to given voxels."""
    given_logits = given.subdivisions

    def logits_of(level: int, features: Tensor) -> Tensor:
        decoder.ups[level].subdivision(features)
        return given_logits[level]

    decoder.subdivided(latent, given.levels[0], LEVELS, logits_of)


def decode(decoder: LatentDecoder, latent: Tensor, given: GivenObject) -> Tensor:
    """Features of the finest voxels."""
    logits = given.subdivisions
    if isinstance(decoder, TextureDecoder):
        return decoder(latent, given.levels[0], logits)
    return decoder.decode(latent, given.levels[0], lambda level, _: logits[level])[0]


def surface(given: GivenObject) -> tuple[Tensor, Tensor, Tensor, int]:
    """The spheres as a dual grid: coords (M, 3), dual vertices (M, 3) and crossed edges (M, 3) as
    `dual_grid_to_mesh` takes them, and the grid's side."""
    coords = given.levels[-1].coords[:, 1:]
    side = given.side
    far = coords + 1
    crossed = torch.stack(
        [
            _inside(far, side, given.radii) != _inside(far - step, side, given.radii)
            for step in torch.eye(3, dtype=coords.dtype, device=coords.device)
        ],
        dim=1,
    )
    centre = coords + 0.5 - side / 2
    length = centre.norm(dim=1, keepdim=True)
    radii = torch.tensor(given.radii, device=coords.device) * side
    nearest = radii[(length - radii).abs().argmin(dim=1)][:, None]
    vertices = (centre * (nearest / length.clamp(min=1e-6)) + side / 2 - coords).clamp(0, 1)
    return coords, vertices, crossed, side


def attributes(given: GivenObject, colours: Tensor) -> VoxelAttributes:
    """Decoded colours (M, 6) of the finest voxels."""
    coords = given.levels[-1].coords[:, 1:]
    return VoxelAttributes(coords, colours * 0.5 + 0.5, given.side)


def _crossed(coords: Tensor, side: int, radii: list[float]) -> Tensor:
    """Which voxels (N, 4) a sphere goes through: some corners inside of it, some outside."""
    low = coords[:, 1:].float() - side / 2
    nearest = torch.maximum(low, -(low + 1)).clamp(min=0).norm(dim=1)
    furthest = torch.maximum(low.abs(), (low + 1).abs()).norm(dim=1)
    through = [(nearest <= r * side) & (furthest > r * side) for r in radii]
    return torch.stack(through).any(dim=0)


def _inside(corners: Tensor, side: int, radii: tuple[float, ...]) -> Tensor:
    """Whether grid corners (N, 3) are inside an odd number of spheres."""
    length = (corners.float() - side / 2).norm(dim=1)
    return torch.stack([length <= r * side for r in radii]).sum(dim=0) % 2 == 1


def _logits(children: Voxels) -> Tensor:
    """Logits (N, 8) of the parents: positive where there is a child."""
    assert children.origin is not None
    parents, slots = children.origin.parents, children.origin.slots
    logits = torch.full((8 * len(parents),), -1.0, device=slots.device)
    logits[slots] = 1.0
    return logits.view(-1, 8)
