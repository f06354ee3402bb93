"""Marching cubes: which triangles separate the inside nodes of a grid from the outside ones?

The table of cases is derived, not written down: on every face of a cube, inside corners that are
diagonal neighbours are kept apart, whichever cube looks at the face. Surfaces of neighbouring cubes
then meet without holes (Lorensen and Cline 1987, with the ambiguity of faces settled).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Crossing = Callable[[Ints, Ints], Float64]

# Corner i of a cube lies at (i >> 2 & 1, i >> 1 & 1, i & 1) along the grid's three axes.
CORNERS = np.array([(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)])
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)]
CENTRE = len(EDGES)  # the name of the extra point of polygons that have no good diagonal
# The corners of the six faces, counter-clockwise seen from outside.
FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


@dataclass(frozen=True, eq=False)
class Cut:
    """Triangles (M, 3) over points; points (P, 3) in grid coordinates, counter-clockwise from the
    outside for axes that are right-handed."""

    points: Float64
    triangles: Ints


def march(inside: Bool, crossing: Crossing) -> Cut:
    """Separate the inside nodes of a grid (A, B, C) from the others; its border must be outside.

    crossing(first, second) gives, for edges from nodes (E, 3) to nodes (E, 3) of which one is
    inside, where the surface cuts them: (E,) in (0, 1) from first to second.
    """
    a, b, c = (n - 1 for n in inside.shape)
    case = np.zeros((a, b, c), np.int64)
    for bit, (i, j, k) in enumerate(CORNERS):
        case |= inside[i : a + i, j : b + j, k : c + k].astype(np.int64) << bit
    cells = np.stack(np.nonzero((case > 0) & (case < 255)), -1)
    table, lengths = triangle_table()
    number = case[tuple(cells.T)]
    owner = np.repeat(np.arange(len(cells)), lengths[number])
    local = np.concatenate([table[n, : lengths[n]] for n in number]) if len(cells) else table[0, :0]
    keys = _point_keys(cells[owner], local, inside.shape)
    unique, triangles = np.unique(keys, return_inverse=True)
    return Cut(_positions(unique, inside, crossing), triangles.reshape(-1, 3).astype(np.int64))


def _point_keys(cells: Ints, local: Ints, shape: tuple[int, ...]) -> Ints:
    """(M, 3): a name for every corner of every triangle: its lower node, and 0..2 for the axis of
    its edge or 3 for the cell's own point."""
    first = np.array([CORNERS[a] for a, _ in EDGES] + [CORNERS[0]])
    axis = np.array([(4, 2, 1).index(a ^ b) for a, b in EDGES] + [3])
    node = cells[:, None, :] + first[local]
    flat = (node[..., 0] * shape[1] + node[..., 1]) * shape[2] + node[..., 2]
    return flat * 4 + axis[local]


def _positions(keys: Ints, inside: Bool, crossing: Crossing) -> Float64:
    """(P, 3) of named points: on their edge, or in the middle of the crossings of their cell."""
    axis, flat = keys % 4, keys // 4
    node = np.stack(np.unravel_index(flat, inside.shape), -1)
    points = node.astype(np.float64)
    for a in range(3):
        mine = axis == a
        second = node[mine].copy()
        second[:, a] += 1
        points[mine, a] += crossing(node[mine], second)
    mine = np.nonzero(axis == 3)[0]
    if len(mine):
        total, count = np.zeros((len(mine), 3)), np.zeros(len(mine))
        for start, end in EDGES:
            first, second = node[mine] + CORNERS[start], node[mine] + CORNERS[end]
            cut = inside[tuple(first.T)] != inside[tuple(second.T)]
            share = crossing(first[cut], second[cut])[:, None]
            total[cut] += first[cut] + share * (second[cut] - first[cut])
            count[cut] += 1
        points[mine] = total / count[:, None]
    return points


@cache
def triangle_table() -> tuple[Ints, Ints]:
    """(256, T, 3) edges (0..11, 12 for the cell's own point) of every case's triangles, and how
    many there are (256,). Bit i of a case is set where corner i is inside."""
    triangles = [_triangles_of(case) for case in range(256)]
    lengths = np.array([len(t) for t in triangles])
    table = np.full((256, int(lengths.max()), 3), -1, np.int64)
    for case, found in enumerate(triangles):
        if found:
            table[case, : len(found)] = found
    return table, lengths


def _triangles_of(case: int) -> list[tuple[int, int, int]]:
    triangles = []
    for loop in _loops_of(case):
        triangles += _fan(loop)
    return triangles


def _loops_of(case: int) -> list[list[int]]:
    """The closed polygons of a case, as edges in order."""
    edge_of = {frozenset(edge): i for i, edge in enumerate(EDGES)}
    following: dict[int, int] = {}
    for face in FACES:
        inside = [bool(case >> corner & 1) for corner in face]
        for i in range(4):
            if inside[i] or not inside[(i + 1) % 4]:
                continue
            # The walk around the face goes in here; it comes out after a run of inside corners.
            run = 1
            while inside[(i + run + 1) % 4]:
                run += 1
            entry = edge_of[frozenset((face[i], face[(i + 1) % 4]))]
            leave = edge_of[frozenset((face[(i + run) % 4], face[(i + run + 1) % 4]))]
            following[entry] = leave
    loops = []
    while following:
        start = next(iter(following))
        loop, here = [start], following.pop(start)
        while here != start:
            loop.append(here)
            here = following.pop(here)
        loops.append(loop)
    return loops


def _fan(loop: list[int]) -> list[tuple[int, int, int]]:
    """Triangles of a polygon; none of its diagonals lies in a face, where a neighbour's may lie."""
    size = len(loop)
    for apex in range(size):
        turned = loop[apex:] + loop[:apex]
        if not any(_have_common_face(turned[0], other) for other in turned[2:-1]):
            return [(turned[0], turned[i], turned[i + 1]) for i in range(1, size - 1)]
    return [(CENTRE, loop[i], loop[(i + 1) % size]) for i in range(size)]


def _have_common_face(first: int, second: int) -> bool:
    corners = {*EDGES[first], *EDGES[second]}
    return any(corners <= set(face) for face in FACES)
