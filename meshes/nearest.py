"""Which point of a surface is nearest? A search tree over its triangles, compiled by numba.

The tree is complete and implicit: node i has the children 2 i + 1 and 2 i + 2, and the leaves hold
LEAF triangles each, in the order of a Morton curve through their centres.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

LEAF = 4
MORTON_BITS = 12  # per axis
RADIX_BITS = 12  # sorted at once
CHUNK = 512  # queries that one thread takes after each other
STACK = 64  # nodes: twice the depth of the largest tree
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class SurfaceTree:
    """corners (M, 3, 3) float32 of the triangles in the tree's order, padded by NaN to full leaves;
    face (M,) int32: their numbers in the mesh; low, high (K, 3) float32: the boxes of all nodes."""

    corners: Float32
    face: NDArray[np.int32]
    low: Float32
    high: Float32


@dataclass(frozen=True, eq=False)
class Nearest:
    """For N points: the face (N,) int32 that is nearest, -1 for none within reach, barycentric
    (N, 3) float32 of its nearest point, and the distance (N,) float32, inf for none."""

    face: NDArray[np.int32]
    barycentric: Float32
    distance: Float32


def surface_tree(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> SurfaceTree:
    """The tree of a mesh: vertices (V, 3), faces (M, 3), at least one."""
    points = np.ascontiguousarray(vertices, np.float32)
    triangles = np.ascontiguousarray(faces, np.int32)
    order = _morton_order(_centres(points, triangles))
    leaves = 1 << max(0, int(np.ceil(np.log2(np.ceil(len(order) / LEAF)))))
    corners = np.full((leaves * LEAF, 3, 3), np.nan, np.float32)
    numbers = np.full(leaves * LEAF, -1, np.int32)
    numbers[: len(order)] = order
    low = np.full((2 * leaves - 1, 3), np.inf, np.float32)
    high = np.full_like(low, -np.inf)
    _fill(points, triangles, order, corners, low, high)
    return SurfaceTree(corners, numbers, low, high)


def nearest_points(
    tree: SurfaceTree, points: NDArray[np.floating], reach: float = np.inf
) -> Nearest:
    """The nearest point of the surface to each of points (N, 3), exactly, up to `reach` away."""
    queries = np.ascontiguousarray(points, np.float32)
    face = np.full(len(queries), -1, np.int32)
    barycentric = np.zeros((len(queries), 3), np.float32)
    squared = np.full(len(queries), np.inf, np.float32)
    limit = np.float32(min(reach, 1e15)) ** 2

    def search(start: int) -> None:
        rows = slice(start, start + CHUNK)
        _search(
            tree.corners, tree.low, tree.high, queries[rows], limit,
            face[rows], barycentric[rows], squared[rows],
        )  # fmt: skip

    # Threads, not prange, which takes several times as long to compile.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(search, range(0, len(queries), CHUNK)))
    found = face >= 0
    face[found] = tree.face[face[found]]
    return Nearest(face, barycentric, np.sqrt(squared))


def at_nearest(
    nearest: Nearest, faces: NDArray[np.integer], values: NDArray[np.floating]
) -> Float64:
    """Values (V, C) of the vertices of faces (M, 3) at the nearest points: (N, C)."""
    corners = np.asarray(values)[faces[nearest.face]]
    return np.einsum("nk,nkc->nc", nearest.barycentric.astype(np.float64), corners)


def _morton_order(centres: Float32) -> NDArray[np.int32]:
    """The order (M,) of centres (M, 3) along a Morton curve through their box; ties as they lie."""
    low = centres.min(0)
    extent = np.float32(max(float((centres.max(0) - low).max()), 1e-12))
    order, other = np.zeros((2, len(centres)), np.int32)
    codes = np.zeros(len(centres), np.int64)
    _encode(centres, low, extent, codes, order)
    for shift in range(0, 3 * MORTON_BITS, RADIX_BITS):
        _sort_by_digit(codes, shift, order, other)
        order, other = other, order
    return order


@njit(cache=True, nogil=True)
def _centres(points, faces):  # pragma: no cover
    centres = np.zeros((len(faces), 3), np.float32)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for k in range(3):
            centres[f, k] = (points[a, k] + points[b, k] + points[c, k]) / np.float32(3)
    return centres


@njit(cache=True, nogil=True)
def _encode(centres, low, extent, codes, order):  # pragma: no cover
    """Morton codes, 3 * MORTON_BITS each, and the order as they lie. In place."""
    steps = np.float32((1 << MORTON_BITS) - 1)
    for f in range(len(centres)):
        code = 0
        for axis in range(3):
            cell = np.int64((centres[f, axis] - low[axis]) * steps / extent)
            for bit in range(MORTON_BITS):
                code |= ((cell >> bit) & 1) << (3 * bit + axis)
        codes[f], order[f] = code, f


@njit(cache=True, nogil=True)
def _sort_by_digit(codes, shift, order, into):  # pragma: no cover
    """Sort an order by RADIX_BITS of the codes, stably, into another array."""
    digit = (1 << RADIX_BITS) - 1
    place = np.zeros(digit + 2, np.int64)
    for i in range(len(codes)):
        place[((codes[i] >> shift) & digit) + 1] += 1
    for i in range(1, digit + 1):
        place[i] += place[i - 1]
    for i in range(len(order)):
        where = (codes[order[i]] >> shift) & digit
        into[place[where]] = order[i]
        place[where] += 1


@njit(cache=True, nogil=True)
def _fill(points, faces, order, corners, low, high):  # pragma: no cover
    """The triangles in their order, and the boxes of all nodes. In place."""
    first = (len(low) - 1) // 2
    for i in range(len(order)):
        node = first + i // LEAF
        for k in range(3):
            vertex = faces[order[i], k]
            for axis in range(3):
                value = points[vertex, axis]
                corners[i, k, axis] = value
                low[node, axis] = min(low[node, axis], value)
                high[node, axis] = max(high[node, axis], value)
    for node in range(first - 1, -1, -1):
        for axis in range(3):
            low[node, axis] = min(low[2 * node + 1, axis], low[2 * node + 2, axis])
            high[node, axis] = max(high[2 * node + 1, axis], high[2 * node + 2, axis])


@njit(cache=True, nogil=True)
def _search(corners, low, high, points, limit, face, barycentric, squared):  # pragma: no cover
    """One query after the other, each from where the one before ended. In place."""
    first_leaf = (len(low) - 1) // 2
    stack = np.zeros(STACK, np.int32)
    bounds = np.zeros(STACK, np.float32)
    last = -1
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        best, u, v, w, found = limit, np.float32(0), np.float32(0), np.float32(0), -1
        if last >= 0:
            d, a, b, c = _closest(corners[last], x, y, z)
            if d <= best:
                best, u, v, w, found = d, a, b, c, last
        depth, stack[0], bounds[0] = 1, 0, _box_distance(low, high, 0, x, y, z)
        while depth > 0:
            depth -= 1
            node = stack[depth]
            if bounds[depth] >= best:
                continue
            if node >= first_leaf:
                start = (node - first_leaf) * LEAF
                for k in range(start, start + LEAF):
                    d, a, b, c = _closest(corners[k], x, y, z)
                    if d < best or (d == best and found < 0):
                        best, u, v, w, found = d, a, b, c, k
                continue
            near, far = 2 * node + 1, 2 * node + 2
            to_near = _box_distance(low, high, near, x, y, z)
            to_far = _box_distance(low, high, far, x, y, z)
            if to_far < to_near:
                near, far, to_near, to_far = far, near, to_far, to_near
            if to_far < best:
                stack[depth], bounds[depth] = far, to_far
                depth += 1
            if to_near < best:
                stack[depth], bounds[depth] = near, to_near
                depth += 1
        last = found
        if found >= 0:
            face[i], squared[i] = found, best
            barycentric[i, 0], barycentric[i, 1], barycentric[i, 2] = u, v, w


@njit(cache=True, nogil=True, inline="always")
def _box_distance(low, high, node, x, y, z):  # pragma: no cover
    dx = max(low[node, 0] - x, np.float32(0), x - high[node, 0])
    dy = max(low[node, 1] - y, np.float32(0), y - high[node, 1])
    dz = max(low[node, 2] - z, np.float32(0), z - high[node, 2])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True, nogil=True)
def _closest(t, x, y, z):  # pragma: no cover
    """Squared distance to a triangle and the barycentric weights of its nearest point.

    Ericson, Real-Time Collision Detection, 5.1.5. A padded triangle is at NaN, never nearer.
    """
    zero, one, tiny = np.float32(0), np.float32(1), np.float32(TINY)
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    apx, apy, apz = x - t[0, 0], y - t[0, 1], z - t[0, 2]
    d1 = abx * apx + aby * apy + abz * apz
    d2 = acx * apx + acy * apy + acz * apz
    bpx, bpy, bpz = x - t[1, 0], y - t[1, 1], z - t[1, 2]
    d3 = abx * bpx + aby * bpy + abz * bpz
    d4 = acx * bpx + acy * bpy + acz * bpz
    cpx, cpy, cpz = x - t[2, 0], y - t[2, 1], z - t[2, 2]
    d5 = abx * cpx + aby * cpy + abz * cpz
    d6 = acx * cpx + acy * cpy + acz * cpz
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0 and d2 <= 0:
        v, w = zero, zero
    elif d3 >= 0 and d4 <= d3:
        v, w = one, zero
    elif vc <= 0 and d1 >= 0 and d3 <= 0:
        v, w = d1 / max(d1 - d3, tiny), zero
    elif d6 >= 0 and d5 <= d6:
        v, w = zero, one
    elif vb <= 0 and d2 >= 0 and d6 <= 0:
        v, w = zero, d2 / max(d2 - d6, tiny)
    elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / max((d4 - d3) + (d5 - d6), tiny)
        v = one - w
    else:
        whole = max(va + vb + vc, tiny)
        v, w = vb / whole, vc / whole
    dx, dy, dz = apx - v * abx - w * acx, apy - v * aby - w * acy, apz - v * abz - w * acz
    return dx * dx + dy * dy + dz * dz, one - v - w, v, w
