"""Where does a viewer stand, and with which camera, to have all objects in the image?

Frames have x right, y down, z ahead, as the photo's camera. `up` (3,) is a direction in such a
frame, and None means that nothing better is known than -y.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scene.errors import BadInput
from scene.types import Camera, Float64

CAMERA = "camera"  # the view that is the photo's own
LONG_LENS = 4.5  # distance from the centre over the objects' radius: little foreshortening
FRAMING = 1.12  # image over the objects' extent: the ground around them has shadows


@dataclass(frozen=True)
class Direction:
    """From where something is looked at: azimuth 0 is the photo camera's side and grows to the
    right of it, elevation is above the horizon; degrees."""

    azimuth_deg: float
    elevation_deg: float


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """view_from_scene (4, 4), rigid, and the camera of that view."""

    view_from_scene: Float64
    camera: Camera


DIRECTIONS = {
    "front": Direction(0, 0),
    "left": Direction(-90, 0),
    "right": Direction(90, 0),
    "back": Direction(180, 0),
    "top": Direction(0, 90),
    "three-quarter": Direction(35, 25),
}


def direction_of(view: str) -> Direction:
    """The direction of a name, or of "AZIMUTH,ELEVATION" in degrees; BadInput for anything else."""
    if view in DIRECTIONS:
        return DIRECTIONS[view]
    number = r"\s*([+-]?\d{1,3}(?:\.\d+)?)\s*"
    angles = re.fullmatch(f"{number},{number}", view)
    if angles is None or not (abs(float(angles[1])) <= 360 and abs(float(angles[2])) <= 90):
        names = ", ".join((CAMERA, *DIRECTIONS))
        raise BadInput(
            f"--view {view}: expected {names}, or AZIMUTH,ELEVATION in degrees, as 35,20 "
            "(azimuth -360 to 360, elevation -90 to 90)"
        )
    return Direction(float(angles[1]), float(angles[2]))


def around(
    points: Float64,
    directions: Sequence[Direction],
    size: tuple[int, int],
    up: Float64 | None = None,
    toward_viewer: Float64 | None = None,
    lens: float = LONG_LENS,
    framing: float = FRAMING,
) -> list[Viewpoint]:
    """Viewpoints about the centre of points (N, 3) with one camera, which frames them in all.

    size: (width, height) in pixels; toward_viewer (3,): the direction of azimuth 0, by default to
    the frame's origin, where the photo's camera is.
    """
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max()) or 1.0
    level = facing(up, -centre if toward_viewer is None else toward_viewer)
    views = []
    for direction in directions:
        azimuth, elevation = map(math.radians, (direction.azimuth_deg, direction.elevation_deg))
        view = np.eye(4)
        view[:3, :3] = pitch(elevation) @ yaw(azimuth) @ level
        view[:3, 3] = [0, 0, lens * radius] - view[:3, :3] @ centre
        views.append(view)
    camera = _framing_camera([points @ v[:3, :3].T + v[:3, 3] for v in views], size, framing)
    return [Viewpoint(view, camera) for view in views]


def photo_viewpoint(camera: Camera, size: tuple[int, int]) -> Viewpoint:
    """The photo's own camera with all that it shows in an image of another size in pixels."""
    width, height = size
    scale = min(width / camera.width, height / camera.height)
    left, above = (width - scale * camera.width) / 2, (height - scale * camera.height) / 2
    scaled = Camera(
        width, height, camera.fx_px * scale, camera.fy_px * scale,
        camera.cx_px * scale + left, camera.cy_px * scale + above,
    )  # fmt: skip
    return Viewpoint(np.eye(4), scaled)


def leveled(up: Float64 | None) -> Float64:
    """(3, 3) rotation after which up is -y and what was ahead still is, as far as that goes."""
    return facing(up, np.array([0.0, 0.0, -1.0]))


def facing(up: Float64 | None, toward_viewer: Float64) -> Float64:
    """(3, 3) rotation after which up is -y and toward_viewer (3,) lies on the side of -z."""
    up = np.array([0.0, -1.0, 0.0]) if up is None else up / np.linalg.norm(up)
    ahead = -toward_viewer / np.linalg.norm(toward_viewer)
    ahead = ahead - (ahead @ up) * up
    if np.linalg.norm(ahead) < 1e-6:  # straight from above: the image's top is ahead
        ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up
    if np.linalg.norm(ahead) < 1e-6:
        ahead = np.array([0.0, 0.0, 1.0])
    ahead /= np.linalg.norm(ahead)
    return np.array([np.cross(ahead, up), -up, ahead], np.float64)


def yaw(angle_rad: float) -> Float64:
    """(3, 3) rotation of an object about the vertical: its right side comes to the front."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def pitch(angle_rad: float) -> Float64:
    """(3, 3) rotation of an object towards the viewer: its top comes to the front."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _framing_camera(views: Sequence[Float64], size: tuple[int, int], framing: float) -> Camera:
    """The camera in which the points (N, 3) of every view, in its frame, fill the image."""
    xy = np.concatenate([points[:, :2] / points[:, 2:] for points in views])
    low, high = xy.min(0), xy.max(0)
    pixels = np.array(size)
    focal_px = float((pixels / np.maximum(high - low, 1e-9)).min()) / framing
    principal = pixels / 2 - focal_px * (low + high) / 2
    return Camera(*size, focal_px, focal_px, *principal.tolist())
