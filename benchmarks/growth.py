"""How the time to place grows with the number of objects, ray casting apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import alignment.contacts
import alignment.visible
from alignment.objects import Placement, PlacementInput
from alignment.visible import MAX_POINTS, generator_distance
from scene.cameras import OBJECT_FRAMING, camera_from_fov, look_at_pixels
from scene.raycast import cast
from scene.types import Camera, CropCamera, Float64, ObjectMesh, PointMap
from stages import place
from stages.place import pixel_aligned

COUNTS = (10, 25, 50, 100, 200, 500)
CELL_PX = 150  # side of an object's part of the photo
FOV_RAD, TILT_RAD = math.radians(30), math.radians(30)  # of the camera; of the plane against it
NOISE = 0.03
CAMERA_HEIGHT = 1.0
FILLED = 0.75  # share of the photo's width that the rows take in their middle


def growth_table() -> str:
    """Seconds per number of objects: casting, all else, and all else per object."""
    lines = [
        "| objects | points each, least | casting, s | all else, s | all else per object, ms |",
        "|---|---|---|---|---|",
    ]
    for count in COUNTS:
        objects, point_map = crowd(count)
        with timed_casting() as spent:
            started = time.perf_counter()
            placed = place.run(
                pixel_aligned.load(pixel_aligned.Settings(), "cpu"), objects, point_map,
                [o.mask for o in objects],
            )  # fmt: skip
            total = time.perf_counter() - started
        casting = sum(spent)
        points = min(_points(p) for p in placed.placements)
        rest = total - casting
        lines.append(
            f"| {count} | {points} | {casting:.2f} | {rest:.2f} | {1000 * rest / count:.1f} |"
        )
    return "\n".join(lines)


def crowd(count: int) -> tuple[list[PlacementInput], PointMap]:
    """Boxes in rows on a plane that tilts away, each seen by more than MAX_POINTS pixels."""
    across = math.ceil(math.sqrt(count))
    side = across * CELL_PX
    camera = camera_from_fov(side, side, FOV_RAD)
    step = FILLED * CAMERA_HEIGHT * side / camera.fx_px / across
    random = np.random.default_rng(0)
    meshes = [_box(k % across, k // across, across, step, random) for k in range(count)]
    rays = alignment.visible.rays_of(camera, (slice(0, side), slice(0, side))).reshape(-1, 3)
    # The plane through (0, 0, CAMERA_HEIGHT), turned about x: its far side is up in the photo.
    slope = rays[:, 2] + rays[:, 1] * math.tan(TILT_RAD)
    plane = (CAMERA_HEIGHT / slope).reshape(side, side)
    hits = cast([(v, BOX_FACES) for v in meshes], np.zeros(3), rays)
    owner = hits.object.reshape(side, side)
    depth = np.where(owner >= 0, hits.distance.reshape(side, side), plane)
    depth = depth * (1 + NOISE * random.standard_normal(depth.shape))
    objects = [_placement_input(v, owner == k, camera) for k, v in enumerate(meshes)]
    return objects, PointMap(depth.astype(np.float32), camera)


@contextmanager
def timed_casting() -> Iterator[list[float]]:
    """Collects the seconds that placing spends in ray casting."""
    spent: list[float] = []
    places = [(alignment.visible, "cast"), (alignment.contacts, "cast_through")]
    before = [getattr(module, name) for module, name in places]
    try:
        for (module, name), function in zip(places, before, strict=True):
            setattr(module, name, _timed(function, spent))
        yield spent
    finally:
        for (module, name), function in zip(places, before, strict=True):
            setattr(module, name, function)


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments)
        spent.append(time.perf_counter() - started)
        return result

    return timed


BOX_FACES = np.array(
    [(0, 3, 2), (0, 1, 3), (4, 7, 5), (4, 6, 7), (0, 5, 1), (0, 4, 5), (2, 7, 6), (2, 3, 7),
     (0, 6, 4), (0, 2, 6), (1, 7, 3), (1, 5, 7)], np.int32,
)  # fmt: skip


def _box(column: int, row: int, across: int, step: float, random: np.random.Generator) -> Float64:
    """(8, 3) corners of a box on the plane in its part of the grid, camera's frame."""
    low = np.array([column - across / 2 + 0.06, row - across / 2 + 0.06]) * step
    high = low + 0.82 * step
    top = CAMERA_HEIGHT - random.uniform(0.1, 0.3) * step
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1])
                        for z in (top, CAMERA_HEIGHT)])  # fmt: skip
    sin, cos = math.sin(TILT_RAD), math.cos(TILT_RAD)
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    middle = np.array([0, 0, CAMERA_HEIGHT])
    return (corners - middle) @ turn.T + middle


def _placement_input(vertices: Float64, mask: np.ndarray, camera: Camera) -> PlacementInput:
    crop: CropCamera = look_at_pixels(camera, mask, OBJECT_FRAMING)
    turned = vertices @ crop.photo_from_crop
    distance = generator_distance(crop)
    cube = turned * (distance / turned[:, 2].mean()) - [0, 0, distance]
    mesh = ObjectMesh(cube.astype(np.float32), BOX_FACES, np.zeros((8, 2), np.float32),
                      np.zeros((1, 1, 3), np.uint8))  # fmt: skip
    return PlacementInput(mesh, crop, mask, np.zeros_like(mask))


def _points(placement: Placement) -> int:
    if placement.fit is None:
        raise RuntimeError(f"an object of the crowd was not placed: {placement.failure}")
    return min(placement.fit.points, MAX_POINTS)
