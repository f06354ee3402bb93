"""The two views of an object: exact at any depth, framed, antialiased, occluders cut to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scene.cameras import crop_from_photo, pixel_centres, project, rotation_to, unproject, warp
from scene.errors import BadInput
from scene.types import (
    Bool,
    Camera,
    Completion,
    CropCamera,
    Cutout,
    Mask,
    ObjectCrop,
    Photo,
    PointMap,
)
from stages.crops import context_crop, context_crops, cutout_crop, depth_in_crop, object_crop

CAMERA = Camera(480, 360, 420.0, 400.0, 250.0, 170.0)
CORNER = (slice(20, 80), slice(380, 460))  # 25 degrees off the axis


def _mask(rows: slice, columns: slice, label: str = "") -> Mask:
    pixels = np.zeros((CAMERA.height, CAMERA.width), bool)
    pixels[rows, columns] = True
    return Mask(pixels, label)


def _grey(level: int = 128) -> Photo:
    return Photo(np.full((CAMERA.height, CAMERA.width, 3), level, np.uint8))


def _flat(depth: float = 2.0) -> PointMap:
    return PointMap(np.full((CAMERA.height, CAMERA.width), depth, np.float32), CAMERA, True)


def _box(inside: Bool) -> tuple[int, int, int, int]:
    """First and one past the last True row and column."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("seed", range(3))
def test_photo_and_crop_are_related_by_the_homography_at_any_depth(seed: int) -> None:
    crop = context_crop(_grey(), CAMERA, _mask(*CORNER), []).camera
    random = np.random.default_rng(seed)
    pixels = random.uniform(0, [CAMERA.width, CAMERA.height], (100, 2))
    points = unproject(CAMERA, pixels) * random.uniform(0.3, 30, (100, 1))
    through = np.c_[pixels, np.ones(100)] @ crop_from_photo(CAMERA, crop).T
    seen = project(crop.camera, points @ crop.photo_from_crop)
    np.testing.assert_allclose(through[:, :2] / through[:, 2:], seen, atol=1e-8)


def test_a_crop_off_the_axis_shows_what_a_camera_turned_there_would_see() -> None:
    """A square board square to its own line of sight is 10 % longer than wide in the photo."""
    turn = rotation_to(unproject(CAMERA, np.array([430.0, 50.0])))
    corners = np.array([[-1, -1, 12.0], [1, -1, 12], [1, 1, 12], [-1, 1, 12]]) @ turn.T
    inside = np.ones((CAMERA.height, CAMERA.width), bool)
    pixels, board = pixel_centres(CAMERA.width, CAMERA.height), project(CAMERA, corners)
    for a, b in zip(board, np.roll(board, -1, axis=0), strict=True):
        offset = pixels - a
        inside &= (b - a)[0] * offset[..., 1] - (b - a)[1] * offset[..., 0] > 0
    assert inside.sum() > 1000 and not inside[0].any() and not inside[:, -1].any()
    crop = context_crop(_grey(), CAMERA, Mask(inside), [])
    top, bottom, left, right = _box(crop.rgba[..., 3] > 127)
    assert bottom - top == pytest.approx(right - left, abs=3)
    assert (crop.rgba[top:bottom, left:right, 3] > 127).mean() > 0.97


@pytest.mark.parametrize("place", [CORNER, (slice(100, 250), slice(5, 60))])
def test_a_context_crop_frames_the_mask_one_and_a_half_times(place: tuple[slice, slice]) -> None:
    crop = context_crop(_grey(), CAMERA, _mask(*place), [])
    _assert_framed(crop.rgba[..., 3] > 127, 1.5)


def test_an_object_crop_frames_the_completion_one_and_a_tenth_times() -> None:
    mask = _mask(*CORNER)
    context = context_crop(_grey(), CAMERA, mask, [])
    rgba = context.rgba.copy()
    rgba[60:100, 100:230, 3] = 255  # the completion has added a part on one side
    crop = object_crop(Completion(rgba), context.camera, _flat(), mask)
    _assert_framed(crop.rgba[..., 3] > 127, 1.1)
    assert crop.camera.camera.width % 64 == 0


