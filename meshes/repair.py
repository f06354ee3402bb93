"""Which vertices, faces and edges of a mesh are the same, and how are its faces wound alike?

Loops over millions of faces, compiled by numba. What is to be sorted goes into a bucket for each
vertex first, whose few members are then sorted by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Indices = NDArray[np.int32]
SMALL_BUCKET = 64  # members that are sorted by insertion
HASHES = (73856093, 19349669, 83492791)  # Teschner and others, Optimized Spatial Hashing (2003)


@dataclass(frozen=True, eq=False)
class Edges:
    """Every edge once, (E,) each, in the order of its lower and then its upper vertex; it runs from
    `start` to `end` in the first of its faces.

    uses: how many faces it has; faces (E, 2): the first and last of them; opposed: whether the
    last one runs the other way.
    """

    start: Indices
    end: Indices
    uses: Indices
    faces: Indices
    opposed: NDArray[np.bool_]


def merged_vertices(vertices: Float32, faces: Indices) -> Indices:
    """Faces (F, 3) that name the first of all vertices at exactly one place."""
    bits = np.ascontiguousarray(vertices + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    return _first_at_place(bits)[faces]


def useful_faces(faces: Indices, vertices: int) -> Indices:
    """Without faces (F, 3) that repeat a corner, and with the first of those on the same three."""
    return faces[_counts(faces, vertices) > 0]


def uncancelled_faces(faces: Indices, vertices: int) -> Indices:
    """`useful_faces`, but none of an even number on the same three: what was closed stays so."""
    return faces[_counts(faces, vertices) % 2 == 1]


def _counts(faces: Indices, vertices: int) -> Indices:
    """Per face (F, 3) how many are on its three corners; 0 for all but the first of them, and for
    faces that repeat a corner."""
    low, middle, high = np.sort(faces, axis=1).T
    keys = middle.astype(np.int64) * vertices + high
    first, members = _buckets(low, keys, vertices)
    begins = _runs(first, members, keys)
    counts = np.zeros(len(faces), np.int32)
    counts[members[begins]] = np.diff(begins, append=np.int32(len(members)))
    return np.where((low != middle) & (middle != high), counts, 0)


def edges_of(faces: Indices, vertices: int) -> Edges:
    """The edges of faces (F, 3) on so many vertices."""
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    upper = np.maximum(start, end).astype(np.int64)
    first, members = _buckets(np.minimum(start, end), upper, vertices)
    begins = _runs(first, members, upper)
    uses = np.diff(begins, append=np.int32(len(members)))
    one, last = members[begins], members[begins + uses - 1]
    return Edges(
        start[one], end[one], uses, np.stack([one // 3, last // 3], axis=1),
        start[one] != start[last],
    )  # fmt: skip


def outward(vertices: Float32, faces: Indices, edges: Edges) -> Indices:
    """The same faces (F, 3), neighbours wound alike and every part outward.

    Faces are neighbours where exactly two have an edge. A part is outward when it encloses a
    positive volume, seen from its centre.
    """
    part = np.arange(len(faces), dtype=np.int32)
    reverse = np.zeros(len(faces), np.bool_)
    pairs = edges.uses == 2
    _join(edges.faces[pairs], ~edges.opposed[pairs], part, reverse)
    _reverse_inward(vertices, faces, part, reverse)
    return np.where(reverse[:, None], faces[:, ::-1], faces)


def _buckets(
    bucket: Indices, keys: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], Indices]:
    """All rows by bucket and key, stably: where each of count buckets begins, and the rows (N,)."""
    first, members = np.zeros(count + 1, np.int64), np.zeros(len(keys), np.int32)
    _sort_into_buckets(bucket, keys, first, members)
    for large in np.flatnonzero(np.diff(first) > SMALL_BUCKET):
        rows = members[first[large] : first[large + 1]]
        rows[:] = rows[np.argsort(keys[rows], kind="stable")]
    return first, members


@njit(cache=True, nogil=True)
def _sort_into_buckets(bucket, keys, first, members):  # pragma: no cover
    """Into `first` and `members`; large buckets stay in the order of the rows."""
    for row in range(len(bucket)):
        first[bucket[row] + 1] += 1
    for b in range(1, len(first)):
        first[b] += first[b - 1]
    place = first[:-1].copy()
    for row in range(len(bucket)):
        b = bucket[row]
        i = place[b]
        place[b] += 1
        if first[b + 1] - first[b] <= SMALL_BUCKET:
            while i > first[b] and keys[members[i - 1]] > keys[row]:
                members[i] = members[i - 1]
                i -= 1
        members[i] = row


@njit(cache=True, nogil=True)
def _runs(first, members, keys):  # pragma: no cover
    """Where in `members` the rows with one bucket and key begin."""
    begins, count = np.zeros(len(members), np.int32), 0
    for b in range(len(first) - 1):
        for i in range(first[b], first[b + 1]):
            if i == first[b] or keys[members[i]] != keys[members[i - 1]]:
                begins[count] = i
                count += 1
    return begins[:count].copy()


@njit(cache=True, nogil=True)
def _first_at_place(bits):  # pragma: no cover
    """Per row (V, 3) the first row that equals it, by a hash table."""
    size = 1
    while size < 2 * len(bits):
        size *= 2
    table, first = np.full(size, -1, np.int32), np.zeros(len(bits), np.int32)
    for v in range(len(bits)):
        a, b, c = bits[v, 0], bits[v, 1], bits[v, 2]
        code = (a * HASHES[0]) ^ (b * HASHES[1]) ^ (c * HASHES[2])
        at = (code ^ (code >> 17)) & (size - 1)
        while table[at] >= 0:
            other = table[at]
            if bits[other, 0] == a and bits[other, 1] == b and bits[other, 2] == c:
                break
            at = (at + 1) & (size - 1)
        if table[at] < 0:
            table[at] = v
        first[v] = table[at]
    return first


@njit(cache=True, nogil=True)
def _join(neighbours, odd, root, differs):  # pragma: no cover
    """Join faces to parts, each named by its smallest face; differs: whether a face is wound unlike
    that one, along the neighbours that joined the parts, as they come. In place."""
    for e in range(len(neighbours)):
        a, b, unlike = neighbours[e, 0], neighbours[e, 1], odd[e]
        while root[a] != a:
            differs[a] ^= differs[root[a]]
            root[a] = root[root[a]]
            unlike ^= differs[a]
            a = root[a]
        while root[b] != b:
            differs[b] ^= differs[root[b]]
            root[b] = root[root[b]]
            unlike ^= differs[b]
            b = root[b]
        if a != b:
            high = max(a, b)
            root[high], differs[high] = min(a, b), unlike
    for face in range(len(root)):  # a root is smaller than its faces
        differs[face] ^= differs[root[face]]
        root[face] = root[root[face]]


@njit(cache=True, nogil=True)
def _reverse_inward(vertices, faces, part, reverse):  # pragma: no cover
    """Reverse the parts whose volume is negative with the faces in `reverse` reversed. In place."""
    number, parts = np.zeros(len(faces), np.int32), 0
    for f in range(len(faces)):
        number[f] = number[part[f]]
        if part[f] == f:
            number[f] = parts
            parts += 1
    centre, sizes, volume = np.zeros((parts, 3)), np.zeros(parts), np.zeros(parts)
    for f in range(len(faces)):
        p = number[f]
        sizes[p] += 3
        for k in range(3):
            for axis in range(3):
                centre[p, axis] += vertices[faces[f, k], axis]
    corners = np.zeros((3, 3))
    for f in range(len(faces)):
        p = number[f]
        for k in range(3):
            for axis in range(3):
                corners[k, axis] = vertices[faces[f, k], axis] - centre[p, axis] / sizes[p]
        a, b, c = corners[0], corners[1], corners[2]
        signed = a[0] * (b[1] * c[2] - b[2] * c[1])
        signed += a[1] * (b[2] * c[0] - b[0] * c[2])
        signed += a[2] * (b[0] * c[1] - b[1] * c[0])
        volume[p] += -signed if reverse[f] else signed
    for f in range(len(faces)):
        reverse[f] ^= volume[number[f]] < 0
