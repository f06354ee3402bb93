"""Where in the texture are faces that no panel of it can hold?

A panel is aligned with the crop's pixels: faces along its rays have no area there, and of two faces
on one ray both would claim its texels. Such faces are laid flat, each connected part of them that
faces one way along that axis, and packed beside the panels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene.raycast import cast, texture_colours
from scene.seams import parts_of
from scene.types import Bool, Float32, Float64, ObjectMesh, Uint8
from stages.generate.lite.columns import Surface

Ints = NDArray[np.int64]

EDGE_ON = (0.2, 0.5, 0.5)  # cosine of ray and normal below which a panel has too few texels
SAME = 2.0  # cells along a ray: hits nearer to each other are on one surface, at an edge of it
MIN_COSINE = 0.5  # of a face's normal and the axis that it is laid flat along
SMOOTHING = 2  # rounds: faces that flicker between two axes would be charts of their own
ROUNDING = 1e-4  # sums of another order differ by less: what is equal but for that is equal
GAP_PX = 2  # between charts, so that bilinear filtering never mixes two of them
SCALE_STEPS = 10  # of a bisection, after which the scale is known to a thousandth
# Barycentric places on a face from which a texel beside it has its colour.
ON_FACE = (
    np.array([[6, 0, 0], [0, 6, 0], [0, 0, 6], [3, 3, 0], [0, 3, 3], [3, 0, 3], [2, 2, 2]]) / 6
)
OTHER_AXES = np.array([[1, 2], [0, 2], [0, 1]])


@dataclass(frozen=True, eq=False)
class Sides:
    """Charts beside the panels: of each face (M,) its chart, -1 for those that stay in their panel;
    at_px (M, 3, 2): where its corners lie, from the area's own top-left corner."""

    chart: Ints
    at_px: Float64


