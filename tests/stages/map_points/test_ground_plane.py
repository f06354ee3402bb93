"""Does the ground-plane point map recover scenes whose geometry is known?"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scene.types import Bool, Camera, Float64, Mask, Photo
from stages.map_points import ground_plane
from stages.map_points.ground_plane import Settings
from stages.map_points.shared import pitch

SIZE = 240
CAMERA = Camera(SIZE, SIZE, 260.0, 260.0, SIZE / 2, SIZE / 2)


def project(points: Float64, pitch_rad: float) -> Float64:
    """(N, 2) pixels of (N, 3) points: right, forward, up; the camera is 1 above the ground."""
    right, forward, up = points.T
    sin, cos = np.sin(pitch_rad), np.cos(pitch_rad)
    y = (1 - up) * cos - forward * sin
    z = (1 - up) * sin + forward * cos
    x_px = CAMERA.fx_px * right / z + CAMERA.cx_px
    return np.stack([x_px, CAMERA.fy_px * y / z + CAMERA.cy_px], 1)


def box(centre: float, near: float, width: float, depth: float, height: float) -> Float64:
    """(8, 3) corners of a box that faces the camera."""
    sides = (centre - width / 2, centre + width / 2)
    return np.array([(x, y, z) for x in sides for y in (near, near + depth) for z in (0.0, height)])


def outline(points: Float64, pitch_rad: float) -> Bool:
    """(SIZE, SIZE) bool convex silhouette of some points."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    hull = cv2.convexHull(np.round(project(points, pitch_rad) - 0.5).astype(np.int32))
    return cv2.fillConvexPoly(canvas, hull, 1).astype(bool)


def blank() -> Photo:
    return Photo(np.full((SIZE, SIZE, 3), 128, np.uint8))


def depth_of(masks: list[Bool], settings: Settings, camera: Camera | None = CAMERA) -> Float64:
    backend = ground_plane.load(settings, "cpu")
    result = backend.map_points(blank(), camera, tuple(Mask(m) for m in masks), None)
    assert result.depth.dtype == np.float32
    assert result.depth.shape == (SIZE, SIZE)
    assert np.isfinite(result.depth).all() and (result.depth > 0).all()
    return result.depth.astype(np.float64)


