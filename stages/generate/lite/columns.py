"""How do layers along the pixels' rays become one closed mesh?

Every lattice node has a column along its ray: solid from the first surface to the last, less a gap.
The columns, cut into slices, are marched; where the outline's alpha asks for it, the surface lies
exactly on the outline, and along a ray exactly on its layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshes.marching import Ints, march
from scene.errors import CannotGenerate
from scene.morphology import dilated, square
from scene.types import Bool, Float64
from stages.generate.shared.lattice import neighbour_views

MARGIN = 1.6  # slices before the first and behind the last surface
THINNEST = 1.1  # slices that the thinnest solid stretch has, so that none falls between two
MIN_GAP = 2.0  # thinnest gap over the thinnest wall
STEP = 0.08  # cube sides: a larger difference of neighbours is one thing before another
WALL_STEP = 0.12  # ... and that between the walls of one vessel
RIM_REACH = 3.0  # slices that the outline's points may move to lie on their layer
MIN_FRACTION = 0.02  # of a cell's edge that a cut keeps away from its nodes


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

    Raises CannotGenerate when no node is within the outline.
    """
    if not columns.inside.any():
        raise CannotGenerate("the object is thinner than one cell of the lattice")
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


def _thick_enough(columns: Columns, min_thickness: float) -> Columns:
    """Order the layers and keep every solid stretch, and every gap, at least that long.

    Where a layer is steep, the stretch behind it reaches as deep as its neighbours begin: thin
    walls hang together.
    """
    front, inside = columns.front, columns.inside
    back = np.maximum(columns.back, _reached(front, inside) + min_thickness)
    near = np.maximum(columns.near, _reached(front, inside, WALL_STEP) + min_thickness)
    wide = inside & (columns.gap_level > 0)
    far = np.minimum(columns.far, back - min_thickness)
    back = np.where(wide, np.maximum(back, _reached(far, wide) + min_thickness), back)
    level = np.where(far - near > MIN_GAP * min_thickness, columns.gap_level, -1.0)
    middle = (front + back) / 2
    near, far = (np.where(far > near, v, middle) for v in (near, far))
    return replace(columns, back=back, near=near, far=far, gap_level=level)


def _reached(depth: Float64, where: Bool, step: float = STEP) -> Float64:
    """The deepest of a node's own depth and its neighbours', but for neighbours beyond a step."""
    out = depth.copy()
    for here, there in neighbour_views():
        deeper = depth[there] - depth[here]
        joined = where[here] & where[there] & (deeper > 0) & (deeper < step)
        out[here] = np.where(joined, np.maximum(out[here], depth[there]), out[here])
    return out


def _cut(columns: Columns, spacing: float) -> Slabs:
    inside = columns.inside
    start = float(columns.front[inside].min()) - MARGIN * spacing
    stop = float(columns.back[inside].max()) + MARGIN * spacing
    count = int(np.ceil((stop - start) / spacing)) + 1
    z = start + spacing * np.arange(count, dtype=np.float64)
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
        """(P,) where between two neighbouring nodes the surface passes, as a share of the way."""
        along = first[:, 2] != second[:, 2]
        fraction = np.zeros(len(first))
        fraction[along] = _fraction_along(first[along])
        fraction[~along] = _fraction_across(first[~along], second[~along])
        return np.clip(fraction, MIN_FRACTION, 1 - MIN_FRACTION)

    def _fraction_along(first: Ints) -> Float64:
        """Exactly on the layer that lies between the two slices."""
        low, high = z[first[:, 2]], z[first[:, 2] + 1]
        enters = ~slabs.solid[first[:, 0], first[:, 1], first[:, 2]]
        near_far = layers[first[:, 0], first[:, 1]]
        candidates = np.where(enters[:, None], near_far[:, [0, 2]], near_far[:, [3, 1]])
        fits = (candidates >= low[:, None]) & (candidates <= high[:, None])
        chosen = np.where(fits[:, 0], candidates[:, 0], candidates[:, 1])
        return (chosen - low) / (high - low)

    def _fraction_across(first: Ints, second: Ints) -> Float64:
        """On the outline where it is crossed, else where the nearest layer passes; half-way at a
        step, so that what lies before and what lies behind it leave no crack between them."""
        a, b = alpha[first[:, 0], first[:, 1]], alpha[second[:, 0], second[:, 1]]
        outline = (a >= 0) != (b >= 0)
        c, d = (slabs.level[tuple(node.T)] for node in (first, second))
        total = np.where(outline, np.abs(a) + np.abs(b), np.abs(c) + np.abs(d))
        fraction = np.where(outline, np.abs(a), np.abs(c)) / np.maximum(total, 1e-9)
        return np.where(~outline & (np.maximum(c, d) > 1.5 * STEP), 0.5, fraction)

    cut = march(slabs.solid, crossing)
    points = cut.points.copy()
    points[:, 2] = z[0] + points[:, 2] * (z[1] - z[0])
    _settle_rim(points, cut.points, columns, slabs)
    return Surface(points, cut.triangles)