def sides_of(
    surface: Surface, panel: Ints, nearest_wins: tuple[bool, ...], grid: int, size_px: int
) -> Sides:
    """The charts of a surface, its faces in panels (M,), in an area half as wide as the crop, which
    is size_px wide, and as high.

    nearest_wins: for each panel, whether of two faces on one ray the nearer one keeps its place,
    else the farther. Where not all charts fit, those of fewest faces stay in their panels.
    """
    corners = surface.points[surface.triangles] * [1, 1, grid]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = np.abs(normal[:, 2]) < np.array(EDGE_ON)[panel] * np.linalg.norm(normal, axis=1)
    moved = flat.copy()
    for number, nearest in enumerate(nearest_wins):
        own = np.flatnonzero((panel == number) & ~flat)
        moved[own[_hidden(corners[own], nearest, grid)]] = True
    chart, at_px = np.full(len(panel), -1), np.zeros((len(panel), 3, 2))
    if moved.any():
        own = np.flatnonzero(moved)
        direction = _directions(surface.triangles[own], normal[own])
        area_px = (size_px // 2, size_px)
        chart[own], at_px[own] = _laid_out(
            surface.triangles[own], direction, corners[own], area_px, size_px / grid
        )
    return Sides(chart, at_px)


def paint_sides(texture: Uint8, at_px: Float64, uv: Float32) -> None:
    """Colour the right quarter of a texture (N, 2 N, 3) in place, where faces have their corners
    at_px (K, 3, 2), with what the texture has at uv (K, 3, 2)."""
    from scipy.spatial import KDTree

    size = len(texture)
    faces = np.arange(3 * len(at_px), dtype=np.int32).reshape(-1, 3)
    flat = np.dstack([at_px, np.ones(at_px.shape[:2])]).reshape(-1, 3)
    x, y = np.meshgrid(np.arange(size // 2) + 0.5, np.arange(size) + 0.5)
    rays: Float64 = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1).astype(np.float64)
    hits = cast([(flat, faces)], np.zeros(3), rays)
    face, barycentric = hits.face.copy(), hits.barycentric.copy()
    # A texel between faces has the nearest one's colour: those of narrow charts cover no centre.
    points = np.einsum("sk,fkc->fsc", ON_FACE, at_px).reshape(-1, 2)
    tree = KDTree(points, balanced_tree=False, compact_nodes=False)
    nearest = tree.query(rays[~hits.hit, :2])[1]
    face[~hits.hit], barycentric[~hits.hit] = (
        nearest // len(ON_FACE),
        ON_FACE[nearest % len(ON_FACE)],
    )
    coloured = ObjectMesh(flat.astype(np.float32), faces, uv.reshape(-1, 2), texture)
    colours = np.rint(texture_colours(coloured, face, barycentric)).clip(0, 255)
    texture[:, -(size // 2) :] = colours.reshape(size, -1, 3).astype(np.uint8)


def _hidden(corners: Float64, nearest_wins: bool, grid: int) -> Bool:
    """(M,) which faces (M, 3, 3) have another before them, or behind them, on a ray of the crop."""
    hidden = np.zeros(len(corners), bool)
    if not len(corners):
        return hidden
    # No ray meets an edge of the lattice, or a diagonal: which face it hit would be chance there.
    x, y = np.meshgrid(np.arange(0.27, grid, 0.5), np.arange(0.31, grid, 0.5))
    rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    faces = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    found = []
    low, high = corners[..., 2].min(), corners[..., 2].max()
    for far in (False, True):
        # Seen from the origin, what is at (x, y) times a height lies on the ray (x, y, 1).
        height = 2 * grid + (high - corners[..., 2:] if far else corners[..., 2:] - low)
        flat = np.concatenate([corners[..., :2], np.ones_like(height)], 2) * height
        found.append(cast([(flat.reshape(-1, 3), faces)], np.zeros(3), rays))
    near, far = found
    apart = near.hit & far.hit & (near.face != far.face)
    depths = near.distance[apart] + far.distance[apart] - 4 * grid - (high - low)
    loser = (far if nearest_wins else near).face[apart]
    hidden[loser[np.abs(depths) > SAME]] = True
    return hidden


def _directions(triangles: Ints, normal: Float64) -> Ints:
    """(M,) the axis that each face looks along, 0 to 2, or 3 to 5 for the other way: by a smooth
    normal, but for faces that would be seen edge-on then."""
    _, compact = np.unique(triangles, return_inverse=True)
    compact, smooth = compact.reshape(-1, 3), normal
    for _ in range(SMOOTHING):
        at_points = np.stack(
            [np.bincount(compact.ravel(), np.repeat(smooth[:, k], 3)) for k in range(3)], 1
        )
        smooth = at_points[compact].sum(1)
    every, axis, own = np.arange(len(normal)), _longest(smooth), _longest(normal)
    along = normal[every, axis] * np.sign(smooth[every, axis])
    kept = along > MIN_COSINE * np.linalg.norm(normal, axis=1)
    axis, chosen = np.where(kept, axis, own), np.where(kept[:, None], smooth, normal)
    return axis + 3 * (chosen[every, axis] < 0)


def _longest(vectors: Float64) -> Ints:
    """(M,) the axis along which each vector is longest, the last of those that are equally long."""
    return (np.abs(vectors) * (1 + ROUNDING * np.arange(3))).argmax(1)


def _laid_out(
    triangles: Ints, direction: Ints, corners: Float64, area_px: tuple[int, int], cell_px: float
) -> tuple[Ints, Float64]:
    """Charts (M,) of faces and where their corners are, in pixels (M, 3, 2)."""
    _, compact = np.unique(triangles * 6 + direction[:, None], return_inverse=True)
    chart = parts_of(compact.reshape(-1, 3))
    flat = np.take_along_axis(corners, OTHER_AXES[direction % 3][:, None], 2)
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, flat.min(1))
    np.maximum.at(high, chart, flat.max(1))
    flat, sizes = flat - low[chart, None], high - low
    wide = sizes[:, 0] > sizes[:, 1] * (1 + ROUNDING)  # the longer side of a chart is upright
    flat = np.where(wide[chart, None, None], flat[..., ::-1], flat)
    sizes = np.where(wide[:, None], sizes[:, ::-1], sizes)
    number = np.argsort(-np.bincount(chart), kind="stable")
    scale, corner_px = _packed(sizes[number], area_px, cell_px)
    while not scale:
        number = number[: len(number) // 2]
        scale, corner_px = _packed(sizes[number], area_px, cell_px)
    place = np.full(count, -1)
    place[number] = np.arange(len(number))
    return place[chart], flat * scale + corner_px[place[chart], None]


def _packed(sizes: Float64, area_px: tuple[int, int], max_scale: float) -> tuple[float, Float64]:
    """The largest scale at which upright rectangles of sizes (C, 2) fit an area, width and height,
    and the corner of each (C, 2), pixels; 0 where the gaps between them alone leave no room."""
    order = np.argsort(-np.round(sizes[:, 1] / ROUNDING), kind="stable")
    low, high, corners = 0.0, 2 * max_scale, np.zeros_like(sizes)
    for _ in range(SCALE_STEPS):
        scale = (low + high) / 2
        found = _in_rows(np.ceil(sizes[order] * scale - ROUNDING).astype(int) + GAP_PX, area_px)
        if found is None:
            high = scale
        else:
            low, corners[order] = scale, found + GAP_PX / 2
        if low == max_scale:
            break
    return low, corners


def _in_rows(boxes: Ints, area_px: tuple[int, int]) -> Float64 | None:
    """Corners (C, 2) of boxes (C, 2), the highest first, row below row; None if they do not fit."""
    corners = np.zeros(boxes.shape)
    x = y = row = 0
    for i, (width, height) in enumerate(boxes):
        if x + width > area_px[0]:
            x, y, row = 0, y + row, 0
        row = max(row, int(height))
        if width > area_px[0] or y + row > area_px[1]:
            return None
        corners[i] = x, y
        x += int(width)
    return corners
