"""Which edges can a closed mesh lose? Quadric edge collapses that keep it closed, by numba.

Garland and Heckbert, Surface Simplification Using Quadric Error Metrics (1997). An edge collapses
only where its two ends share exactly two neighbours, so every edge keeps two faces.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene.types import Float32, Float64

MAX_NEIGHBOURS = 64  # of a vertex that may take part
MIN_NORMAL_COSINE = 0.2  # of a face's normal before and after a collapse
# Of the mean squared edge, added to an edge's error: flat parts collapse from the shortest edge on.
LENGTH_WEIGHT = 1e-3
STEPS = 1 << 20  # of a coordinate, along the cube's side
Faces = NDArray[np.int32]


def simplified(vertices: Float32, faces: Faces, target_faces: int) -> tuple[Float32, Faces]:
    """A closed mesh with at most target_faces faces, or as few as its topology allows.

    vertices (V, 3), faces (F, 3): every edge has two faces, wound alike.
    """
    if len(faces) <= target_faces:
        return vertices, faces
    points, triangles = _rounded(vertices), faces.astype(np.int32)
    quadrics = _quadrics(points, triangles)
    edges = _edges(triangles)
    _collapse(points, triangles, quadrics, edges, target_faces)
    kept = triangles[triangles[:, 0] >= 0]
    used = np.unique(kept)
    number = np.full(len(points), -1, np.int32)
    number[used] = np.arange(len(used), dtype=np.int32)
    return points[used].astype(np.float32), number[kept]


def _rounded(vertices: Float32) -> Float64:
    """Without the last bits, which differ between processors and would decide between collapses."""
    return np.rint(vertices.astype(np.float64) * STEPS) / STEPS


def _quadrics(points: Float64, faces: Faces) -> Float64:
    """(V, 10) upper triangles of the sums of plane quadrics, each weighted by its face's area."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    unit = normal / np.maximum(length, 1e-30)
    plane = np.column_stack([unit, -(unit * a).sum(1)])
    rows, columns = np.triu_indices(4)
    each = plane[:, rows] * plane[:, columns] * (length / 2)
    out = np.zeros((len(points), 10))
    for k in range(10):
        for corner in range(3):
            out[:, k] += np.bincount(faces[:, corner], each[:, k], len(points))
    return out


