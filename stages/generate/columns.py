"""How do layers along the pixels' rays become one closed mesh?

Every lattice node has a column along its ray: solid from the first surface to the last, less a gap.
The columns, cut into slices, are marched; where the outline's alpha says so, the surface lies
exactly on the outline, and along a ray exactly on its layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float64
from stages.generate.lattice import dilate
from stages.generate.marching import Ints, march

MARGIN = 1.6  # slices before the first and behind the last surface
THINNEST = 1.1  # slices that the thinnest solid stretch has, so that none falls between two
LEAST_SHARE = 0.02  # of a cell's edge that a cut keeps away from its nodes


@dataclass(frozen=True, eq=False)
class Columns:
    """Depths at (G + 1, G + 1) lattice nodes: first and last surface, near and far end of the gap,
    whether there is a gap (above 0) and the outline (above 0 inside), both as smooth levels."""

    front: Float64
    back: Float64
    near: Float64
    far: Float64
    gap_level: Float64
    alpha_level: Float64

    @property
    def inside(self) -> Bool:
        """(G + 1, G + 1) nodes within the outline."""
        return self.alpha_level >= 0


@dataclass(frozen=True, eq=False)
class Slabs:
    """Columns cut into slices: z (Z,) their depths; solid (G + 1, G + 1, Z), x before y."""

    z: Float64
    solid: Bool
    level: Float64


@dataclass(frozen=True, eq=False)
class Surface:
    """points (P, 3): x, y in cells, z depth; triangles (M, 3), counter-clockwise from outside."""

    points: Float64
    triangles: Ints


def surface_of(columns: Columns) -> Surface:
    """The closed surface of all columns; disconnected pieces are joined where they come nearest.

    Raises ValueError when no node is within the outline.
    """
    if not columns.inside.any():
        raise ValueError("the object is thinner than one cell of the lattice")
    spacing = slice_spacing(columns)
    columns = _thick_enough(columns, THINNEST * spacing)
    slabs = _cut(columns, spacing)
    joined = _join_pieces(columns, slabs, THINNEST * spacing)
    if joined is not columns:
        columns, slabs = joined, _cut(joined, spacing)
    return _march(columns, slabs)


def slice_spacing(columns: Columns) -> float:
    """Slices are as far apart as nodes are at the cube's centre."""
    return 1 / (columns.front.shape[0] - 1)


def _thick_enough(columns: Columns, least: float) -> Columns:
    """Order the layers and keep every solid stretch, and every gap, at least that long."""
    front = columns.front
    back = np.maximum(columns.back, front + least)
    near = np.maximum(columns.near, front + least)
    far = np.minimum(columns.far, back - least)
    level = np.where(far - near > 2 * least, columns.gap_level, -1.0)
    middle = (front + back) / 2
    near, far = (np.where(far > near, v, middle) for v in (near, far))
    return replace(columns, back=back, near=near, far=far, gap_level=level)


def _cut(columns: Columns, spacing: float) -> Slabs:
    inside = columns.inside
    start = float(columns.front[inside].min()) - MARGIN * spacing
    stop = float(columns.back[inside].max()) + MARGIN * spacing
    z = start + spacing * np.arange(int(np.ceil((stop - start) / spacing)) + 1)
    front, back, near, far = (
        v.T[..., None] for v in (columns.front, columns.back, columns.near, columns.far)
    )
    gap = columns.gap_level.T[..., None] > 0
    # Above zero outside; a depth from the nearest layer, so that it can be interpolated sideways.
    level = np.maximum(front - z, z - back)
    level = np.where(gap, np.maximum(level, np.minimum(z - near, far - z)), level)
    solid = (level < 0) & inside.T[..., None]
    return Slabs(z, solid, level)


