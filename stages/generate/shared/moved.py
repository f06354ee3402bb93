"""Object meshes with everything that has a place moved alike: vertices, normals, the dense mesh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignment.reproject import reproject
from scene.normals import smooth_normals
from scene.types import CropCamera, ObjectMesh, Similarity


def transformed(mesh: ObjectMesh, similarity: Similarity) -> ObjectMesh:
    """The mesh after a similarity."""
    normals, dense = mesh.normals, mesh.dense
    if normals is not None:
        normals = (normals @ similarity.rotation.T).astype(np.float32)
    if dense is not None:
        dense = replace(dense, vertices=similarity.apply(dense.vertices).astype(np.float32))
    vertices = similarity.apply(mesh.vertices).astype(np.float32)
    return replace(mesh, vertices=vertices, normals=normals, dense=dense)


def reprojected(mesh: ObjectMesh, from_crop: CropCamera, to_crop: CropCamera) -> ObjectMesh:
    """The mesh with every vertex on its pixel in a crop of another focal length.

    Source: docs/placement.md, equation 5. Raises CannotGenerate for a vertex behind a camera.
    """
    vertices = reproject(mesh.vertices, from_crop, to_crop).astype(np.float32)
    normals = None if mesh.normals is None else smooth_normals(vertices, mesh.faces)
    dense = mesh.dense
    if dense is not None:
        moved = reproject(dense.vertices, from_crop, to_crop).astype(np.float32)
        dense = replace(dense, vertices=moved)
    return replace(mesh, vertices=vertices, normals=normals, dense=dense)
