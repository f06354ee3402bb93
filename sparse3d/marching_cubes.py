"""Marching cubes of a field that is too large to be dense: some planes at a time.

The table of cases is that of `meshes.marching`, so the surface is closed. A vertex is on its edge
where the field, linear between two nodes, has the level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from meshes.marching import CORNERS, EDGES, triangle_table

OUTSIDE = 1.0
PLANES = 8  # cells along x that are marched at once
OWN_POINT = 3  # in place of an axis: the point in the middle of a cell


class Field(Protocol):
    """Values at the nodes of a cube, side nodes along an edge, positive outside, 1 far away."""

    @property
    def side(self) -> int: ...

    def planes(self, start: int, stop: int) -> Tensor:
        """The planes start <= x < stop, (stop - start, side, side)."""
        ...


@dataclass(frozen=True, eq=False)
class Table:
    """The table of cases on a device: (256, 5, 3) edges; (256,) triangles; lower corner (13, 3) and
    axis (13,) of each edge, the last one being the cell's own point; both corners (12, 2)."""

    triangles: Tensor
    counts: Tensor
    corner: Tensor
    axis: Tensor
    ends: Tensor


@cache
def case_table(device: torch.device) -> Table:
    """The table, made once for a device."""
    triangles, counts = triangle_table()
    corner = [CORNERS[a].tolist() for a, _ in EDGES] + [[0, 0, 0]]
    axis = [(4, 2, 1).index(a ^ b) for a, b in EDGES] + [OWN_POINT]
    tables = (triangles, counts, corner, axis, EDGES)
    return Table(*(torch.as_tensor(t, dtype=torch.int64, device=device) for t in tables))


def marching_cubes(field: Field, level: float) -> tuple[Tensor, Tensor]:
    """The surface where a field has a level.

    Returns vertices (V, 3) float32 in nodes, x, y, z, and faces (F, 3) int64, counter-clockwise
    from outside. The outermost nodes count as outside, so that the surface is closed. Memory beside
    the result: a few slabs of `PLANES` + 1 planes.
    """
    keys, points, corners = [], [], []
    for start in range(0, field.side - 1, PLANES):
        stop = min(start + PLANES + 1, field.side)
        values = field.planes(start, stop).float().clone()
        values[:, [0, -1]] = values[:, :, [0, -1]] = OUTSIDE
        for plane in {0, field.side - 1} & set(range(start, stop)):
            values[plane - start] = OUTSIDE
        found = _march_slab(values, start, level)
        if found is not None:
            for part, whole in zip(found, (keys, points, corners), strict=True):
                whole.append(part)
    if not keys:
        return torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)
    # Neighbouring slabs have the vertices of the plane between them in common.
    unique, number = torch.cat(keys).unique(return_inverse=True)
    vertices = torch.zeros(len(unique), 3, device=number.device)
    vertices[number] = torch.cat(points)
    first, faces = 0, []
    for mine, local in zip(keys, corners, strict=True):
        faces.append(number[first : first + len(mine)][local.long()])
        first += len(mine)
    return vertices, torch.cat(faces)


def _march_slab(values: Tensor, start: int, level: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """Names (P,) and places (P, 3) of a slab's vertices, and its triangles (M, 3) int32 of them."""
    inside = values < level
    if not bool(inside.any()) or bool(inside.all()):
        return None
    a, b, c = (n - 1 for n in values.shape)
    case = torch.zeros(a, b, c, dtype=torch.uint8, device=values.device)
    for bit, (i, j, k) in enumerate(CORNERS.tolist()):
        case |= inside[i : a + i, j : b + j, k : c + k].to(torch.uint8) << bit
    cells = ((case > 0) & (case < 255)).nonzero()
    if not len(cells):
        return None
    table = case_table(values.device)
    number = case[cells.unbind(1)].long()
    counts = table.counts[number]
    owner = torch.arange(len(cells), device=cells.device).repeat_interleave(counts)
    place = torch.arange(len(owner), device=cells.device) - (counts.cumsum(0) - counts)[owner]
    local = table.triangles[number[owner], place]
    nodes = cells[owner][:, None] + table.corner[local]
    nodes[..., 0] += start
    side = values.shape[1]
    flat = (nodes[..., 0] * side + nodes[..., 1]) * side + nodes[..., 2]
    keys, triangles = (flat * 4 + table.axis[local]).unique(return_inverse=True)
    return keys, _places(keys, values, start, level), triangles.int()


def _places(keys: Tensor, values: Tensor, start: int, level: float) -> Tensor:
    """Where named vertices lie: on their edges, or in the middle of their cell's crossings."""
    axis, flat, side = keys % 4, keys // 4, values.shape[1]
    nodes = torch.stack((flat // side**2 - start, flat // side % side, flat % side), 1)
    points = nodes.float()
    for a in range(3):
        mine = axis == a
        points[mine, a] += _crossing(values, nodes[mine], a, level)
    own = (axis == OWN_POINT).nonzero().squeeze(1)
    if len(own):
        points[own] = _middle_of_crossings(nodes[own], values, level)
    points[:, 0] += start
    return points


def _crossing(values: Tensor, nodes: Tensor, axis: int, level: float) -> Tensor:
    """Where the field has its level between nodes (E, 3) and the next ones along an axis: (E,)."""
    after = nodes.clone()
    after[:, axis] += 1
    first, second = values[nodes.unbind(1)], values[after.unbind(1)]
    return (level - first) / (second - first)


def _middle_of_crossings(cells: Tensor, values: Tensor, level: float) -> Tensor:
    total = torch.zeros(len(cells), 3, device=cells.device)
    count = torch.zeros(len(cells), 1, device=cells.device)
    table = case_table(cells.device)
    for edge, (start, end) in enumerate(EDGES):
        corners = torch.as_tensor(CORNERS, device=cells.device)
        first, second = cells + corners[start], cells + corners[end]
        low, high = values[first.unbind(1)], values[second.unbind(1)]
        cut = (low < level) != (high < level)
        axis = int(table.axis[edge])
        point = first[cut].float()
        point[:, axis] += (level - low[cut]) / (high[cut] - low[cut])
        total[cut] += point
        count[cut] += 1
    return total / count