def _edges(faces: Faces) -> NDArray[np.int32]:
    """(E, 2) every edge of a closed mesh once: as the face has it in which it ascends."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.ascontiguousarray(pairs[pairs[:, 0] < pairs[:, 1]])


@njit(cache=True, nogil=True)
def _collapse(points, faces, quadrics, edges, target):  # pragma: no cover
    """Collapse edges from the cheapest on. In place; faces that are gone have the corners -1."""
    count, alive = len(points), len(faces)
    # The corners of a vertex are a ring: joining two rings is one exchange.
    after, first = np.zeros(3 * alive, np.int32), np.full(count, -1, np.int32)
    for corner in range(3 * alive):
        vertex = faces[corner // 3, corner % 3]
        if first[vertex] < 0:
            first[vertex], after[corner] = corner, corner
        else:
            after[corner], after[first[vertex]] = after[first[vertex]], corner
    mean = 0.0
    for e in range(len(edges)):
        mean += _squared(points, edges[e, 0], edges[e, 1])
    weight = LENGTH_WEIGHT * mean / max(len(edges), 1)
    stamp = np.zeros(count, np.int32)
    size, room = 0, len(edges) + 1024
    cost, ends = np.zeros(room, np.float64), np.zeros((room, 4), np.int32)
    best = np.zeros(3)
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        cost[size] = _price(points, quadrics, u, v, weight, best)
        ends[size, 0], ends[size, 1], ends[size, 2], ends[size, 3] = u, v, 0, 0
        size += 1
    for i in range(size // 2 - 1, -1, -1):
        _sink(cost, ends, size, i)
    around_u, around_v = np.zeros(MAX_NEIGHBOURS, np.int32), np.zeros(MAX_NEIGHBOURS, np.int32)
    while alive > target and size > 0:
        u, v, fresh_u, fresh_v = ends[0, 0], ends[0, 1], ends[0, 2], ends[0, 3]
        size -= 1
        cost[0] = cost[size]
        for k in range(4):
            ends[0, k] = ends[size, k]
        _sink(cost, ends, size, 0)
        if stamp[u] != fresh_u or stamp[v] != fresh_v or first[u] < 0 or first[v] < 0:
            continue
        nu = _neighbours(faces, after, first, u, around_u)
        nv = _neighbours(faces, after, first, v, around_v)
        if nu < 0 or nv < 0 or not _may_join(around_u, nu, around_v, nv):
            continue
        _price(points, quadrics, u, v, weight, best)
        if _flips(points, faces, after, first, u, v, best):
            continue
        if _flips(points, faces, after, first, v, u, best):
            continue
        alive -= _join(faces, after, first, u, v)
        for axis in range(3):
            points[u, axis] = best[axis]
        for k in range(10):
            quadrics[u, k] += quadrics[v, k]
        stamp[u] += 1
        nu = _neighbours(faces, after, first, u, around_u)
        if nu < 0:
            continue
        if size + nu >= room:
            room = 2 * room
            more_cost, more_ends = np.zeros(room, np.float64), np.zeros((room, 4), np.int32)
            more_cost[:size], more_ends[:size] = cost[:size], ends[:size]
            cost, ends = more_cost, more_ends
        for k in range(nu):
            w = around_u[k]
            cost[size] = _price(points, quadrics, u, w, weight, best)
            ends[size, 0], ends[size, 1], ends[size, 2], ends[size, 3] = u, w, stamp[u], stamp[w]
            _rise(cost, ends, size)
            size += 1


@njit(cache=True, nogil=True)
def _squared(points, u, v):  # pragma: no cover
    total = 0.0
    for axis in range(3):
        total += (points[u, axis] - points[v, axis]) ** 2
    return total


@njit(cache=True, nogil=True)
def _price(points, quadrics, u, v, weight, best):  # pragma: no cover
    """The error of joining u and v, and into `best` where: the quadrics' minimum, if it is near."""
    q = quadrics[u] + quadrics[v]
    mass = (q[0] + q[4] + q[7]) / 3
    # A pull to the middle, too weak to matter but where the quadrics leave the place open.
    pull = 1e-4 * mass + 1e-30
    mx = (points[u, 0] + points[v, 0]) / 2
    my = (points[u, 1] + points[v, 1]) / 2
    mz = (points[u, 2] + points[v, 2]) / 2
    a, b, c, d, e, f = q[0] + pull, q[1], q[2], q[4] + pull, q[5], q[7] + pull
    x, y, z = pull * mx - q[3], pull * my - q[6], pull * mz - q[8]
    ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    det = a * ca + b * cb + c * cc
    length = _squared(points, u, v)
    best[0], best[1], best[2] = mx, my, mz
    if abs(det) > 1e-12 * mass * mass * mass:
        px = (ca * x + cb * y + cc * z) / det
        py = (cb * x + (a * f - c * c) * y + (b * c - a * e) * z) / det
        pz = (cc * x + (b * c - a * e) * y + (a * d - b * b) * z) / det
        if (px - mx) ** 2 + (py - my) ** 2 + (pz - mz) ** 2 < length:
            best[0], best[1], best[2] = px, py, pz
    px, py, pz = best[0], best[1], best[2]
    error = q[0] * px * px + q[4] * py * py + q[7] * pz * pz + q[9]
    error += 2 * (q[1] * px * py + q[2] * px * pz + q[5] * py * pz)
    error += 2 * (q[3] * px + q[6] * py + q[8] * pz)
    return max(error, 0.0) + weight * length


@njit(cache=True, nogil=True)
def _neighbours(faces, after, first, vertex, out):  # pragma: no cover
    """The other ends of a vertex's edges; -1 where there are too many."""
    count, corner = 0, first[vertex]
    while True:
        if count == len(out):
            return -1
        face, k = corner // 3, corner % 3
        out[count] = faces[face, (k + 1) % 3]  # each neighbour follows the vertex in one face
        count += 1
        corner = after[corner]
        if corner == first[vertex]:
            return count


