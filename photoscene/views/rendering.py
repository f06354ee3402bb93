"""Images of a reconstructed scene, or of one of its objects: named views and turntables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from photoscene.views.studio import Studio, over
from photoscene.views.viewpoints import (
    CAMERA,
    Direction,
    around,
    direction_of,
    photo_viewpoint,
)
from scene.placed import PlacedMesh
from scene.types import Camera, Float64, Scene, Uint8

TURNTABLE_ELEVATION_DEG = 25.0
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Stage:
    """Objects that are lit and ready to be drawn; points (N, 3) of them in the camera frame, the
    photo's camera, and up (3,) in its frame, None where nothing is known of it."""

    studio: Studio
    points: Float64
    camera: Camera
    up: Float64 | None


def stage_of(scene: Scene, placed: Sequence[PlacedMesh]) -> Stage:
    """The placed objects of a scene, or some of them.

    They stand on the support plane if all are given and there is one, else on their lowest point.
    """
    if scene.camera is None or not placed:
        raise ValueError("no placed object to draw")
    world = scene.world_from_camera
    up = None if world is None else world[2, :3]
    whole = len(placed) == sum(o.camera_from_object is not None for o in scene.objects)
    ground = float(world[2, 3]) if world is not None and whole else None
    studio = Studio([(o.mesh, o.camera_from_object) for o in placed], up, ground=ground)
    points = np.concatenate([o.camera_vertices for o in placed])
    return Stage(studio, points, scene.camera, up)


def image_from(
    stage: Stage, direction: Direction, size: tuple[int, int], background: Colour | None
) -> Uint8:
    """(H, W, 3) of all objects from a side; (H, W, 4) where the background is None."""
    viewpoint = around(stage.points, [direction], size, stage.up)[0]
    return _before(stage.studio.draw(viewpoint), background)


def still(stage: Stage, view: str, size: tuple[int, int], background: Colour | None) -> Uint8:
    """(H, W, 3) of a view's name or angles; (H, W, 4) where the background is None."""
    if view != CAMERA:
        return image_from(stage, direction_of(view), size, background)
    return _before(stage.studio.draw(photo_viewpoint(stage.camera, size)), background)


def turntable(
    stage: Stage, frames: int, size: tuple[int, int], background: Colour | None
) -> Iterator[Uint8]:
    """One turn around the objects, as `still`; the viewer walks to the right."""
    angles = [Direction(360 * i / frames, TURNTABLE_ELEVATION_DEG) for i in range(frames)]
    for viewpoint in around(stage.points, angles, size, stage.up):
        yield _before(stage.studio.draw(viewpoint), background)


def _before(rgba: Uint8, background: Colour | None) -> Uint8:
    return rgba if background is None else over(rgba, background)
