"""Do the gallery's turned views keep the objects in sight and upright?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gallery import Placed, main, orbited_view
from scene.cameras import project
from scene.raycast import render
from scene.types import Camera, Float64, ObjectMesh

CAMERA = Camera(120, 90, 110.0, 110.0, 60.0, 45.0)
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
FACES = np.array(
    [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
     (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)], np.int32,
)  # fmt: skip


def cube(centre: tuple[float, float, float], side: float) -> tuple[ObjectMesh, Float64]:
    """A white cube in the camera frame."""
    vertices = CORNERS * side / 2 + np.array(centre)
    white = np.full((2, 2, 3), 255, np.uint8)
    mesh = ObjectMesh(vertices.astype(np.float32), FACES, np.zeros((8, 2), np.float32), white)
    return mesh, vertices


def in_view(view: Float64, point: tuple[float, float, float]) -> Float64:
    """(3,) a point of the scene in the turned camera's frame."""
    return view[:3, :3] @ np.array(point) + view[:3, 3]


@pytest.mark.parametrize("yaw_deg", [-170, -35, 0, 35, 90])
@pytest.mark.parametrize("pitch_deg", [-20, 0, 30, 80])
def test_turned_view_keeps_all_objects_in_the_picture(yaw_deg: float, pitch_deg: float) -> None:
    placed: Placed = [cube((-0.8, 0.2, 3), 1), cube((1.5, -0.5, 6), 0.5)]
    view, camera = orbited_view(placed, CAMERA, math.radians(yaw_deg), math.radians(pitch_deg))
    corners = np.concatenate([v for _, v in placed]) @ view[:3, :3].T + view[:3, 3]
    pixels = project(camera, corners)
    size = np.array([CAMERA.width, CAMERA.height])
    assert (corners[:, 2] > 0).all()
    assert (pixels > 0).all() and (pixels < size).all()
    assert ((pixels.max(0) - pixels.min(0)) / size).max() > 0.9
    np.testing.assert_allclose(view[:3, :3] @ view[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view[:3, :3]) > 0
    assert set(np.unique(render(placed, camera, view)[1])) >= {-1, 0}


def test_turned_view_moves_the_viewer_right_and_up() -> None:
    placed: Placed = [cube((0, 0, 5), 1)]
    view, _ = orbited_view(placed, CAMERA, math.radians(35), math.radians(20))
    viewer = -view[:3, :3].T @ view[:3, 3]
    assert viewer[0] > 0 and viewer[1] < 0
    assert in_view(view, (0, 0, 4))[0] < in_view(view, (0, 0, 6))[0]  # the near end goes left
    assert in_view(view, (0, -1, 5))[1] < in_view(view, (0, 1, 5))[1]


def test_turned_view_refuses_no_objects() -> None:
    with pytest.raises(ValueError, match="no objects"):
        orbited_view([], CAMERA, 0, 0)


@pytest.mark.parametrize("yaw_deg", [-35, 35])
def test_turned_view_stands_upright_whatever_the_camera_did(yaw_deg: float) -> None:
    pitch, roll = math.radians(25), math.radians(10)
    up = np.array([math.sin(roll), -math.cos(roll) * math.cos(pitch), -math.sin(pitch)])
    placed: Placed = [cube((0.3, 0.2, 5), 1)]
    view, _ = orbited_view(placed, CAMERA, math.radians(yaw_deg), math.radians(12), up)
    seen = view[:3, :3] @ up
    assert abs(seen[0]) < 1e-12 and seen[1] < 0  # vertical in the picture, and not upside down
    tilted, _ = orbited_view(placed, CAMERA, math.radians(yaw_deg), math.radians(12))
    assert abs((tilted[:3, :3] @ up)[0]) > 0.05  # so the figure above can fail


def test_without_photos_and_scenes_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert main(["--shared", nowhere, "--data", nowhere, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "data/photos is absent" in said and "nothing drawn" in said
    assert not (tmp_path / "out").exists()
