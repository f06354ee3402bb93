"""From signed distances at the corners of sparse cubes to a mesh: FlexiCubes.

Each loop of crossed edges in a cube makes one vertex, each crossed edge shared by four cubes one
quadrilateral (Shen et al., Flexible Isosurface Extraction, 2023, sections 4.2 and 4.3; sizes and
activations: Cupid, commit 10af9b2, representations/mesh). Corners that no cube mentions are outside
at distance +1, so only the cubes that touch an inner corner are looked at, whatever the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cupid.cube_cases import EDGES, FULL, ambiguous_faces, corner_offsets, loop_of_edge
from cupid.latent_vae import COLOUR_CHANNELS, CubeFeatures

WEIGHT_SCALE = 0.99
OFFSET_SCALE = 1 - 1e-8
OUTSIDE = 1.0  # the signed distance of corners that no cube mentions


@dataclass(frozen=True, eq=False)
class ColouredMesh:
    """vertices (V, 3) float32 in the cube [-0.5, 0.5]^3; faces (F, 3) int64, their outer side where
    the distance is positive; colours (V, 3) float32 in [0, 1], None where the cubes have none."""

    vertices: Tensor
    faces: Tensor
    colours: Tensor | None


@dataclass(frozen=True, eq=False)
class Corners:
    """Corners of the grid that cubes mention: ascending codes (K,), and position (K, 3), distance
    (K,) and colour (K, C) of each; beyond the last code there is one row for all others."""

    codes: Tensor
    distance: Tensor
    offset: Tensor
    colour: Tensor
    side: int

    def rows(self, coords: Tensor) -> Tensor:
        """Rows of corners (..., 3) int64, K where no cube mentions them."""
        codes = _codes(coords, self.side)
        row = torch.searchsorted(self.codes, codes).clamp_(max=len(self.codes) - 1)
        return torch.where(self.codes[row] == codes, row, len(self.codes))

    def positions(self, coords: Tensor, rows: Tensor) -> Tensor:
        """Places (..., 3) of the corners at coords (..., 3) in the cube."""
        cells = self.side - 1
        return coords / cells - 0.5 + OFFSET_SCALE / (2 * cells) * self.offset[rows].tanh()


def extract_mesh(cubes: CubeFeatures) -> ColouredMesh:
    """The surface of decoded cubes; without any where no corner is inside."""
    corners = gather_corners(cubes)
    coords, inside = surface_cubes(cubes, corners)
    patterns = resolved_patterns(coords, inside, cubes.resolution)
    weights = cube_weights(cubes, coords)
    vertices, colours, owner = dual_vertices(coords, patterns, corners, weights)
    faces = quadrilaterals(coords, patterns, corners, owner, weights.split)
    return ColouredMesh(vertices, faces, colours if cubes.colour is not None else None)


def gather_corners(cubes: CubeFeatures) -> Corners:
    """The mean over the cubes around each corner of what they say of it."""
    side = cubes.resolution + 1
    at = cubes.coords.long()[:, None] + corner_offsets().to(cubes.coords.device)
    codes, owner = torch.unique(_codes(at, side).flatten(), return_inverse=True)
    counts = torch.bincount(owner)[:, None]

    def mean(values: Tensor, other: float) -> Tensor:
        values = values.flatten(0, 1).float()
        total = values.new_zeros(len(codes), values.shape[1]).index_add_(0, owner, values)
        return torch.cat((total / counts, total.new_full((1, values.shape[1]), other)))

    distance = mean(cubes.distance - 1 / cubes.resolution, OUTSIDE)[:, 0]
    colour = cubes.colour if cubes.colour is not None else cubes.offset[..., :0]
    return Corners(codes, distance, mean(cubes.offset, 0), mean(colour, 0).sigmoid(), side)


def surface_cubes(cubes: CubeFeatures, corners: Corners) -> tuple[Tensor, Tensor]:
    """Cubes that the surface cuts, x slowest: coords (M, 3) int64, corners inside (M, 8) bool.

    They may lie beside those that are given, where a corner inside is on the outermost of them.
    """
    inner = _coords(corners.codes[corners.distance[:-1] < 0], corners.side)
    offsets = corner_offsets().to(inner.device)
    around = (inner[:, None] - offsets).flatten(0, 1)
    within = ((around >= 0) & (around < cubes.resolution)).all(1)
    codes = torch.unique(_codes(around[within], corners.side))
    coords = _coords(codes, corners.side)
    inside = corners.distance[corners.rows(coords[:, None] + offsets)] < 0
    cut = ~inside.all(1)
    return coords[cut], inside[cut]


def resolved_patterns(coords: Tensor, inside: Tensor, resolution: int) -> Tensor:
    """Which corners are inside, as a number (M,), inverted where two cubes meet at a face that both
    would close in a way that makes an edge of four faces."""
    patterns = (inside.long() << torch.arange(8, device=inside.device)).sum(1)
    steps = ambiguous_faces().to(coords.device)[patterns]
    doubtful = steps.any(1)
    codes = _codes(coords, resolution + 1)
    beside = coords[doubtful] + steps[doubtful]
    within = ((beside >= 0) & (beside < resolution)).all(1)
    wanted = _codes(beside, resolution + 1)
    row = torch.searchsorted(codes, wanted).clamp_(max=max(len(codes) - 1, 0))
    both = within & (codes[row] == wanted) & doubtful[row]
    patterns[doubtful.nonzero()[:, 0][both]] ^= FULL
    return patterns


@dataclass(frozen=True, eq=False)
class CubeWeights:
    """Of cubes: edge (M, 12), how much each edge counts for its vertex; corner (M, 8), which moves
    the crossings; split (M,), which decides the diagonal of a quadrilateral."""

    edge: Tensor
    corner: Tensor
    split: Tensor


def cube_weights(cubes: CubeFeatures, coords: Tensor) -> CubeWeights:
    """The weights of cubes (M, 3): tanh and sigmoid bring them near 1 and into (0, 1)."""
    codes, order = _codes(cubes.coords.long(), cubes.resolution + 1).sort()
    wanted = _codes(coords, cubes.resolution + 1)
    row = torch.searchsorted(codes, wanted).clamp_(max=len(codes) - 1)
    known = (codes[row] == wanted)[:, None]
    raw = torch.where(known, cubes.weights[order[row]].float(), 0.0)
    return CubeWeights(
        raw[:, :12].tanh() * WEIGHT_SCALE + 1,
        raw[:, 12:20].tanh() * WEIGHT_SCALE + 1,
        raw[:, 20].sigmoid() * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2,
    )


def dual_vertices(
    coords: Tensor, patterns: Tensor, corners: Corners, weights: CubeWeights
) -> tuple[Tensor, Tensor, Tensor]:
    """One vertex for every loop: the weighted mean of the crossings of its edges.

    Returns vertices (V, 3), colours (V, 3 or 0) and, for every cube and edge, the vertex that the
    edge belongs to: (M, 12), -1 where it is not crossed.
    """
    loops, counts = (table.to(coords.device) for table in loop_of_edge())
    of_cube = counts[patterns]
    first = of_cube.cumsum(0) - of_cube
    loop = loops[patterns]
    owner = torch.where(loop >= 0, first[:, None] + loop, -1)
    cube, edge = (loop >= 0).nonzero().unbind(1)
    ends = torch.tensor(EDGES, device=coords.device)[edge]
    at = coords[cube][:, None] + corner_offsets().to(coords.device)[ends]
    rows = corners.rows(at)
    pull = corners.distance[rows] * weights.corner[cube[:, None], ends]
    share = (pull[:, 1] / (pull[:, 1] - pull[:, 0]))[:, None]
    vertex, weight = owner[cube, edge], weights.edge[cube, edge][:, None]
    total = weight.new_zeros(int(of_cube.sum()), 1).index_add_(0, vertex, weight)

    def mean(values: Tensor) -> Tensor:
        crossing = share * values[:, 0] + (1 - share) * values[:, 1]
        summed = values.new_zeros(len(total), values.shape[-1])
        return summed.index_add_(0, vertex, crossing * weight) / total

    colours = mean(corners.colour[rows])[:, : COLOUR_CHANNELS // 2]
    return mean(corners.positions(at, rows)), colours, owner


def quadrilaterals(
    coords: Tensor, patterns: Tensor, corners: Corners, owner: Tensor, split: Tensor
) -> Tensor:
    """Two triangles (F, 3) around every crossed edge inside the grid, split along the diagonal
    whose vertices' cubes have the larger product of weights."""
    cube, edge = (owner >= 0).nonzero().unbind(1)
    ends = torch.tensor(EDGES, device=coords.device)[edge]
    at = coords[cube][:, None] + corner_offsets().to(coords.device)[ends]
    low = at.amin(1)
    axis = (at[:, 1] != at[:, 0]).long().argmax(1)
    codes = _codes(low, corners.side) * 3 + axis
    _, group, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)  # the cubes around an edge, x slowest
    order = order[counts[group[order]] == 4].view(-1, 4)
    vertices = owner[cube, edge][order]
    outward = corners.distance[corners.rows(at[order[:, 0], 0])] > 0
    cyclic = vertices.new_tensor([[2, 3, 1, 0], [0, 1, 3, 2]])[outward.long()]
    quads, shares = vertices.gather(1, cyclic), split[cube[order]].gather(1, cyclic)
    first = shares[:, 0] * shares[:, 2] > shares[:, 1] * shares[:, 3]
    corners_of = vertices.new_tensor([[0, 1, 3, 3, 1, 2], [0, 1, 2, 0, 2, 3]])[first.long()]
    return quads.gather(1, corners_of).view(-1, 3)


def _codes(coords: Tensor, side: int) -> Tensor:
    """One int64 per corner or cube, x slowest."""
    x, y, z = coords.unbind(-1)
    return (x * side + y) * side + z


def _coords(codes: Tensor, side: int) -> Tensor:
    """The inverse of `_codes`: (..., 3) int64."""
    return torch.stack((codes // side**2, codes // side % side, codes % side), -1)