def _settle_rim(points: Float64, in_grid: Float64, columns: Columns, slabs: Slabs) -> None:
    """Move the outline's points along their rays, from the slices onto first and last surface."""
    whole = in_grid == np.floor(in_grid)
    lateral = np.nonzero(whole[:, 2] & ~(whole[:, 0] & whole[:, 1]))[0]
    low, high = (f(in_grid[lateral]).astype(np.int64) for f in (np.floor, np.ceil))
    inside = columns.inside.T
    is_low = inside[low[:, 0], low[:, 1]]
    outline = is_low != inside[high[:, 0], high[:, 1]]
    lateral = lateral[outline]
    node, other = (np.where(is_low[:, None], *pair)[outline] for pair in ((low, high), (high, low)))
    fraction = np.abs(in_grid[lateral, :2] - node[:, :2]).max(1)
    x, y, k = node.T
    starts, ends = ~slabs.solid[x, y, k - 1], ~slabs.solid[x, y, k + 1]
    front, near, far, back = (
        _extended(v.T, inside, node, other, fraction)
        for v in (columns.front, columns.near, columns.far, columns.back)
    )
    z, spacing = slabs.z[k], slabs.z[1] - slabs.z[0]
    # Which layer begins or ends the stretch is decided by the node; its depth then runs on outward.
    start = np.where(columns.front[y, x] > slabs.z[k - 1], front, far)
    end = np.where(columns.back[y, x] < slabs.z[k + 1], back, near)
    start = np.clip(start, z - RIM_REACH * spacing, z + 0.9 * spacing)
    end = np.clip(end, z - 0.9 * spacing, z + RIM_REACH * spacing)
    settled = np.where(starts, start, np.where(ends, end, z))
    points[lateral, 2] = np.where(starts & ends, (start + end) / 2, settled)


def _extended(depth: Float64, inside: Bool, node: Ints, other: Ints, fraction: Float64) -> Float64:
    """(P,) a layer's depth (x before y) at a share of the way from inner nodes to outer ones, in a
    straight line from the nodes before."""
    x, y = node[:, 0], node[:, 1]
    u, v = 2 * x - other[:, 0], 2 * y - other[:, 1]
    slope = depth[x, y] - depth[u, v]
    slope = np.where(inside[u, v] & (np.abs(slope) < STEP), slope, 0)
    return depth[x, y] + fraction * slope


def _join_pieces(columns: Columns, slabs: Slabs, min_thickness: float) -> Columns:
    """Thicken columns behind what is seen, where pieces of one outline hang apart in depth.

    A piece is joined to what it is nearest to across the outline's inside; the front stays as it
    is. Pieces whose outlines do not touch stay apart: the picture shows them so.
    """
    from scipy.ndimage import label

    labelled: Any = label(slabs.solid)
    pieces, count = labelled
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
        back[nodes] = np.maximum(back[nodes], depth + min_thickness)
        gap_level[nodes] = -1
        group[group == group[piece]] = group[other]
    return replace(columns, back=back, gap_level=gap_level)


def _nearest_pair(
    columns: Columns, slabs: Slabs, pieces: NDArray[np.integer], group: Ints, piece: int
) -> tuple[tuple[Ints, Ints], Float64, int] | None:
    """Where a piece comes nearest to a neighbour: the nodes (rows, columns) to thicken, to which
    depth, and the neighbour; None when nothing touches its outline."""
    mine = (pieces == piece).any(-1).T
    around = dilated(mine, 1, square) & columns.inside
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
