"""How does a surface cut a cube? The loops of crossed edges for each of 256 patterns of corners.

The cases of dual marching cubes (Nielson, 2004) as FlexiCubes (Shen et al., 2023) uses them; they
follow from two rules, so that no table of them is kept. On a face with two diagonal corners inside,
the edges around each inner corner belong together. Where two cubes with one such face each, and
more than four corners inside, meet at that face, both take the opposite pattern's loops: else an
edge would have four faces.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# Corner c is at (c & 1, c >> 1 & 1, c >> 2 & 1).
CORNERS = 8
# Ends of each edge. The surface's outer side is found from the first end: edges along y go down, as
# the order in which the cubes around an edge are listed needs it.
EDGES = (
    (0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4),
)  # fmt: skip
MAX_LOOPS = 4
FULL = 255


def corner_offsets() -> Tensor:
    """(8, 3) int64: where the corners are."""
    index = torch.arange(CORNERS)
    return torch.stack([index >> axis & 1 for axis in range(3)], 1)


@cache
def loop_of_edge() -> tuple[Tensor, Tensor]:
    """The loop (256, 12) int64 that each edge belongs to, -1 where it is not crossed, and how many
    loops there are, (256,) int64."""
    table = torch.full((FULL + 1, len(EDGES)), -1)
    for pattern in range(FULL + 1):
        for number, loop in enumerate(_loops(pattern)):
            table[pattern, loop] = number
    return table, table.amax(1) + 1


@cache
def ambiguous_faces() -> Tensor:
    """(256, 3) int64: for patterns that may have to be inverted, the step to the cube at their one
    ambiguous face; zero for all others."""
    steps = torch.zeros(FULL + 1, 3, dtype=torch.int64)
    for pattern in range(FULL + 1):
        faces = [(a, s) for a, s in _faces() if len(_crossed(pattern, _edges_of(a, s))) == 4]
        if len(faces) == 1 and pattern.bit_count() > 4:
            axis, side = faces[0]
            steps[pattern, axis] = 2 * side - 1
    return steps


def _loops(pattern: int) -> list[list[int]]:
    """Crossed edges that hang together through the faces of the cube, lowest edge first."""
    loops = [{edge} for edge in _crossed(pattern, range(len(EDGES)))]
    for axis, side in _faces():
        crossed = _crossed(pattern, _edges_of(axis, side))
        pairs = [set(crossed)] if len(crossed) == 2 else []
        if len(crossed) == 4:
            inside = [c for c in range(CORNERS) if pattern >> c & 1 and (c >> axis & 1) == side]
            pairs = [{e for e in crossed if corner in EDGES[e]} for corner in inside]
        for pair in pairs:
            joined = [loop for loop in loops if loop & pair]
            loops = [loop for loop in loops if not loop & pair] + [set().union(*joined)]
    return sorted(sorted(loop) for loop in loops)


def _faces() -> list[tuple[int, int]]:
    return [(axis, side) for axis in range(3) for side in (0, 1)]


def _edges_of(axis: int, side: int) -> list[int]:
    return [e for e, ends in enumerate(EDGES) if all((c >> axis & 1) == side for c in ends)]


def _crossed(pattern: int, edges: range | list[int]) -> list[int]:
    return [e for e in edges if (pattern >> EDGES[e][0] & 1) != (pattern >> EDGES[e][1] & 1)]
