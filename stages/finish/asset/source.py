"""What is finished: a surface with its normals, and what is known of every point of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshes.nearest import Nearest, at_nearest
from scene.glb import METALLIC, ROUGHNESS
from scene.normals import smooth_normals
from scene.types import DenseMesh, Float32, Float64, ObjectMesh, Uint8

CHANNELS = 6  # base colour, metallic, roughness, alpha


@dataclass(frozen=True, eq=False)
class Source:
    """vertices (V, 3) float32 with unit normals (V, 3), faces (M, 3); attributes: of N points on
    the surface their base colour, metallic, roughness and alpha, (N, 6) in 0 to 255; glossy,
    transparent: whether metallic and roughness, and alpha, are known at all."""

    vertices: Float32
    faces: NDArray[np.int32]
    normals: Float32
    attributes: Callable[[Nearest], Float64]
    glossy: bool
    transparent: bool


def source_of(mesh: ObjectMesh, dense: DenseMesh | None) -> Source:
    """The dense mesh, with values of its vertices; without one the mesh, with its textures."""
    if dense is not None:
        return source_of_dense(dense)
    material = mesh.material
    return Source(
        mesh.vertices,
        mesh.faces,
        smooth_normals(mesh.vertices, mesh.faces),
        partial(_of_textures, mesh),
        material.metallic_roughness is not None,
        material.alpha is not None,
    )


def source_of_dense(dense: DenseMesh) -> Source:
    """The dense mesh, with values of its vertices."""
    normals = np.zeros_like(dense.vertices)
    _vertex_normals(dense.vertices, dense.faces, normals)
    known = partial(_of_vertices, dense)
    return Source(dense.vertices, dense.faces, normals, known, True, True)


def _of_vertices(dense: DenseMesh, nearest: Nearest) -> Float64:
    return at_nearest(nearest, dense.faces, dense.values.astype(np.float32))


def _of_textures(mesh: ObjectMesh, nearest: Nearest) -> Float64:
    uv = at_nearest(nearest, mesh.faces, mesh.uv)
    material, values = mesh.material, np.full((len(uv), CHANNELS), 255.0)
    values[:, :3] = looked_up(mesh.texture, uv)
    values[:, 3:5] = METALLIC * 255, ROUGHNESS * 255
    if material.metallic_roughness is not None:
        values[:, 3:5] = looked_up(material.metallic_roughness, uv)
    if material.alpha is not None:
        values[:, 5] = looked_up(material.alpha[..., None], uv)[:, 0]
    return values


def looked_up(texture: Uint8, uv: Float64) -> Float64:
    """A texture (H, W, C) at uv (N, 2), v from the top, bilinear: (N, C)."""
    height, width, channels = texture.shape
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip(uv[:, 1] * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    flat = texture.reshape(-1, channels)

    def row(y_px: NDArray[np.int64]) -> Float64:
        return flat[y_px * width + x0] * (1 - fx) + flat[y_px * width + x1] * fx

    return row(y0) * (1 - fy) + row(y1) * fy


@njit(cache=True, nogil=True)
def _vertex_normals(vertices, faces, normals):  # pragma: no cover
    """Unit normals; faces count by their area. In place."""
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            one = (vertices[b, i] - vertices[a, i]) * (vertices[c, j] - vertices[a, j])
            other = (vertices[b, j] - vertices[a, j]) * (vertices[c, i] - vertices[a, i])
            normals[a, k] += one - other
            normals[b, k] += one - other
            normals[c, k] += one - other
    for v in range(len(normals)):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 1e-30:
            normals[v] /= length
