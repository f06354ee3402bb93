"""Which vertices of a mesh are one point of its surface, cut apart by the seams of its texture, and
which faces hang together?"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.floating)


def vertex_places(vertices: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) numbers of the places of vertices (N, 3): equal where they are exactly at one place."""
    rows = np.ascontiguousarray(vertices, np.float32) + np.float32(0)  # -0 is 0
    _, place = np.unique(rows.view("V12").reshape(-1), return_inverse=True)
    return place.reshape(-1)


def welded(
    vertices: NDArray[Number], faces: NDArray[np.integer]
) -> tuple[NDArray[Number], NDArray[np.int32]]:
    """The mesh with one vertex at each place, the first of those that are there: vertices (P, 3),
    and as many faces (M, 3) as before, some of which may repeat a corner now."""
    place = vertex_places(vertices)
    _, first = np.unique(place, return_index=True)
    return vertices[first], place[faces].astype(np.int32)


def parts_of(faces: NDArray[np.integer]) -> NDArray[np.int64]:
    """(M,) the number of each face's part: faces (M, 3) that name one vertex belong together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(faces.max()) + 1
    start = np.concatenate([faces[:, 0], faces[:, 1]])
    end = np.concatenate([faces[:, 1], faces[:, 2]])
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1][faces[:, 0]]
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def is_closed(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> bool:
    """Whether every edge has two faces that are wound alike: the mesh has an inside everywhere."""
    if not len(faces):
        return False
    start = vertex_places(vertices)[faces].astype(np.int64)
    end = np.roll(start, -1, axis=1)
    count = int(start.max()) + 1
    ahead, back = np.sort((start * count + end).ravel()), np.sort((end * count + start).ravel())
    return bool(np.array_equal(ahead, back) and (np.diff(ahead) > 0).all())