def _assert_framed(inside: Bool, framing: float) -> None:
    side = len(inside)
    top, bottom, left, right = _box(inside)
    assert top + bottom == pytest.approx(side, abs=3) and left + right == pytest.approx(side, abs=3)
    assert max(bottom - top, right - left) * framing == pytest.approx(side, abs=4)


def test_a_pattern_too_fine_for_the_crop_becomes_its_mean() -> None:
    stripes = np.zeros((96, 96), np.float32)
    stripes[:, ::2] = 1
    quarter = np.diag([0.25, 0.25, 1.0])
    np.testing.assert_allclose(warp(stripes, quarter, 24)[1:-1, 1:-1], 0.5, atol=0.02)
    np.testing.assert_allclose(warp(stripes, np.eye(3), 96), stripes, atol=1e-6)


def test_a_crop_of_a_large_object_is_antialiased() -> None:
    size = 1500
    camera = Camera(size, size, 1500.0, 1500.0, size / 2, size / 2)
    rgb = np.zeros((size, size, 3), np.uint8)
    rgb[::2] = 255
    pixels = np.zeros((size, size), bool)
    pixels[40:1460, 40:1460] = True
    crop = context_crop(Photo(rgb), camera, Mask(pixels), [])
    assert crop.camera.camera.width == 1024
    inner = crop.rgba[300:700, 300:700, 0].astype(float)
    assert inner.mean() == pytest.approx(127.5, abs=2) and inner.std() < 20


def test_what_lies_beyond_the_photo_is_told_apart_from_the_photo() -> None:
    middle = context_crop(_grey(), CAMERA, _mask(slice(150, 200), slice(200, 260)), [])
    assert middle.outside is None and (middle.rgba[..., :3] == 128).all()
    border = context_crop(_grey(), CAMERA, _mask(slice(100, 250), slice(0, 60)), [])
    assert border.outside is not None and 0.05 < border.outside.mean() < 0.5
    assert border.outside[:, 0].all() and not border.outside[:, -1].any()
    assert not (border.outside & (border.rgba[..., 3] > 127)).any()


def test_nearer_objects_are_cut_to_the_crop_and_named_the_largest_first() -> None:
    mask = _mask(slice(150, 210), slice(200, 260))
    small = _mask(slice(205, 215), slice(240, 250), "spoon")
    large = _mask(slice(150, 210), slice(255, 300), "jug")
    far = _mask(slice(0, 20), slice(0, 20), "lamp")
    crop = context_crop(_grey(), CAMERA, mask, [small, far, large])
    assert crop.occluder_labels == ("jug", "spoon")
    expected = context_crop(_grey(), CAMERA, mask, [large, small])
    np.testing.assert_array_equal(crop.occluder, expected.occluder)
    side = crop.camera.camera.width
    there = warp((large.pixels | small.pixels).astype(np.float32),
                 crop_from_photo(CAMERA, crop.camera), side) > 0.5  # fmt: skip
    np.testing.assert_array_equal(crop.occluder, there)
    assert crop.occluder[:, -1].any()  # the jug reaches over the crop's border


def test_only_a_nearer_neighbour_hides_an_object() -> None:
    depth = _flat().depth.copy()
    left, right = _mask(slice(100, 200), slice(100, 200)), _mask(slice(100, 200), slice(200, 300))
    depth[left.pixels] = 1.5
    (_, over_left), (crop, over_right) = context_crops(
        _grey(), PointMap(depth, CAMERA, True), [left, right]
    )
    assert not over_left.any()
    np.testing.assert_array_equal(over_right, left.pixels)
    assert crop.occluder.any()


