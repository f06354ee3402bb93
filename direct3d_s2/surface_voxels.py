"""Which latent voxels of a finer grid lie at a surface? What the stage of 1024^3 works on.

A node i of a grid of N stands at i / (N - 1) - 1/2 of the cube, here as in every other step, and
the mesh stays where it is: the released pipeline centres and scales it before this step (commit
a1cf235, utils/mesh.py), after which no voxel projects onto the pixel that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from direct3d_s2.sdf import CHILDREN
from sparse3d.voxels import Voxels

REACH = 4.0  # nodes: a voxel is taken where one of its nodes is nearer to the surface
PAIRS_AT_ONCE = 1 << 13  # of triangle and voxel, each with CHILDREN^3 distances


def voxels_at_surface(vertices: Tensor, faces: Tensor, side: int, reach: float = REACH) -> Voxels:
    """Latent voxels that have a node nearer than `reach` nodes to a mesh.

    vertices (V, 3) float32 in nodes of a grid with `side` nodes along an edge; faces (F, 3). The
    voxels hold CHILDREN^3 nodes each; rows are sorted. Exact: near vertices decide nearly all,
    distances to triangles the rest.
    """
    grid = side // CHILDREN
    taken = torch.zeros(grid, grid, grid, dtype=torch.bool, device=vertices.device)
    _take_at_points(taken, vertices[faces.unique()], reach)
    for triangles in vertices[faces].split(1 << 18):
        for numbers, cubes in _candidates(triangles, taken, reach):
            open_ones = ~taken[cubes.unbind(1)]
            numbers, cubes = numbers[open_ones], cubes[open_ones]
            near = _nearest_node(triangles[numbers], cubes) < reach
            taken[cubes[near].unbind(1)] = True
    found = taken.nonzero().int()
    return Voxels(torch.nn.functional.pad(found, (1, 0)))


def _take_at_points(taken: Tensor, points: Tensor, reach: float) -> None:
    """Voxels with a node near one of some points (P, 3) of the surface."""
    grid = len(taken)
    home = (points / CHILDREN).floor().long()
    for step in torch.cartesian_prod(*(torch.arange(-1, 2, device=points.device),) * 3):
        cubes = home + step
        low = (cubes * CHILDREN).float()
        node = points.round().clamp(low, low + CHILDREN - 1)
        near = ((node - points).norm(dim=1) < reach) & ((cubes >= 0) & (cubes < grid)).all(1)
        taken[cubes[near].unbind(1)] = True


def _candidates(triangles: Tensor, taken: Tensor, reach: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Triangles and voxels (numbers (P,), voxels (P, 3)) whose boxes are within reach, and which
    are not taken yet; some at a time."""
    grid = len(taken)
    first = ((triangles.amin(1) - reach) / CHILDREN).floor().long().clamp(0, grid - 1)
    last = ((triangles.amax(1) + reach) / CHILDREN).floor().long().clamp(0, grid - 1)
    extent = last - first + 1
    counts = extent.prod(1)
    owner = torch.arange(len(triangles), device=taken.device).repeat_interleave(counts)
    place = torch.arange(len(owner), device=taken.device) - (counts.cumsum(0) - counts)[owner]
    _, y, z = extent[owner].unbind(1)
    steps = torch.stack((place // (y * z), place // z % y, place % z), 1)
    cubes = first[owner] + steps
    open_ones = ~taken[cubes.unbind(1)]
    yield from zip(
        owner[open_ones].split(PAIRS_AT_ONCE), cubes[open_ones].split(PAIRS_AT_ONCE), strict=True
    )


def _nearest_node(triangles: Tensor, cubes: Tensor) -> Tensor:
    """The smallest distance (P,) between triangles (P, 3, 3) and the nodes of voxels (P, 3)."""
    side = torch.arange(CHILDREN, device=cubes.device)
    nodes = cubes[:, None] * CHILDREN + torch.cartesian_prod(side, side, side)
    return distances_to_triangles(nodes.float(), triangles[:, None]).amin(1)


def distances_to_triangles(points: Tensor, triangles: Tensor) -> Tensor:
    """Distances of points (..., 3) to triangles (..., 3, 3), which broadcast: (...).

    The smallest of those to the three edges, and of that to the plane where the foot of the
    perpendicular is inside.
    """
    corners = triangles.unbind(-2)
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    squared = (normal * normal).sum(-1)
    height = ((points - corners[0]) * normal).sum(-1)
    within = squared > 0
    nearest = None
    for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
        edge, off = end - start, points - start
        length = (edge * edge).sum(-1)
        along = ((off * edge).sum(-1) / length.clamp(min=1e-20)).clamp(0, 1)
        to_edge = (off - along[..., None] * edge).norm(dim=-1)
        nearest = to_edge if nearest is None else torch.minimum(nearest, to_edge)
        within = within & ((torch.linalg.cross(edge.expand_as(off), off) * normal).sum(-1) >= 0)
    assert nearest is not None
    to_plane = height.abs() / squared.clamp(min=1e-20).sqrt()
    return torch.where(within, to_plane, nearest)
