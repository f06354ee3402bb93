"""Which directions does a mesh have at its vertices: normals across seams, tangents of its uv?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene.seams import vertex_places
from scene.types import Float32, Float64

TINY = 1e-20
UPWARD = (0.0, 0.0, 1.0)  # of a vertex whose faces have no area
Vertices = NDArray[np.floating]
Faces = NDArray[np.integer]


def smooth_normals(vertices: Vertices, faces: Faces) -> Float32:
    """(N, 3) unit normals; vertices at exactly one place have one, so seams of uv do not show.

    vertices (N, 3), faces (M, 3). Faces count by their angle at the vertex.
    """
    place = vertex_places(vertices)
    corners = np.asarray(vertices, np.float64)[faces]
    edges = np.roll(corners, -1, axis=1) - corners
    face_normals = _unit(np.cross(edges[:, 0], edges[:, 1]))
    along, back = _unit(edges), -_unit(np.roll(edges, 1, axis=1))
    angles = np.arccos(np.clip((along * back).sum(2), -1, 1))
    weighted = angles[:, :, None] * face_normals[:, None]
    return _unit(_sums(place[faces], weighted, place.max() + 1))[place].astype(np.float32)


def vertex_tangents(vertices: Vertices, faces: Faces, uv: Vertices, normals: Vertices) -> Float32:
    """(N, 4) as glTF has them: the unit direction of growing u within the surface, and the sign of
    the bitangent, sign * cross(normal, tangent), which goes up in the texture.

    uv (N, 2) with v from the top; normals (N, 3) unit. A vertex belongs to one chart.
    """
    corners, at = np.asarray(vertices, np.float64)[faces], np.asarray(uv, np.float64)[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (du1, dv1), (du2, dv2) = (at[:, 1] - at[:, 0]).T, (at[:, 2] - at[:, 0]).T
    area = du1 * dv2 - du2 * dv1
    # Without the division by the area: its sign is enough, and large faces count for more.
    side = np.sign(area)[:, None]
    along_u = (first * dv2[:, None] - second * dv1[:, None]) * side
    upward = -(second * du1[:, None] - first * du2[:, None]) * side
    count, normals = len(vertices), np.asarray(normals, np.float64)
    spread = np.broadcast_to(along_u[:, None], corners.shape)
    tangents = _sums(faces, spread, count)
    bitangents = _sums(faces, np.broadcast_to(upward[:, None], corners.shape), count)
    tangents = tangents - normals * (normals * tangents).sum(1, keepdims=True)
    lost = np.linalg.norm(tangents, axis=1) < TINY
    axis = np.eye(3)[np.abs(normals[lost]).argmin(1)]  # any direction within the surface
    tangents[lost] = np.cross(normals[lost], axis)
    tangents = _unit(tangents)
    sign = np.where((np.cross(normals, tangents) * bitangents).sum(1) < 0, -1.0, 1.0)
    return np.column_stack([tangents, sign]).astype(np.float32)


def _sums(index: NDArray[np.integer], values: Float64, count: int) -> Float64:
    """(count, 3) sums of values (M, 3, 3) over the corners (M, 3) of equal index."""
    flat, rows = index.reshape(-1), values.reshape(-1, 3)
    sums = [np.bincount(flat, rows[:, c], count) for c in range(3)]
    return np.stack(sums, 1).astype(np.float64)


def _unit(vectors: Float64) -> Float64:
    """Vectors (..., 3) at length 1; UPWARD where they have none."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > TINY, vectors / np.maximum(length, TINY), UPWARD)
