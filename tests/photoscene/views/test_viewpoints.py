"""Do viewpoints have all objects in the image, upright, and from the side that their name says?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from photoscene.views.viewpoints import (
    DIRECTIONS,
    Direction,
    around,
    direction_of,
    photo_viewpoint,
)
from scene.cameras import project
from scene.errors import BadInput
from scene.types import Camera, Float64

CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
TWO_CUBES = np.concatenate([CORNERS * 0.5 + [-0.8, 0.2, 3], CORNERS * 0.25 + [1.5, -0.5, 6]])
SIZE = (120, 90)


def in_view(view: Float64, point: Float64 | tuple[float, ...]) -> Float64:
    """(3,) or (N, 3) points of the scene in the viewer's frame."""
    return np.asarray(point) @ view[:3, :3].T + view[:3, 3]


@pytest.mark.parametrize("azimuth", [-170, -35, 0, 35, 90])
@pytest.mark.parametrize("elevation", [-20, 0, 30, 90])
def test_all_points_are_in_the_image_and_fill_it(azimuth: float, elevation: float) -> None:
    found = around(TWO_CUBES, [Direction(azimuth, elevation)], SIZE)[0]
    points = in_view(found.view_from_scene, TWO_CUBES)
    pixels, size = project(found.camera, points), np.array(SIZE)
    assert (points[:, 2] > 0).all() and (pixels > 0).all() and (pixels < size).all()
    assert (np.ptp(pixels, axis=0) / size).max() > 0.85
    rotation = found.view_from_scene[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0


def test_names_say_where_the_viewer_stands() -> None:
    cube = CORNERS + [0, 0, 5]
    where = {
        name: np.linalg.inv(around(cube, [d], SIZE)[0].view_from_scene)[:3, 3] - [0, 0, 5]
        for name, d in DIRECTIONS.items()
    }
    for name, axis, sign in (("front", 2, -1), ("back", 2, 1), ("left", 0, -1), ("right", 0, 1),
                             ("top", 1, -1)):  # fmt: skip
        assert np.sign(where[name][axis]) == sign and np.abs(where[name]).argmax() == axis
    right, above, toward = where["three-quarter"] * [1, -1, -1]
    assert toward > right > above > 0


@pytest.mark.parametrize("azimuth", [-35, 35])
def test_the_scene_stands_upright_however_the_photo_was_taken(azimuth: float) -> None:
    pitch, roll = math.radians(25), math.radians(10)
    up = np.array([math.sin(roll), -math.cos(roll) * math.cos(pitch), -math.sin(pitch)])
    upright = around(TWO_CUBES, [Direction(azimuth, 12)], SIZE, up)[0].view_from_scene[:3, :3] @ up
    assert abs(upright[0]) < 1e-12 and upright[1] < 0
    tilted = around(TWO_CUBES, [Direction(azimuth, 12)], SIZE)[0].view_from_scene[:3, :3] @ up
    assert abs(tilted[0]) > 0.05  # so the figure above can fail


def test_all_views_of_a_rotation_have_one_camera() -> None:
    views = around(TWO_CUBES, [Direction(a, 25) for a in range(0, 360, 45)], SIZE)
    assert len({view.camera for view in views}) == 1
    for view in views:
        pixels = project(view.camera, in_view(view.view_from_scene, TWO_CUBES))
        assert (pixels > 0).all() and (pixels < SIZE).all()


def test_the_photos_view_keeps_all_of_the_photo() -> None:
    camera = Camera(100, 50, 80, 90, 48, 26)
    wide = photo_viewpoint(camera, (400, 100)).camera
    corner = project(wide, np.array([[-48 / 80, -26 / 90, 1], [52 / 80, 24 / 90, 1]]))
    np.testing.assert_allclose(corner, [[100, 0], [300, 100]], atol=1e-9)


@pytest.mark.parametrize("view", ["above", "10", "10,20,30", "400,0", "0,95", "a,b", ""])
def test_other_views_are_refused(view: str) -> None:
    with pytest.raises(BadInput, match="three-quarter, or AZIMUTH,ELEVATION"):
        direction_of(view)
    assert direction_of("-35.5, 20") == Direction(-35.5, 20)
