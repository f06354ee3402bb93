"""What is left of a dense mesh when the vertices of every small cell become one?

Lindstrom, Out-of-Core Simplification of Large Polygonal Models (2000): the vertex of a cluster lies
where the planes of its faces meet best. Only vertices that edges join inside their cell become one,
so that surfaces which pass through the same cell stay apart.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshes.repair import uncancelled_faces

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.int32]
PULL = 1e-3  # of the planes' weight, to the mean of the vertices: it decides where planes do not


def clustered(vertices: Float32, faces: Indices, cells: int) -> tuple[Float32, Indices]:
    """A coarser mesh of vertices (V, 3) and faces (F, 3), with so many cells to a unit: every
    vertex stays in the cell of those that it stands for."""
    at = np.floor(vertices * np.float32(cells)).astype(np.int32)
    cluster = np.arange(len(vertices), dtype=np.int32)
    count = _join_in_cells(at, faces, cluster)
    points = np.zeros((count, 3))
    _place(vertices, faces, cluster, at, 1 / cells, points)
    return points.astype(np.float32), uncancelled_faces(cluster[faces], count)


@njit(cache=True, nogil=True)
def _join_in_cells(cells, faces, cluster):  # pragma: no cover
    """The number of every vertex's cluster, in the order of their first vertices; how many."""
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            apart = cells[a, 0] != cells[b, 0] or cells[a, 1] != cells[b, 1]
            if apart or cells[a, 2] != cells[b, 2]:
                continue
            while cluster[a] != a:
                cluster[a] = cluster[cluster[a]]
                a = cluster[a]
            while cluster[b] != b:
                cluster[b] = cluster[cluster[b]]
                b = cluster[b]
            cluster[max(a, b)] = min(a, b)
    count = 0
    for v in range(len(cluster)):  # a cluster's first vertex has its number before the others
        if cluster[v] == v:
            cluster[v] = count
            count += 1
        else:
            cluster[v] = cluster[cluster[v]]
    return count


@njit(cache=True, nogil=True)
def _place(vertices, faces, cluster, cells, cell, points):  # pragma: no cover
    """The clusters' vertices, into points (C, 3)."""
    count = len(points)
    size, low = np.zeros(count), np.zeros((count, 3))
    for v in range(len(vertices)):
        c = cluster[v]
        size[c] += 1
        for axis in range(3):
            points[c, axis] += vertices[v, axis]
            low[c, axis] = cells[v, axis] * cell
    for c in range(count):
        for axis in range(3):
            points[c, axis] /= size[c]
    quadric, edge, other, normal = np.zeros((count, 9)), np.zeros(3), np.zeros(3), np.zeros(3)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for axis in range(3):
            edge[axis] = vertices[b, axis] - vertices[a, axis]
            other[axis] = vertices[c, axis] - vertices[a, axis]
        normal[0] = edge[1] * other[2] - edge[2] * other[1]
        normal[1] = edge[2] * other[0] - edge[0] * other[2]
        normal[2] = edge[0] * other[1] - edge[1] * other[0]
        for k in range(3):
            g = cluster[faces[f, k]]
            if (k > 0 and g == cluster[faces[f, k - 1]]) or (k == 2 and g == cluster[a]):
                continue  # a face counts once in each of its clusters
            offset = 0.0
            for axis in range(3):
                offset += normal[axis] * (vertices[a, axis] - points[g, axis])
            at = 0
            for i in range(3):
                for j in range(i, 3):
                    quadric[g, at] += normal[i] * normal[j]
                    at += 1
                quadric[g, 6 + i] += normal[i] * offset
    for g in range(count):
        q = quadric[g]
        pull = PULL * (q[0] + q[3] + q[5]) + 1e-30
        a, b, c, d, e, f = q[0] + pull, q[1], q[2], q[3] + pull, q[4], q[5] + pull
        ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
        det = a * ca + b * cb + c * cc
        x, y, z = q[6], q[7], q[8]
        edge[0] = (ca * x + cb * y + cc * z) / det
        edge[1] = (cb * x + (a * f - c * c) * y + (b * c - a * e) * z) / det
        edge[2] = (cc * x + (b * c - a * e) * y + (a * d - b * b) * z) / det
        for axis in range(3):
            place = points[g, axis] + edge[axis]
            points[g, axis] = min(max(place, low[g, axis]), low[g, axis] + cell)
