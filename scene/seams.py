"""Which vertices of a mesh are one point of its surface, cut apart by the seams of its texture?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def vertex_places(vertices: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) numbers of the places of vertices (N, 3): equal where they are exactly at one place."""
    rows = np.ascontiguousarray(vertices, np.float32) + np.float32(0)  # -0 is 0
    _, place = np.unique(rows.view("V12").reshape(-1), return_inverse=True)
    return place.reshape(-1)


def is_closed(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> bool:
    """Whether every edge has two faces that are wound alike: the mesh has an inside everywhere."""
    if not len(faces):
        return False
    start = vertex_places(vertices)[faces].astype(np.int64)
    end = np.roll(start, -1, axis=1)
    count = int(start.max()) + 1
    ahead, back = np.sort((start * count + end).ravel()), np.sort((end * count + start).ravel())
    return bool(np.array_equal(ahead, back) and (np.diff(ahead) > 0).all())
