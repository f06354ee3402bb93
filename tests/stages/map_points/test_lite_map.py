"""Do the lite map's own parts recover scenes whose geometry is known?"""

from __future__ import annotations

import numpy as np
import pytest

from scene.types import Camera, Float64, Photo
from stages.map_points.lite import camera as cameras
from stages.map_points.lite.camera import Guess, pitch_and_roll_deg, settled_camera, up_from
from stages.map_points.lite.depth import ground_of_cells, scene_depth, weighed_with_blocks
from stages.map_points.lite.network import (
    CELL_PX,
    frame_of,
    log_ground_depth,
    network_grid,
    network_image,
)

SIZES = [(320, 240), (240, 320), (900, 130), (50, 40)]
UP = up_from(40.0, 3.0)


def camera_of(width: int, height: int, focal: float = 1.1) -> Camera:
    longer = max(width, height)
    return Camera(width, height, focal * longer, focal * longer, width / 2, height / 2)


def true_ground(camera: Camera, up: Float64) -> Float64:
    """(H, W) depth of a level plane one unit below the camera; inf above the horizon."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    slopes = (x - camera.cx_px) / camera.fx_px, (y - camera.cy_px) / camera.fy_px
    below = -(up[0] * slopes[0] + up[1] * slopes[1] + up[2])
    return np.where(below > 0, 1 / np.maximum(below, 1e-9), np.inf)


@pytest.mark.parametrize("size", SIZES)
def test_cells_and_pixels_are_of_one_grid(size: tuple[int, int]) -> None:
    width, height = size
    frame = frame_of(width, height)
    x, y = frame.centres()
    assert x.shape == frame.cells
    assert network_grid(frame, None).shape == (5, *frame.cells)
    rows, columns = frame.cells
    image = network_image(np.zeros((height, width, 3), np.uint8), frame)
    assert image.shape == (3, rows * CELL_PX, columns * CELL_PX)
    inside = network_grid(frame, None)[2] > 0
    longer = max(width, height)
    assert np.abs(x[inside]).max() <= 0.5 * width / longer + 1e-6
    assert np.abs(y[inside]).max() <= 0.5 * height / longer + CELL_PX / 256
    known = network_grid(frame, 2.0)
    np.testing.assert_allclose(known[3], x / 2)


@pytest.mark.parametrize("pitch", [-20.0, 0.0, 35.0, 80.0])
@pytest.mark.parametrize("roll", [-9.0, 0.0, 4.0])
def test_pitch_and_roll_come_back(pitch: float, roll: float) -> None:
    up = up_from(pitch, roll)
    np.testing.assert_allclose(np.linalg.norm(up), 1)
    np.testing.assert_allclose(pitch_and_roll_deg(up), (pitch, roll), atol=1e-9)


def test_the_grounds_depth_is_that_of_a_level_plane() -> None:
    camera = camera_of(320, 240)
    truth = true_ground(camera, UP)
    y, x = np.mgrid[:240, :320] + 0.5
    found = np.exp(log_ground_depth(UP, 1.1, (x - 160) / 320, (y - 120) / 320))
    near = truth < 3
    np.testing.assert_allclose(found[near], truth[near], rtol=0.03)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("size", SIZES[:3])
def test_bare_ground_is_exactly_flat_although_the_network_is_a_little_off(
    size: tuple[int, int],
) -> None:
    camera = camera_of(*size)
    frame = frame_of(*size)
    noise = np.random.default_rng(0).uniform(-0.03, 0.03, frame.cells)
    cells = (ground_of_cells(camera, UP, frame) + 0.4 + noise).astype(np.float32)
    depth = scene_depth(camera, UP, cells, np.ones(frame.cells, np.float32), frame, [])
    truth = true_ground(camera, UP)
    near = truth < 3
    np.testing.assert_allclose(depth[near], truth[near], rtol=0.04)


def test_an_objects_depth_ends_at_its_mask() -> None:
    camera, frame = camera_of(320, 240), frame_of(320, 240)
    mask = np.zeros((240, 320), bool)
    mask[90:151, 101:166] = True
    cells = ground_of_cells(camera, UP, frame).copy()
    x, y = frame.centres()
    column, row = (x * 320 + 160).astype(int), (y * 320 + 120).astype(int)
    cells[mask[row.clip(0, 239), column.clip(0, 319)]] = np.log(0.7)
    depth = scene_depth(camera, UP, cells, np.ones(frame.cells, np.float32), frame, [mask])
    np.testing.assert_allclose(depth[mask], 0.7, rtol=0.12)
    assert np.median(np.abs(depth[mask] / 0.7 - 1)) < 1e-3
    truth = true_ground(camera, UP)
    around = ~mask & (truth < 3)
    error = np.abs(depth[around] / truth[around] - 1)
    assert np.percentile(error, 97) < 0.04


def test_the_sky_has_no_depth_but_an_object_before_it_has() -> None:
    camera, frame = camera_of(320, 240), frame_of(320, 240)
    cells = ground_of_cells(camera, UP, frame)
    valid = np.ones(frame.cells, np.float32)
    valid[:20] = -1
    mask = np.zeros((240, 320), bool)
    mask[20:60, 100:150] = True
    depth = scene_depth(camera, UP, cells, valid, frame, [mask])
    assert np.isnan(depth[:40][~mask[:40]]).all()
    assert np.isfinite(depth[mask]).all()
    assert np.isfinite(depth[140:]).all()


def test_a_speck_of_an_object_has_a_depth() -> None:
    camera, frame = camera_of(320, 240), frame_of(320, 240)
    mask = np.zeros((240, 320), bool)
    mask[239, 319] = True
    valid = np.full(frame.cells, -1, np.float32)
    depth = scene_depth(camera, UP, ground_of_cells(camera, UP, frame), valid, frame, [mask])
    assert np.isfinite(depth).sum() == 1


def guess(focal_spread: float, up_spread_rad: float = 0.05) -> Guess:
    return Guess(up_from(30.0, 2.0), up_spread_rad, 0.9, focal_spread)


def photo() -> Photo:
    return Photo(np.full((120, 160, 3), 120, np.uint8))


def test_the_field_of_view_is_the_networks_as_far_as_it_is_sure() -> None:
    sure, words = settled_camera(photo(), None, guess(0.02), 49.0, 0.3)
    np.testing.assert_allclose(sure.fx_px, 0.9 * 160, rtol=0.01)
    assert "read from the photo" in words[0]
    # Of a spread as wide as that of usual photos, the middle of both (of their logarithms).
    half, _ = settled_camera(photo(), None, guess(0.35 / 2**0.5), 49.0, 0.3)
    usual_px = 80 / np.tan(np.radians(49 / 2))
    np.testing.assert_allclose(half.fx_px, np.sqrt(0.9 * 160 * usual_px))
    usual, words = settled_camera(photo(), None, guess(0.5), 49.0, 0.3)
    np.testing.assert_allclose(np.degrees(usual.fov_x_rad), 49.0)
    assert "assumed" in words[0]
    known = camera_of(160, 120)
    assert settled_camera(photo(), known, guess(0.1), 49.0, 0.3) == (known, [])


def test_gravity_is_the_networks_only_where_it_is_sure() -> None:
    args = (photo(), camera_of(160, 120), [])
    up, words = cameras.settled_up(*args, guess(0.1), 25.0, 20.0)
    np.testing.assert_allclose(pitch_and_roll_deg(up), (30.0, 2.0), atol=0.3)
    up, words = cameras.settled_up(*args, guess(0.1, 0.6), 25.0, 20.0)
    np.testing.assert_allclose(pitch_and_roll_deg(up), (25.0, 0.0), atol=1e-6)
    assert "assumed" in words[0]


def test_the_frame_of_a_photo_pads_and_never_crops() -> None:
    for width, height in SIZES:
        frame = frame_of(width, height)
        rows, columns = frame.cells
        assert rows * CELL_PX >= frame.inner_height >= 1
        assert columns * CELL_PX >= frame.inner_width >= 1


def test_objects_are_between_the_networks_word_and_blocks() -> None:
    camera = camera_of(320, 240)
    up = up_from(30.0, 0.0)
    truth = true_ground(camera, up)
    mask = np.zeros((240, 320), bool)
    mask[100:170, 130:180] = True
    foot = truth[169, 155]
    depth = np.where(mask, 2 * foot, truth).astype(np.float32)
    mixed = weighed_with_blocks(depth, camera, up, [mask])
    # An upright front keeps its distance, so its depth is that of its foot but for the slant.
    ratio = np.median(mixed[mask] / foot)
    assert 1.2 < ratio < 1.6
    np.testing.assert_array_equal(mixed[~mask], depth[~mask])
    rolled = up_from(30.0, 8.0)
    np.testing.assert_array_equal(weighed_with_blocks(depth, camera, rolled, [mask]), depth)
    np.testing.assert_array_equal(weighed_with_blocks(depth, camera, up, []), depth)