@njit(cache=True, nogil=True)
def _may_join(around_u, nu, around_v, nv):  # pragma: no cover
    """Whether exactly two neighbours are shared, and the part is more than a tetrahedron."""
    common = 0
    for i in range(nu):
        for j in range(nv):
            common += around_u[i] == around_v[j]
    return common == 2 and nu + nv > 6 and nu + nv - 4 < MAX_NEIGHBOURS


@njit(cache=True, nogil=True)
def _flips(points, faces, after, first, moved, other, to):  # pragma: no cover
    """Whether a face of `moved` that stays would turn over when its corner goes there."""
    corner = first[moved]
    old, new, one, two = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    while True:
        face, k = corner // 3, corner % 3
        b, c = faces[face, (k + 1) % 3], faces[face, (k + 2) % 3]
        if b != other and c != other:
            for axis in range(3):
                one[axis] = points[b, axis] - points[moved, axis]
                two[axis] = points[c, axis] - points[moved, axis]
            _cross(one, two, old)
            for axis in range(3):
                one[axis] = points[b, axis] - to[axis]
                two[axis] = points[c, axis] - to[axis]
            _cross(one, two, new)
            before = np.sqrt(old[0] ** 2 + old[1] ** 2 + old[2] ** 2)
            now = np.sqrt(new[0] ** 2 + new[1] ** 2 + new[2] ** 2)
            dot = old[0] * new[0] + old[1] * new[1] + old[2] * new[2]
            if dot < MIN_NORMAL_COSINE * before * now:
                return True
        corner = after[corner]
        if corner == first[moved]:
            return False


@njit(cache=True, nogil=True)
def _cross(a, b, out):  # pragma: no cover
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@njit(cache=True, nogil=True)
def _join(faces, after, first, u, v):  # pragma: no cover
    """Make v part of u; returns how many faces went."""
    corner, gone = first[v], 0
    while True:  # v's faces become u's; those with both are marked
        face = corner // 3
        both = faces[face, 0] == u or faces[face, 1] == u or faces[face, 2] == u
        faces[face, corner % 3] = -2 if both else u
        corner = after[corner]
        if corner == first[v]:
            break
    after[first[u]], after[first[v]] = after[first[v]], after[first[u]]
    for _ in range(2):
        corner = first[u]
        while True:  # find a marked face, and take it out of the rings of its other two corners
            face = corner // 3
            if faces[face, 0] == -2 or faces[face, 1] == -2 or faces[face, 2] == -2:
                break
            corner = after[corner]
            if corner == first[u]:
                return gone
        face = corner // 3
        for j in range(3):
            vertex = faces[face, j]
            _take_out(after, first, u if vertex == -2 else vertex, 3 * face + j)
        faces[face, 0] = faces[face, 1] = faces[face, 2] = -1
        gone += 1
    first[v] = -1
    return gone


@njit(cache=True, nogil=True)
def _take_out(after, first, vertex, corner):  # pragma: no cover
    """Take a corner out of its vertex's ring."""
    before = corner
    while after[before] != corner:
        before = after[before]
    if first[vertex] == corner:
        first[vertex] = after[corner] if after[corner] != corner else -1
    after[before] = after[corner]


@njit(cache=True, nogil=True)
def _sink(cost, ends, size, i):  # pragma: no cover
    while True:
        child = 2 * i + 1
        if child >= size:
            return
        if child + 1 < size and cost[child + 1] < cost[child]:
            child += 1
        if cost[i] <= cost[child]:
            return
        _swap(cost, ends, i, child)
        i = child


@njit(cache=True, nogil=True)
def _rise(cost, ends, i):  # pragma: no cover
    while i > 0 and cost[i] < cost[(i - 1) // 2]:
        _swap(cost, ends, i, (i - 1) // 2)
        i = (i - 1) // 2


@njit(cache=True, nogil=True)
def _swap(cost, ends, i, j):  # pragma: no cover
    cost[i], cost[j] = cost[j], cost[i]
    for k in range(4):
        ends[i, k], ends[j, k] = ends[j, k], ends[i, k]
