"""The edges of a mesh by place: which are open, which have too many faces, what they join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene.seams import vertex_places
from scene.types import ObjectMesh

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Edges:
    """corners (M, 3): the faces by numbers of places; ends (E, 2): every edge once; count (E,): how
    many faces it has."""

    corners: Ints
    ends: Ints
    count: Ints


def mesh_edges(mesh: ObjectMesh) -> Edges:
    """Of a mesh whose vertices are cut apart by the seams of its texture."""
    corners = vertex_places(mesh.vertices)[mesh.faces].astype(np.int64)
    pairs = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), 1)
    ends, count = np.unique(pairs, axis=0, return_counts=True)
    return Edges(corners, ends, count)


def face_areas(mesh: ObjectMesh) -> NDArray[np.float64]:
    """(M,) in squares of the vertices' unit."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