def test_colours_of_transparent_pixels_do_not_bleed_into_the_object() -> None:
    mask = _mask(slice(150, 210), slice(200, 260))
    context = context_crop(_grey(), CAMERA, mask, [])
    rgba = context.rgba.copy()
    rgba[..., 3] = np.where(rgba[..., 3] > 127, 255, 0)
    rgba[rgba[..., 3] == 0] = [255, 0, 0, 0]
    crop = object_crop(Completion(rgba), context.camera, _flat(), mask)
    partly = (crop.rgba[..., 3] > 8) & (crop.rgba[..., 3] < 247)
    assert partly.any()
    np.testing.assert_allclose(crop.rgba[crop.rgba[..., 3] > 8][:, :3], 128, atol=2)


def test_a_plane_stays_a_plane_in_the_crop() -> None:
    normal, offset = np.array([0.2, -0.5, 1.0]), 3.0
    rays = unproject(CAMERA, pixel_centres(CAMERA.width, CAMERA.height))
    plane = PointMap((offset / (rays @ normal)).astype(np.float32), CAMERA, True)
    mask = _mask(*CORNER)
    crop = context_crop(_grey(), CAMERA, mask, []).camera
    depth = depth_in_crop(plane, mask.pixels, crop)
    side = crop.camera.width
    own = unproject(crop.camera, pixel_centres(side, side)) @ crop.photo_from_crop.T
    known, expected = np.isfinite(depth), offset / (own @ normal)
    there = warp(mask.pixels.astype(np.float32), crop_from_photo(CAMERA, crop), side)
    np.testing.assert_allclose(depth[there == 1], expected[there == 1], rtol=3e-5)
    np.testing.assert_allclose(depth[known], expected[known], rtol=1e-3)  # its rim: half covered
    assert known[there > 0.5].all() and not known[there < 0.1].any()


def test_unknown_depth_stays_unknown_in_the_crop() -> None:
    mask = _mask(*CORNER)
    crop = context_crop(_grey(), CAMERA, mask, []).camera
    for nothing in (np.nan, 0.0, -1.0, np.inf):
        assert np.isnan(depth_in_crop(_flat(nothing), mask.pixels, crop)).all()


@pytest.mark.parametrize("fov_deg", [10.0, 40.0, 70.0])
def test_a_cutout_is_framed_like_a_generators_input(fov_deg: float) -> None:
    rgba = np.zeros((200, 300, 4), np.uint8)
    rgba[30:90, 50:250] = [10, 200, 30, 255]
    crop = _cutout(rgba, fov_deg)
    _assert_framed(crop.rgba[..., 3] > 127, 1.1)
    assert crop.camera.camera.fov_x_rad == pytest.approx(math.radians(fov_deg))
    np.testing.assert_array_equal(crop.camera.photo_from_crop, np.eye(3))
    assert np.isnan(crop.depth).all()


@pytest.mark.parametrize(("opacity", "solid"), [(205, True), (204, False)])
def test_a_cutout_is_where_it_is_more_than_four_fifths_opaque(opacity: int, solid: bool) -> None:
    rgba = np.zeros((50, 50, 4), np.uint8)
    rgba[10:40, 10:40, 3] = opacity
    if solid:
        assert _cutout(rgba, 40.0).rgba.shape == (30, 30, 4)
    else:
        with pytest.raises(BadInput, match="no solid pixels"):
            _cutout(rgba, 40.0)


def test_a_large_cutout_is_made_smaller() -> None:
    rgba = np.full((300, 2400, 4), 255, np.uint8)
    assert _cutout(rgba, 40.0).rgba.shape[1] == pytest.approx(1024 * 1.1, abs=3)


def _cutout(rgba: np.ndarray, fov_deg: float) -> ObjectCrop:
    return cutout_crop(Cutout(rgba), math.radians(fov_deg))


def test_the_same_crop_seen_twice_is_the_same_camera() -> None:
    crops = [context_crop(_grey(v), CAMERA, _mask(*CORNER), []).camera for v in (0, 255)]
    assert isinstance(crops[0], CropCamera)
    np.testing.assert_array_equal(crops[0].photo_from_crop, crops[1].photo_from_crop)
