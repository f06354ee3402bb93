"""The only file with axis-flip matrices: camera (OpenCV), object cube and glTF.

Camera and object frames: x right, y down, z forward. glTF: x right, y up, z backward. Both are
right-handed, so one half turn about x maps either onto the other and it is its own inverse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scene.types import Float64, Similarity

GLTF_FROM_CAMERA: Float64 = np.diag([1.0, -1.0, -1.0])


def gltf_from_opencv(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, 3) points or directions, OpenCV axes -> glTF axes (and back: it is its own inverse)."""
    return points * np.diag(GLTF_FROM_CAMERA).astype(points.dtype)


def gltf_node_from_similarity(camera_from_object: Similarity) -> Float64:
    """(4, 4) matrix of a glTF node whose mesh is stored in glTF axes of the object frame."""
    flip = np.eye(4)
    flip[:3, :3] = GLTF_FROM_CAMERA
    return flip @ camera_from_object.matrix @ flip


def similarity_from_gltf_node(matrix: Float64) -> Similarity:
    """The inverse of `gltf_node_from_similarity`: (4, 4) -> camera_from_object."""
    flip = np.eye(4)
    flip[:3, :3] = GLTF_FROM_CAMERA
    camera_from_object = flip @ matrix @ flip
    scale = float(np.cbrt(np.linalg.det(camera_from_object[:3, :3])))
    return Similarity(scale, camera_from_object[:3, :3] / scale, camera_from_object[:3, 3])
