"""Marching squares: the inside of an alpha picture as triangles with a sub-pixel outline."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.errors import CannotGenerate
from scene.types import Bool, Float64, Uint8
from stages.generate.shared.lattice import at_nodes

# A crossing keeps this share of a cell's edge away from the nodes, so that no triangle vanishes.
MIN_EDGE_FRACTION = 0.05

# Polygons of the 16 marching-squares cases (Lorensen and Cline, 1987, in two dimensions), as
# triangles. Corners 0..3 clockwise from the top left (y down); 4..7 are the crossings on the edges
# 0-1, 1-2, 2-3, 3-0. Every triangle has a corner, and two crossings share an edge only where that
# edge is the outline: front and back sheets then meet in a closed surface.
CASES: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b0001: ((0, 4, 7),),
    0b0010: ((1, 5, 4),),
    0b0100: ((2, 6, 5),),
    0b1000: ((3, 7, 6),),
    0b0011: ((0, 1, 5), (0, 5, 7)),
    0b0110: ((1, 2, 6), (1, 6, 4)),
    0b1100: ((2, 3, 7), (2, 7, 5)),
    0b1001: ((3, 0, 4), (3, 4, 6)),
    0b0101: ((0, 4, 7), (2, 6, 5)),
    0b1010: ((1, 5, 4), (3, 7, 6)),
    0b0111: ((1, 2, 6), (1, 6, 7), (1, 7, 0)),
    0b1110: ((2, 3, 7), (2, 7, 4), (2, 4, 1)),
    0b1101: ((3, 0, 4), (3, 4, 5), (3, 5, 2)),
    0b1011: ((0, 1, 5), (0, 5, 6), (0, 6, 3)),
    0b1111: ((0, 1, 2), (0, 2, 3)),
}


@dataclass(frozen=True, eq=False)
class Outline:
    """points (N, 2): lattice positions (x, y) in cells; triangles (M, 3), facing the viewer;
    interior (K,): the points that are not on the outline; inside (G + 1, G + 1) nodes."""

    points: Float64
    triangles: NDArray[np.int64]
    interior: NDArray[np.int64]
    inside: Bool


def triangulate_outline(alpha: Uint8, grid: int) -> Outline:
    """Triangulate where alpha (N, N) uint8 is at least one half, on a lattice of grid x grid cells.

    Raises CannotGenerate when nothing is inside.
    """
    level = lattice_alpha(alpha, grid) - 0.5
    inside = level >= 0
    if not inside.any():
        raise CannotGenerate("the object is thinner than one cell of the relief's grid")
    ids, points = _number_points(level, inside)
    corners = [inside[:-1, :-1], inside[:-1, 1:], inside[1:, 1:], inside[1:, :-1]]
    case = np.sum([c.astype(int) << i for i, c in enumerate(corners)], axis=0)
    triangles = []
    for number, polygons in CASES.items():
        rows, cols = np.nonzero(case == number)
        for polygon in polygons:
            # Listed clockwise on the screen (y down): reversed, the normal points at the viewer.
            triangles.append(np.stack([ids[k][rows, cols] for k in reversed(polygon)], -1))
    interior = np.arange(int(inside.sum()))
    return Outline(points, np.concatenate(triangles), interior, inside)


def lattice_alpha(alpha: Uint8, grid: int) -> Float64:
    """(G + 1, G + 1) alpha in [0, 1] at the nodes, averaged over a cell; the border is outside."""
    sigma = 0.35 * (alpha.shape[0] / grid)
    smooth = (
        cv2.GaussianBlur(alpha.astype(np.float32) / 255, (0, 0), sigma)
        if sigma > 0.3
        else (alpha.astype(np.float32) / 255)
    )
    out = at_nodes(np.asarray(smooth, np.float32), grid, cv2.INTER_LINEAR).astype(np.float64)
    out[[0, -1]] = 0
    out[:, [0, -1]] = 0
    return out


def _number_points(level: Float64, inside: Bool) -> tuple[list[NDArray[np.int64]], Float64]:
    """Ids of the 8 points of every cell, each (G, G) with -1 where there is none, and positions."""
    node = np.full(inside.shape, -1)
    node[inside] = np.arange(inside.sum())
    y, x = np.nonzero(inside)
    points = [np.stack([x, y], -1).astype(np.float64)]
    across, count = _crossings(level, inside, int(inside.sum()), points, axis=1)
    down, _ = _crossings(level, inside, count, points, axis=0)
    ids = [node[:-1, :-1], node[:-1, 1:], node[1:, 1:], node[1:, :-1],
           across[:-1], down[:, 1:], across[1:], down[:, :-1]]  # fmt: skip
    return ids, np.concatenate(points)


def _crossings(
    level: Float64, inside: Bool, count: int, points: list[Float64], axis: int
) -> tuple[NDArray[np.int64], int]:
    """Number the crossings along one axis from `count` and append their positions."""
    first = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
    second = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
    cut = inside[first] != inside[second]
    ids = np.full(cut.shape, -1)
    ids[cut] = count + np.arange(cut.sum())
    a, b = level[first][cut], level[second][cut]
    share = np.clip(a / (a - b), MIN_EDGE_FRACTION, 1 - MIN_EDGE_FRACTION)
    y, x = np.nonzero(cut)
    moved = (x + share, y) if axis == 1 else (x, y + share)
    points.append(np.stack(moved, -1).astype(np.float64))
    return ids, count + int(cut.sum())
