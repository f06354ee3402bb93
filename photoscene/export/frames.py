"""In which axes, unit and about which origin is a scene exported?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scene.errors import BadInput
from scene.frames import GLTF_FROM_CAMERA
from scene.types import Float64, Similarity

CAMERA, WORLD = "camera", "world"
FRAMES, ORIGINS, UPS = (CAMERA, WORLD), ("camera", "floor", "object"), ("y", "z")
Z_UP_FROM_Y_UP: Float64 = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
UP_AXIS = {"y": 1, "z": 2}


def rotation_from_camera(frame: str, up: str, world_from_camera: Float64 | None) -> Float64:
    """(3, 3) from the photo camera's axes: x right, then up, as the frame has it, along `up`.

    BadInput where the upright frame is asked for and not known.
    """
    if frame == CAMERA:
        y_up = GLTF_FROM_CAMERA
    elif world_from_camera is None:
        raise BadInput(
            "--frame world: the run found no support plane, so what is upright is not known: "
            "use --frame camera"
        )
    else:
        y_up = Z_UP_FROM_Y_UP.T @ world_from_camera[:3, :3]
    return y_up if up == "y" else Z_UP_FROM_Y_UP @ y_up


def floor_point(world_from_camera: Float64 | None) -> Float64:
    """(3,) the point of the support plane straight below the camera, in the camera frame."""
    if world_from_camera is None:
        raise BadInput(
            "--origin floor: the run found no support plane: use --origin camera or object"
        )
    rotation, translation = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return -rotation.T @ translation


def base_centre(vertices: Sequence[Float64], up: str) -> Float64:
    """(3,) the centre of the lower side of the box about vertices, each (N, 3)."""
    low = np.min([v.min(axis=0) for v in vertices], axis=0)
    high = np.max([v.max(axis=0) for v in vertices], axis=0)
    centre = (low + high) / 2
    centre[UP_AXIS[up]] = low[UP_AXIS[up]]
    return centre


def file_from_camera(rotation: Float64, scale: float, origin: Float64) -> Similarity:
    """The similarity that moves origin (3,), a point of the camera frame, to zero."""
    return Similarity(scale, rotation, -scale * rotation @ origin)
