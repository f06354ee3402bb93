"""Do the report's pictures from new viewpoints stand upright by the direction they are given?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photoscene.report import rendered_views
from photoscene.report.rendered_views import points_from_above, rotated_points, turntable
from photoscene.report.viewer_model import light_object
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.glb import object_from_glb
from scene.types import Bool, Float64, Material, ObjectMesh, Photo, PointMap, Uint8
from support.shapes import box_mesh

CAMERA = camera_from_fov(80, 60, 1.0)
RED = Photo(np.full((60, 80, 3), (255, 0, 0), np.uint8))
PITCH_RAD = 0.4
UP = np.array([0, -np.cos(PITCH_RAD), -np.sin(PITCH_RAD)])
AHEAD = np.array([0, -np.sin(PITCH_RAD), np.cos(PITCH_RAD)])


def test_stills_of_a_tilted_object_are_upright() -> None:
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = np.array(
        [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
         (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)], np.int32,
    )  # fmt: skip
    grey = np.full((2, 2, 3), 128, np.uint8)
    box = ObjectMesh(
        (corners * [0.2, 0.5, 0.1]).astype(np.float32), faces, np.zeros((8, 2), np.float32), grey
    )
    turn = np.stack([[1, 0, 0], -UP, AHEAD]).T  # takes -y to UP and z to AHEAD
    tilted = replace(box, vertices=(box.vertices @ turn.T).astype(np.float32))
    upright = _opaque(turntable(box, 96))
    assert _overlap(_opaque(turntable(tilted, 96, UP)), upright) > 0.98
    assert _overlap(_opaque(turntable(tilted, 96)), upright) < 0.9  # so the figure above can fail


def test_what_is_see_through_is_drawn_so_and_from_behind_as_well() -> None:
    glass = Material(np.full((8, 8), 80, np.uint8), double_sided=True)
    pane = replace(box_mesh((-0.4, -0.4, -0.01), (0.4, 0.4, 0.01)), material=glass)
    alpha = turntable(pane, 64)[20:44, 20:44, 3]  # of the first view: two faces, front and back
    assert abs(int(np.median(alpha)) - 135) <= 2
    material = object_from_glb(light_object(pane, 100_000)).material
    assert material.alpha is not None and material.alpha.max() == 80 and material.double_sided


def test_a_wall_is_a_line_in_the_plan_of_a_tilted_camera() -> None:
    wall = _plane(AHEAD, 3)
    by_plane, by_camera = (
        np.ptp(np.nonzero(_red(points_from_above(wall, RED, up)))[0]) for up in (UP, None)
    )
    assert by_plane < 0.1 * by_camera


def test_a_pole_stays_vertical_when_the_viewer_walks_around() -> None:
    pole = _plane(AHEAD, 3)
    pole.depth[:, :39] = pole.depth[:, 41:] = np.nan
    red = _red(rotated_points(pole, RED, UP))
    assert np.ptp(np.nonzero(red)[1]) < 0.1 * np.ptp(np.nonzero(red)[0])
    slanted = _red(rotated_points(pole, RED))
    assert np.ptp(np.nonzero(slanted)[1]) > 0.15 * np.ptp(np.nonzero(slanted)[0])


def _plane(normal: Float64, distance: float) -> PointMap:
    """The points X with normal . X = distance, unknown where a ray does not meet them."""
    slope = unproject(CAMERA, pixel_centres(CAMERA.width, CAMERA.height)) @ normal
    depth = np.where(slope > 0.05, distance / np.maximum(slope, 0.05), np.nan)
    return PointMap(depth.astype(np.float32), CAMERA)


def _red(picture: Uint8) -> Bool:
    """(H, W) where the points were drawn."""
    return (picture[..., 0] > 150) & (picture[..., 1] < 100)


def _opaque(picture: Uint8) -> Bool:
    return picture[..., 3] > 127


def _overlap(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("dot_px", [2, 3, 12])
def test_points_are_drawn_as_one_square_after_the_other(dot_px: int) -> None:
    random = np.random.default_rng(dot_px)
    image = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    at = random.integers(12, [68, 48], (500, 2))
    colours = random.integers(0, 256, (500, 3), dtype=np.uint8)
    canvas = rendered_views._packed(image)
    rendered_views._write(canvas, at, rendered_views._packed(colours), dot_px)
    for dy in np.arange(dot_px) - dot_px // 2:
        for dx in np.arange(dot_px) - dot_px // 2:
            for (x, y), colour in zip(at + [dx, dy], colours, strict=True):
                image[y, x] = colour
    np.testing.assert_array_equal(canvas, rendered_views._packed(image))
