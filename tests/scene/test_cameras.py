"""Cameras: round trips, the crop homography, and the antialiased warp."""

import math

import numpy as np
import pytest

from scene import cameras
from scene.types import Camera, PointMap

CAMERA = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)


def test_project_inverts_unproject() -> None:
    pixels = np.random.default_rng(0).uniform(0, 480, (50, 2))
    depth = np.random.default_rng(1).uniform(0.5, 9, (50, 1))
    points = cameras.unproject(CAMERA, pixels) * depth
    np.testing.assert_allclose(cameras.project(CAMERA, points), pixels, atol=1e-9)


def test_points_of_lie_on_their_pixels() -> None:
    point_map = PointMap(np.full((480, 640), 2.0, np.float32), CAMERA)
    pixels = cameras.project(CAMERA, cameras.points_of(point_map))
    np.testing.assert_allclose(pixels, cameras.pixel_centres(640, 480), atol=1e-9)


def test_normalized_intrinsics_round_trip_and_resize() -> None:
    normalized = cameras.normalized_intrinsics(CAMERA)
    assert cameras.camera_from_normalized(640, 480, normalized) == CAMERA
    half = cameras.resize_camera(CAMERA, 320, 240)
    assert half.fx_px == pytest.approx(250) and half.cy_px == pytest.approx(121)


def test_field_of_view_round_trip_and_range() -> None:
    camera = cameras.camera_from_fov(800, 600, math.radians(60))
    assert math.degrees(camera.fov_x_rad) == pytest.approx(60)
    with pytest.raises(ValueError, match="180"):
        cameras.camera_from_fov(800, 600, math.pi)


def test_exif_focal_length_is_compared_by_diagonal() -> None:
    camera = cameras.camera_from_focal_35mm(3600, 2400, 36.0)
    assert camera.fx_px == pytest.approx(3600)  # 36 mm on a 36 mm wide frame: focal equals width


@pytest.mark.parametrize(
    "K", [np.eye(2), np.diag([-1.0, 1, 1]), np.array([[500, 40, 320], [0, 500, 240], [0, 0, 1.0]])]
)
def test_impossible_camera_matrices_are_refused(K: np.ndarray) -> None:
    with pytest.raises(ValueError):
        cameras.camera_from_matrix(640, 480, K)


def test_rotation_to_is_a_rotation_onto_the_direction() -> None:
    for direction in ([0, 0, 1.0], [0.4, -0.2, 0.9], [-1, 1, 0.3]):
        rotation = cameras.rotation_to(np.array(direction))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        unit = np.array(direction) / np.linalg.norm(direction)
        np.testing.assert_allclose(rotation[:, 2], unit, atol=1e-12)


def _corner_mask() -> np.ndarray:
    inside = np.zeros((480, 640), bool)
    inside[40:120, 500:620] = True
    return inside


def test_crop_homography_agrees_with_three_dimensional_projection() -> None:
    crop = cameras.look_at_pixels(CAMERA, _corner_mask(), 1.1)
    points = np.random.default_rng(2).uniform([0.4, -0.9, 2], [1.2, -0.3, 5], (40, 3))
    photo_px = cameras.project(CAMERA, points)
    crop_px = cameras.project(crop.camera, points @ crop.photo_from_crop)
    homogeneous = np.c_[photo_px, np.ones(40)] @ cameras.crop_from_photo(CAMERA, crop).T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], crop_px, atol=1e-9)


def test_crop_is_centred_and_framed() -> None:
    inside = _corner_mask()
    crop = cameras.look_at_pixels(CAMERA, inside, 1.1)
    rows, cols = np.nonzero(inside)
    corners = np.concatenate(
        [np.stack([cols + dx, rows + dy], -1) for dx in (0, 1) for dy in (0, 1)]
    )
    homogeneous = np.c_[corners, np.ones(len(corners))] @ cameras.crop_from_photo(CAMERA, crop).T
    pixels = homogeneous[:, :2] / homogeneous[:, 2:]
    side = crop.camera.width
    np.testing.assert_allclose((pixels.min(0) + pixels.max(0)) / 2, side / 2, atol=1e-3)
    assert (pixels.max(0) - pixels.min(0)).max() == pytest.approx(side / 1.1, abs=0.01)
    assert side % cameras.CROP_SIDE_MULTIPLE_PX == 0


def test_an_empty_mask_has_no_crop() -> None:
    with pytest.raises(ValueError, match="empty"):
        cameras.look_at_pixels(CAMERA, np.zeros((480, 640), bool), 1.1)


def test_warp_keeps_positions_to_a_fraction_of_a_pixel() -> None:
    """A blob's centre of mass lands where the homography sends it."""
    v, u = np.mgrid[:480, :640] + 0.5
    blob = np.exp(-((u - 560) ** 2 + (v - 80) ** 2) / (2 * 3.0**2)).astype(np.float32)
    crop = cameras.look_at_pixels(CAMERA, _corner_mask(), 1.1)
    side = crop.camera.width
    homography = cameras.crop_from_photo(CAMERA, crop)
    warped = cameras.warp(blob, homography, side).astype(np.float64)
    y, x = np.mgrid[:side, :side] + 0.5
    found = np.array([(warped * x).sum(), (warped * y).sum()]) / warped.sum()
    expected = homography @ [560, 80, 1]
    np.testing.assert_allclose(found, expected[:2] / expected[2], atol=0.15)


def test_warp_averages_when_it_shrinks() -> None:
    checks = (np.indices((512, 512)).sum(0) % 2).astype(np.float32)
    small = cameras.warp(checks, np.diag([1 / 4, 1 / 4, 1.0]), 128)
    np.testing.assert_allclose(small[8:-8, 8:-8], 0.5, atol=0.02)


def test_warped_colours_do_not_bleed_from_transparent_pixels() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., :3] = (0, 255, 0)
    rgba[16:48, 16:48] = (255, 0, 0, 255)
    out = cameras.warp_rgba(rgba, np.array([[0.7, 0, 3.3], [0, 0.7, 2.1], [0, 0, 1]]), 48)
    shown = out[out[..., 3] > 20]
    assert (shown[:, 0] > 250).all() and (shown[:, 1] < 5).all()
