"""How is a surface laid flat? Charts for a texture: by xatlas, or grown by normals when large.

xatlas cuts the fewer charts, but takes minutes from some hundred thousand faces on. A grown chart
is what lies side by side and faces about one way; it is projected along that direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64
from stages.finish.asset.packing import packed

MAX_XATLAS_FACES = 50_000
PADDING_PX = 4  # between charts, so that bilinear filtering never mixes two of them
MIN_GROWING_COSINE = 0.75  # of a face's normal with the mean of the chart that takes it
MIN_KEPT_COSINE = 0.3  # with the mean of the whole chart: none is seen edge-on
SMALL_CHART = 24  # faces; smaller ones join a neighbour that faces about the same way
OVERLAP_ROUNDS = 4
Faces = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """A mesh cut along its seams: source (N,) the vertex that each one is a copy of, faces (M, 3)
    int32, uv (N, 2) float32 in [0, 1], v from the texture's top row."""

    source: NDArray[np.int64]
    faces: Faces
    uv: Float32


def unwrapped(vertices: Float32, faces: Faces, texture_px: int) -> Unwrapped:
    """The mesh, vertices (V, 3) and faces (M, 3), cut into charts that fill a square texture."""
    if len(faces) <= MAX_XATLAS_FACES:
        return _by_xatlas(vertices, faces, texture_px)
    return by_normals(vertices, faces, texture_px)


def _by_xatlas(vertices: Float32, faces: Faces, texture_px: int) -> Unwrapped:
    import xatlas

    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 0  # more make rounder charts, not fewer seams, and take most time
    packing.resolution, packing.padding = texture_px, PADDING_PX
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    atlas.generate(charts, packing)
    source, cut, uv = atlas[0]
    return Unwrapped(source.astype(np.int64), cut.astype(np.int32), uv.astype(np.float32))


def by_normals(vertices: Float32, faces: Faces, texture_px: int) -> Unwrapped:
    """Charts grown by normals, projected and packed; parts of one that overlap are cut off it."""
    normals, areas = _face_normals(vertices, faces)
    neighbours = face_neighbours(faces)
    chart = np.full(len(faces), -1, np.int32)
    _grow(neighbours, normals, areas, chart, MIN_GROWING_COSINE, MIN_KEPT_COSINE)
    _join_small(neighbours, normals, chart, SMALL_CHART, MIN_KEPT_COSINE)
    weighted = normals * areas[:, None]
    cut = _laid_flat(vertices, faces, weighted, chart, texture_px)
    for _ in range(OVERLAP_ROUNDS):
        covered_twice = overlapping(cut.uv, cut.faces, texture_px)
        if not covered_twice.any():
            break
        chart = np.unique(np.where(covered_twice, -1, chart), return_inverse=True)[1] - 1
        chart = np.where(covered_twice, -1, chart).astype(np.int32)
        _grow(neighbours, normals, areas, chart, MIN_GROWING_COSINE, MIN_KEPT_COSINE)
        cut = _laid_flat(vertices, faces, weighted, chart, texture_px)
    return cut


def face_neighbours(faces: Faces) -> NDArray[np.int32]:
    """(M, 3) the face across the edge from each corner to the next, -1 where there is none."""
    start, end = faces.reshape(-1).astype(np.int64), np.roll(faces, -1, axis=1).reshape(-1)
    count = int(faces.max()) + 1
    keys = np.minimum(start, end) * count + np.maximum(start, end)
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    first, second = order[:-1][same], order[1:][same]
    across = np.full(len(keys), -1, np.int32)
    across[first], across[second] = second // 3, first // 3
    return across.reshape(-1, 3)


def overlapping(uv: Float32, faces: Faces, texture_px: int) -> Bool:
    """(M,) which faces cover a texel's centre that an earlier one covers."""
    again = np.zeros(len(faces), bool)
    owned = np.zeros((texture_px, texture_px), np.uint8)
    _cover(uv * np.float32(texture_px), faces, owned, again)
    return again


def _face_normals(vertices: Float32, faces: Faces) -> tuple[Float64, Float64]:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    return normal / np.maximum(length, 1e-30)[:, None], length / 2


def _laid_flat(
    vertices: Float32, faces: Faces, weighted: Float64, chart: NDArray[np.int32], texture_px: int
) -> Unwrapped:
    """Every chart projected along its mean normal, its longer side upright, and packed."""
    count = int(chart.max()) + 1
    axis = np.stack([np.bincount(chart, weighted[:, k], count) for k in range(3)], 1)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-30)
    aside = np.eye(3)[np.abs(axis).argmin(1)]
    across = np.cross(aside, axis)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
    upward = np.cross(axis, across)
    keys = faces.astype(np.int64) * count + chart[:, None]
    unique, cut = np.unique(keys, return_inverse=True)
    source, owner = unique // count, unique % count
    at = vertices[source].astype(np.float64)
    flat = np.stack([(at * across[owner]).sum(1), -(at * upward[owner]).sum(1)], 1)
    flat = _upright(flat, owner, count)
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, flat)
    np.maximum.at(high, owner, flat)
    scale, corner_px = packed(high - low, texture_px, PADDING_PX)
    px = (flat - low[owner]) * scale + corner_px[owner]
    return Unwrapped(source, cut.reshape(-1, 3).astype(np.int32), (px / texture_px).astype("f4"))