def test_bare_ground_is_a_plane_below_the_camera() -> None:
    depth = depth_of([], Settings(pitch_deg=35.0, camera_height=2.0))
    y = (np.arange(SIZE) + 0.5 - CAMERA.cy_px) / CAMERA.fy_px
    below = depth * (y * np.cos(np.radians(35.0)) + np.sin(np.radians(35.0)))[:, None]
    np.testing.assert_allclose(below[SIZE // 2 :], 2.0, rtol=1e-5)


@pytest.mark.parametrize("pitch_deg", [15.0, 30.0, 45.0])
def test_upright_box_front_is_at_its_distance(pitch_deg: float) -> None:
    pitch = np.radians(pitch_deg)
    corners = box(0.0, 1.5, 0.4, 0.2, 0.4)
    depth = depth_of([outline(corners, pitch)], Settings(pitch_deg=pitch_deg))
    row = int(project(np.array([[0.0, 1.5, 0.1]]), pitch)[0, 1])
    y = (row + 0.5 - CAMERA.cy_px) / CAMERA.fy_px
    expected = 1.5 / (np.cos(pitch) - y * np.sin(pitch))
    assert depth[row, SIZE // 2] == pytest.approx(expected, rel=0.03)


def test_flat_round_object_lies_on_the_ground() -> None:
    pitch = np.radians(40.0)
    angle = np.linspace(0, 2 * np.pi, 60)
    disc = np.stack([0.4 * np.cos(angle), 1.3 + 0.4 * np.sin(angle), np.zeros(60)], 1)
    mask = outline(disc, pitch)
    settings = Settings(pitch_deg=40.0)
    error = depth_of([mask], settings)[mask] / depth_of([], settings)[mask] - 1
    assert np.abs(error).mean() < 0.03


def test_hidden_object_is_behind_its_occluder() -> None:
    pitch = np.radians(20.0)
    near = outline(box(0.0, 1.5, 0.8, 0.3, 0.4), pitch)
    far = outline(box(0.0, 2.2, 0.4, 0.2, 0.8), pitch) & ~near
    depth = depth_of([far, near], Settings(pitch_deg=20.0))
    assert depth[far].min() > np.median(depth[near])
    # Its foot is 2.2 away, hidden by what ends at 1.8, which a block guesses.
    row = np.flatnonzero(far.any(axis=1))[-1]
    y = (row + 0.5 - CAMERA.cy_px) / CAMERA.fy_px
    distance = depth_of_feet(depth, far) * (np.cos(pitch) - y * np.sin(pitch))
    assert 1.9 < distance < 3.0


def test_object_on_another_is_not_behind_it() -> None:
    pitch = np.radians(15.0)
    upper = outline(box(0.0, 1.8, 0.3, 0.2, 0.3) + np.array([0, 0, 0.3]), pitch)
    lower = outline(box(0.0, 1.5, 0.8, 0.8, 0.3), pitch) & ~upper
    depth = depth_of([upper, lower], Settings(pitch_deg=15.0))
    assert 1.5 < np.median(depth[upper]) < 2.2


def animal(distance: float, height: float, pitch: float) -> Bool:
    """(SIZE, SIZE) a body with a snout on two legs."""
    parts = [
        box(0.0, distance, 0.5, 0.15, 0.15) + np.array([0, 0, height + 0.2]),
        box(0.3, distance, 0.4, 0.1, 0.1) + np.array([0, 0, height + 0.3]),
        box(-0.2, distance, 0.06, 0.1, 0.25) + np.array([0, 0, height]),
        box(0.2, distance, 0.06, 0.1, 0.25) + np.array([0, 0, height]),
    ]
    return np.any([outline(part, pitch) for part in parts], axis=0)


def depth_of_feet(depth: Float64, mask: Bool) -> float:
    """Median of the lowest rows' depth."""
    lowest = np.flatnonzero(mask.any(axis=1))[-4:]
    return float(np.median(depth[lowest][mask[lowest]]))


def test_what_stands_on_another_at_eye_level_is_there_although_it_hangs_over() -> None:
    pitch = np.radians(8.0)
    lower = outline(box(-0.1, 1.8, 0.5, 0.3, 0.6), pitch)
    upper = animal(1.9, 0.6, pitch) & ~lower
    depth = depth_of([upper, lower], Settings(pitch_deg=8.0))
    assert 1.8 < depth_of_feet(depth, upper) < 2.2


def test_legs_that_end_behind_another_object_stand_on_the_ground_there() -> None:
    pitch = np.radians(25.0)
    lower = outline(box(-0.25, 1.6, 0.12, 0.1, 0.1), pitch)
    upper = animal(2.4, 0.0, pitch) & ~lower
    depth = depth_of([upper, lower], Settings(pitch_deg=25.0))
    assert 2.3 < depth_of_feet(depth, upper) < 2.7


@pytest.mark.parametrize("pitch_deg", [20.0, 45.0])
def test_round_rim_tells_the_pitch(pitch_deg: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    disc = np.stack([0.3 * np.cos(angle), 1.4 + 0.3 * np.sin(angle), np.zeros(200)], 1)
    found = pitch.rim_pitch_deg(outline(disc, np.radians(pitch_deg)), CAMERA)
    assert found == pytest.approx(pitch_deg, abs=4.0)


@pytest.mark.parametrize("pitch_deg", [10.0, 30.0, 50.0])
def test_upright_edges_tell_the_pitch(pitch_deg: float) -> None:
    feet = np.array([(x, y, 0.0) for x in (-0.4, -0.2, 0.2, 0.4) for y in (1.2, 1.6)])
    segments = np.hstack(
        [project(end, np.radians(pitch_deg)) for end in (feet + [0, 0, 0.3], feet)]
    )
    score = pitch.edge_score(segments, CAMERA)
    found = pitch.PITCH_GRID_DEG[score.argmax()]
    assert found == pytest.approx(pitch_deg, abs=0.5)


def test_unknown_camera_is_said_in_the_notes() -> None:
    backend = ground_plane.load(Settings(fov_x_deg=60.0), "cpu")
    result = backend.map_points(blank(), None, (), None)
    assert np.degrees(result.camera.fov_x_rad) == pytest.approx(60.0)
    assert not result.metric
    assert any("field of view assumed: 60" in note for note in result.notes)
    assert any("pitch 25.0" in note for note in result.notes)


def test_objects_above_the_horizon_stay_finite() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:60, 100:140] = True
    assert depth_of([mask, np.zeros_like(mask)], Settings(pitch_deg=0.0)).max() < 1000


def test_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="mask is"):
        depth_of([np.ones((10, 10), bool)], Settings())
