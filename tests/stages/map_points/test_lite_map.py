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
    Frame,
    frame_of,
    log_ground_depth,
    network_grid,
    network_image,
)
from stages.map_points.lite.objects import Labels, block_depths, network_labels, object_cells

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


BOARD = 1.9  # horizontal distance of an upright board


def board_seen(up: Float64, focal: float, frame: Frame) -> tuple[Labels, Float64]:
    """Labels (inner_height, inner_width) of an upright board on the ground, and its depths."""
    width, height = frame.inner_width, frame.inner_height
    longer = max(width, height)
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(x - width / 2) / longer / focal, (y - height / 2) / longer / focal,
                     np.ones_like(x)], -1)  # fmt: skip
    level = np.array([0.0, 0.0, 1.0]) - up[2] * up
    level /= np.linalg.norm(level)
    depth = BOARD / np.maximum(rays @ level, 1e-6)
    points = depth[..., None] * rays
    above, across = points @ up + 1, points @ np.cross(level, up)
    board = (above >= 0) & (above < 0.7) & (np.abs(across) < 0.3)
    return board.astype(np.uint8), depth


@pytest.mark.parametrize("roll", [-12.0, 0.0, 9.0])
def test_an_upright_board_stands_where_it_is_in_a_tilted_picture_too(roll: float) -> None:
    frame, up, focal = frame_of(320, 240), up_from(20.0, roll), 1.1
    labels, depth = board_seen(up, focal, frame)
    assert labels.sum() > 500
    found = block_depths(labels, up, focal, frame)
    known = np.isfinite(found)
    assert not known[labels == 0].any()
    assert known.sum() > 0.9 * labels.sum()
    # The lowest row of a mask lies up to a pixel above the foot; a block's front may be curved.
    error = np.abs(found[known] / depth[known] - 1)
    assert np.percentile(error, 90) < 0.03
    assert error.max() < 0.15


def test_cells_show_where_objects_would_stand_and_the_ground_elsewhere() -> None:
    frame, up, focal = frame_of(320, 240), up_from(20.0, 0.0), 1.1
    labels, depth = board_seen(up, focal, frame)
    ground = ground_of_cells(camera_of(320, 240, focal), up, frame)
    level, block, covered, x, y = object_cells(labels, ground, up, focal, frame)
    np.testing.assert_array_equal(level, ground)
    whole = covered == 1
    assert whole.sum() > 20
    centres = depth[2::4, 2::4][: frame.cells[0], : frame.cells[1]]
    error = np.abs(np.exp(block[whole]) / centres[whole] - 1)
    assert np.percentile(error, 90) < 0.03
    np.testing.assert_array_equal(block[covered == 0], ground[covered == 0])
    rows, columns = np.nonzero(whole)
    assert (np.diff(x[rows[0], columns[rows == rows[0]]]) > 0).all()
    assert (np.diff(y[rows[columns == columns[0]], columns[0]]) > 0).all()
    assert max(np.abs(x).max(), np.abs(y).max()) <= 0.5


def test_without_masks_or_sides_only_the_ground_is_told() -> None:
    frame, focal = frame_of(320, 240), 1.1
    ground = ground_of_cells(camera_of(320, 240, focal), UP, frame)
    nothing = np.zeros((frame.inner_height, frame.inner_width), np.uint8)
    cells = object_cells(nothing, ground, UP, focal, frame)
    np.testing.assert_array_equal(cells[1], ground)
    assert not cells[2:].any()
    down = up_from(85.0, 0.0)
    ground = ground_of_cells(camera_of(320, 240, focal), down, frame)
    nothing[80:120, 100:160] = 1
    block = object_cells(nothing, ground, down, focal, frame)[1]
    np.testing.assert_allclose(block, ground, atol=0.01)


def test_small_and_thin_masks_keep_their_labels() -> None:
    frame = frame_of(3200, 2400)
    large, thin = np.zeros((2, 2400, 3200), bool)
    large[100:1000, 100:1000] = True
    thin[1200:2000, 1600:1603] = True
    labels = network_labels([large, thin], frame)
    assert labels.shape == (frame.inner_height, frame.inner_width)
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_allclose((labels == 1).sum(), 900 * 900 * 0.08**2, rtol=0.05)


def test_objects_are_moved_some_way_to_their_blocks() -> None:
    camera, up = camera_of(320, 240), up_from(30.0, 0.0)
    truth = true_ground(camera, up)
    mask = np.zeros((240, 320), bool)
    mask[100:170, 130:180] = True
    foot = truth[169, 155]
    near = np.where(mask, 0.97 * foot, truth).astype(np.float32)
    far = np.where(mask, 4 * foot, truth).astype(np.float32)
    moved = weighed_with_blocks(near, camera, up, [mask])
    # An upright front keeps its distance, so its depth is that of its foot but for the slant.
    assert 0.97 < np.median(moved[168][mask[168]] / foot) < 1.0
    np.testing.assert_array_equal(moved[~mask], near[~mask])
    step = weighed_with_blocks(far, camera, up, [mask])[mask] / far[mask]
    np.testing.assert_allclose(step, np.exp(-0.3 * 0.15), rtol=1e-5)
    np.testing.assert_array_equal(
        weighed_with_blocks(near, camera, up_from(30.0, 8.0), [mask]), near
    )
    np.testing.assert_array_equal(weighed_with_blocks(near, camera, up, []), near)


def test_what_surely_stands_on_another_is_where_that_is() -> None:
    """However far behind the network saw it; what may stand behind the other stays there."""
    camera, up = camera_of(320, 240), up_from(3.0, 0.0)
    truth = true_ground(camera, up)
    lower, upper = np.zeros((2, 240, 320), bool)
    lower[140:200, 100:220] = True
    upper[80:150, 130:190] = True
    lower &= ~upper
    foot = truth[199, 160]
    seen = np.where(lower, foot, np.where(upper, 2 * foot, truth)).astype(np.float32)
    moved = weighed_with_blocks(seen, camera, up, [lower, upper])
    beside = np.median(moved[141:150, 110:125]) / foot
    assert 0.98 < np.median(moved[upper]) / foot / beside < 1.25
    behind = np.roll(upper, 70, axis=1) & ~lower
    seen = np.where(lower, foot, np.where(behind, 2 * foot, truth)).astype(np.float32)
    moved = weighed_with_blocks(seen, camera, up, [lower, behind])
    assert np.median(moved[behind]) / foot > 1.6