def _upright(flat: Float64, owner: NDArray[np.int64], count: int) -> Float64:
    """Points (N, 2) turned so that the longest axis of each chart is upright."""

    def mean(values: Float64) -> Float64:
        return np.bincount(owner, values, count) / np.maximum(np.bincount(owner, None, count), 1)

    centred = flat - np.stack([mean(flat[:, 0]), mean(flat[:, 1])], 1)[owner]
    xx, yy = mean(centred[:, 0] ** 2), mean(centred[:, 1] ** 2)
    angle = np.arctan2(2 * mean(centred[:, 0] * centred[:, 1]), xx - yy) / 2 - np.pi / 2
    cosine, sine = np.cos(angle)[owner], np.sin(angle)[owner]
    x, y = centred.T
    return np.stack([x * cosine + y * sine, y * cosine - x * sine], 1)


@njit(cache=True, nogil=True)
def _grow(neighbours, normals, areas, chart, min_growing, min_kept):  # pragma: no cover
    """Number the faces of chart -1, breadth first from one face after the other. In place."""
    count = 0
    for f in range(len(chart)):
        count = max(count, chart[f] + 1)
    queue = np.zeros(len(chart), np.int32)
    for seed in range(len(chart)):
        if chart[seed] >= 0:
            continue
        chart[seed], queue[0], head, tail = count, seed, 0, 1
        x, y, z = areas[seed] * normals[seed, 0], areas[seed] * normals[seed, 1], 0.0
        z = areas[seed] * normals[seed, 2]
        while head < tail:
            face = queue[head]
            head += 1
            for k in range(3):
                other = neighbours[face, k]
                if other < 0 or chart[other] >= 0:
                    continue
                dot = normals[other, 0] * x + normals[other, 1] * y + normals[other, 2] * z
                length = np.sqrt(x * x + y * y + z * z)
                if dot < min_growing * length and areas[other] > 0:
                    continue
                chart[other], queue[tail] = count, other
                tail += 1
                x += areas[other] * normals[other, 0]
                y += areas[other] * normals[other, 1]
                z += areas[other] * normals[other, 2]
        length = np.sqrt(x * x + y * y + z * z)
        for i in range(1, tail):  # what the mean has left behind begins a chart of its own
            face = queue[i]
            dot = normals[face, 0] * x + normals[face, 1] * y + normals[face, 2] * z
            if dot < min_kept * length and areas[face] > 0:
                chart[face] = -1
                if face < seed:
                    count += 1
                    chart[face] = count
        count += 1


@njit(cache=True, nogil=True)
def _join_small(neighbours, normals, chart, small, min_kept):  # pragma: no cover
    """Faces of small charts go to a larger chart beside them that faces their way. In place."""
    count = chart.max() + 1
    sizes, axes = np.zeros(count, np.int64), np.zeros((count, 3))
    for f in range(len(chart)):
        sizes[chart[f]] += 1
        for k in range(3):
            axes[chart[f], k] += normals[f, k]
    for c in range(count):
        length = np.sqrt((axes[c] ** 2).sum())
        axes[c] /= max(length, 1e-30)
    for _ in range(small):
        moved = 0
        for f in range(len(chart)):
            if sizes[chart[f]] >= small:
                continue
            best, into = min_kept + 0.2, -1
            for k in range(3):
                other = neighbours[f, k]
                if other < 0 or chart[other] == chart[f] or sizes[chart[other]] < small:
                    continue
                dot = (normals[f] * axes[chart[other]]).sum()
                if dot > best:
                    best, into = dot, chart[other]
            if into >= 0:
                sizes[chart[f]] -= 1
                sizes[into] += 1
                chart[f] = into
                moved += 1
        if moved == 0:
            break
    fresh, number = np.full(count, -1, np.int32), 0
    for f in range(len(chart)):
        if fresh[chart[f]] < 0:
            fresh[chart[f]] = number
            number += 1
        chart[f] = fresh[chart[f]]


@njit(cache=True, nogil=True)
def _cover(px, faces, owned, again):  # pragma: no cover
    size = owned.shape[0]
    for f in range(len(faces)):
        ax, ay = px[faces[f, 0], 0], px[faces[f, 0], 1]
        bx, by = px[faces[f, 1], 0] - ax, px[faces[f, 1], 1] - ay
        cx, cy = px[faces[f, 2], 0] - ax, px[faces[f, 2], 1] - ay
        area = bx * cy - by * cx
        if abs(area) < 1e-9:
            continue
        x0, x1 = min(0, bx, cx) + ax, max(0, bx, cx) + ax
        y0, y1 = min(0, by, cy) + ay, max(0, by, cy) + ay
        for row in range(max(0, int(np.ceil(y0 - 0.5))), min(size - 1, int(y1 - 0.5)) + 1):
            for column in range(max(0, int(np.ceil(x0 - 0.5))), min(size - 1, int(x1 - 0.5)) + 1):
                x, y = column + 0.5 - ax, row + 0.5 - ay
                v, w = (x * cy - y * cx) / area, (bx * y - by * x) / area
                if v > 1e-3 and w > 1e-3 and v + w < 1 - 1e-3:
                    if owned[row, column]:
                        again[f] = True
                    owned[row, column] = 1