def _march(columns: Columns, slabs: Slabs) -> Surface:
    alpha, z = columns.alpha_level.T, slabs.z
    layers = np.stack([columns.front.T, columns.near.T, columns.far.T, columns.back.T], -1)

    def crossing(first: Ints, second: Ints) -> Float64:
        along = first[:, 2] != second[:, 2]
        share = np.zeros(len(first))
        share[along] = _share_along(first[along])
        share[~along] = _share_across(first[~along], second[~along])
        return np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)

    def _share_along(first: Ints) -> Float64:
        """Exactly on the layer that lies between the two slices."""
        low, high = z[first[:, 2]], z[first[:, 2] + 1]
        enters = ~slabs.solid[first[:, 0], first[:, 1], first[:, 2]]
        near_far = layers[first[:, 0], first[:, 1]]
        candidates = np.where(enters[:, None], near_far[:, [0, 2]], near_far[:, [3, 1]])
        fits = (candidates >= low[:, None]) & (candidates <= high[:, None])
        chosen = np.where(fits[:, 0], candidates[:, 0], candidates[:, 1])
        return (chosen - low) / (high - low)

    def _share_across(first: Ints, second: Ints) -> Float64:
        """On the outline where it is crossed, else where the nearest layer passes."""
        a, b = alpha[first[:, 0], first[:, 1]], alpha[second[:, 0], second[:, 1]]
        outline = (a >= 0) != (b >= 0)
        c, d = (slabs.level[tuple(node.T)] for node in (first, second))
        total = np.where(outline, np.abs(a) + np.abs(b), np.abs(c) + np.abs(d))
        return np.where(outline, np.abs(a), np.abs(c)) / np.maximum(total, 1e-9)

    cut = march(slabs.solid, crossing)
    points = cut.points.copy()
    points[:, 2] = z[0] + points[:, 2] * (z[1] - z[0])
    return Surface(points, cut.triangles)


def _join_pieces(columns: Columns, slabs: Slabs, least: float) -> Columns:
    """Thicken columns behind what is seen, where pieces of one outline hang apart in depth.

    A piece is joined to what it is nearest to across the outline's inside; the front stays as it
    is. Pieces whose outlines do not touch stay apart: the picture shows them so.
    """
    from scipy.ndimage import label

    pieces, count = label(slabs.solid)
    if count < 2:
        return columns
    back, gap_level = columns.back.copy(), columns.gap_level.copy()
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    group = np.arange(count + 1)
    for piece in np.argsort(sizes[1:])[:-1] + 1:
        found = _nearest_pair(columns, slabs, pieces, group, int(piece))
        if found is None:
            continue
        nodes, depth, other = found
        back[nodes] = np.maximum(back[nodes], depth + least)
        gap_level[nodes] = -1
        group[group == group[piece]] = group[other]
    return replace(columns, back=back, gap_level=gap_level)


def _nearest_pair(
    columns: Columns, slabs: Slabs, pieces: NDArray[np.integer], group: Ints, piece: int
) -> tuple[tuple[Ints, Ints], Float64, int] | None:
    """Where a piece comes nearest to a neighbour: the nodes (rows, columns) to thicken, to which
    depth, and the neighbour; None when nothing touches its outline."""
    mine = (pieces == piece).any(-1).T
    around = dilate(mine) & columns.inside
    best: list[tuple[float, int, int, float, int]] = []
    for y, x in zip(*np.nonzero(mine), strict=True):
        for dy, dx in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if not (0 <= v < around.shape[0] and 0 <= u < around.shape[1] and around[v, u]):
                continue
            column = pieces[u, v]
            others = np.unique(column[(column > 0) & (group[column] != group[piece])])
            for other in others:
                best.append(
                    (*_bridge(slabs.z, pieces, (y, x), (v, u), piece, int(other)), int(other))
                )
    if not best:
        return None
    best.sort(key=lambda b: b[0])
    chosen = [b for b in best if b[4] == best[0][4]][:4]
    nodes = (np.array([b[1] for b in chosen]), np.array([b[2] for b in chosen]))
    return nodes, np.array([b[3] for b in chosen]), best[0][4]


def _bridge(
    z: Float64,
    pieces: NDArray[np.integer],
    here: tuple[int, int],
    there: tuple[int, int],
    piece: int,
    other: int,
) -> tuple[float, int, int, float]:
    """How far two pieces are apart at two nodes, the nearer one's node, and the farther's start."""
    first, second = (
        np.nonzero(pieces[node[1], node[0]] == name)[0]
        for node, name in ((here, piece), (there, other))
    )
    if first[-1] < second[0]:
        return float(z[second[0]] - z[first[-1]]), *here, float(z[second[0]])
    return float(z[first[0]] - z[second[-1]]), *there, float(z[first[0]])
