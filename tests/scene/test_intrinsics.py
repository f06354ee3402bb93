"""Refocusing: a point map made for another camera fits the known one, and says what was done."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from scene.cameras import camera_from_fov, pixel_centres, points_of, project, unproject
from scene.intrinsics import change_intrinsics
from scene.types import Camera, DepthFile, Float64, Photo, PointMap
from stages import map_points
from stages.map_points.file import Settings, load
from support.small_photo import FOV_X_DEG, HEIGHT, WIDTH, SmallPhoto, call

TRUE = camera_from_fov(160, 120, np.radians(40))
WRONG = camera_from_fov(160, 120, np.radians(50))
BOX = (slice(40, 80), slice(55, 105))
FLOOR_Y = 0.9


def _room() -> PointMap:
    """A box before a wall, on a floor that runs toward the camera."""
    rays = unproject(TRUE, pixel_centres(160, 120))
    floor = FLOOR_Y / np.maximum(rays[..., 1], 1e-9)
    depth = np.minimum(4.0, floor)
    depth[BOX] = 2.6
    depth[:5, :7] = np.nan
    return PointMap(depth.astype(np.float32), TRUE, True)


def _shifted_points(room: PointMap, shift: float) -> Float64:
    """Positions across the view and relief are right, the distance is not: as networks err."""
    return points_of(room) + [0, 0, shift]


def _npz(**arrays: np.ndarray) -> DepthFile:
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return DepthFile(out.getvalue(), ".npz", "my depth")


def _read(file: DepthFile, camera: Camera | None, width: int = 160, height: int = 120) -> PointMap:
    photo = Photo(np.zeros((height, width, 3), np.uint8))
    return map_points.run(load(Settings(), "cpu"), photo, camera, (), file)


def _size(point_map: PointMap) -> Float64:
    """(2,) width and height of the box's front."""
    front = points_of(point_map)[BOX].reshape(-1, 3)
    return np.ptp(front, axis=0)[:2]


def _assert_same_room(found: PointMap, room: PointMap) -> None:
    """Relief and size to half a percent of the box's distance and size."""
    assert found.camera == room.camera
    np.testing.assert_array_equal(np.isnan(found.depth), np.isnan(room.depth))
    np.testing.assert_allclose(_size(found), _size(room), rtol=0.005)
    relief = found.depth[60, 30] - found.depth[60, 80]
    assert relief == pytest.approx(4.0 - 2.6, rel=0.005)
    assert np.nanmax(np.abs(found.depth - room.depth)) < 0.005 * 2.6


@pytest.mark.parametrize("shift", [-0.8, 0.6, 2.0])
def test_points_with_a_wrong_distance_come_back(shift: float) -> None:
    """The file has no K: its camera is fitted to points that no camera sees quite so."""
    room = _room()
    points = _shifted_points(room, shift)
    unaware = _read(_npz(points=points), None)
    assert abs(unaware.camera.fx_px / TRUE.fx_px - 1) > 0.1
    found = _read(_npz(points=points), TRUE)
    _assert_same_room(found, room)
    made = np.degrees(unaware.camera.fov_x_rad)
    assert found.notes == (
        f"depth was made for a field of view of {made:.3g} degrees, the camera has 40: "
        f"moved by {-shift:+.3g} m to fit",
    )


@pytest.mark.parametrize("shift", [-0.8, 0.6])
def test_a_tenth_of_wild_points_decides_nothing(shift: float) -> None:
    room, rng = _room(), np.random.default_rng(0)
    points = _shifted_points(room, shift)
    wild = rng.random(room.depth.shape) < 0.1
    points[wild] += rng.uniform(-1, 8, (int(wild.sum()), 1)) * [0, 0, 1]
    points[..., 2] = np.maximum(points[..., 2], 1.5)
    made = PointMap(points[..., 2].astype(np.float32), WRONG)
    moved = change_intrinsics(made, TRUE, points).depth - made.depth
    assert np.nanmedian(moved) == pytest.approx(-shift, abs=0.01)


@pytest.mark.parametrize("wrong_deg", [30, 50, 60])
def test_depth_and_a_wrong_matrix_come_back(wrong_deg: float) -> None:
    """The box before a wall, made for another K with the shift that goes with it."""
    depth = np.full((120, 160), 3.0, np.float32)
    depth[BOX] = 2.6
    room = PointMap(depth, TRUE)
    made = change_intrinsics(room, camera_from_fov(160, 120, np.radians(wrong_deg)))
    assert np.abs(made.depth - depth).min() > 0.5
    found = _read(_npz(depth=made.depth, K=made.camera.K), TRUE)
    np.testing.assert_allclose(found.depth, depth, atol=0.005 * 2.6)
    np.testing.assert_allclose(_size(found), _size(room), rtol=0.005)


def test_the_shift_is_the_closed_form_on_a_plane() -> None:
    """mean z (f' / f - 1) when all depths are one; lateral positions are then kept exactly."""
    plane = PointMap(np.full((120, 160), 2.0, np.float32), WRONG)
    found = change_intrinsics(plane, TRUE)
    np.testing.assert_allclose(found.depth, 2 * TRUE.fx_px / WRONG.fx_px, rtol=1e-6)
    np.testing.assert_allclose(points_of(found)[..., :2], points_of(plane)[..., :2], atol=1e-6)


def test_every_point_lies_on_its_pixel_of_the_new_camera() -> None:
    """Also of one with another principal point, which turns the rays and leaves depth alone."""
    room = _room()
    aside = dataclasses.replace(WRONG, cx_px=70.0, cy_px=66.0)
    found = change_intrinsics(room, aside)
    known = np.isfinite(found.depth)
    pixels = project(aside, points_of(found)[known])
    np.testing.assert_allclose(pixels, pixel_centres(160, 120)[known], atol=1e-9)
    beside = change_intrinsics(room, dataclasses.replace(TRUE, cx_px=95.0))
    np.testing.assert_allclose(beside.depth, room.depth, rtol=1e-6)


def test_equal_cameras_change_nothing() -> None:
    room = _room()
    same = change_intrinsics(room, TRUE)
    np.testing.assert_array_equal(same.depth, room.depth)
    assert same.notes == ()


def test_unknown_depth_stays_unknown() -> None:
    depth = _room().depth.copy()
    depth[10, 10:13] = 0, -1, np.inf
    found = change_intrinsics(PointMap(depth, WRONG), TRUE)
    assert np.isnan(found.depth[10, 10:13]).all() and np.isnan(found.depth[:5, :7]).all()
    nothing = change_intrinsics(PointMap(np.full_like(depth, np.nan), WRONG), TRUE)
    assert np.isnan(nothing.depth).all() and nothing.camera == TRUE and nothing.notes == ()


def test_one_point_on_the_axis_moves_by_the_closed_form() -> None:
    depth = np.full((3, 3), np.nan, np.float32)
    depth[1, 1] = 2
    found = change_intrinsics(
        PointMap(depth, Camera(3, 3, 4, 4, 1.5, 1.5)), Camera(3, 3, 6, 6, 1.5, 1.5)
    )
    assert found.depth[1, 1] == pytest.approx(3)


@pytest.mark.parametrize("near", [0.02, 0.3, 0.9])
def test_no_point_goes_behind_the_camera(near: float) -> None:
    """A wider camera brings the map nearer; what stands too near for it has all of z scaled."""
    depth = np.full((120, 160), 5.0, np.float32)
    depth[100:110, 60:90] = near
    wide = camera_from_fov(160, 120, np.radians(70))
    found = change_intrinsics(PointMap(depth, TRUE, True), wide)
    assert (found.depth > 0).all()
    np.testing.assert_allclose(found.depth, depth * (wide.fx_px / TRUE.fx_px), rtol=1e-6)
    made = PointMap(depth, TRUE)
    np.testing.assert_allclose(points_of(found)[..., :2], points_of(made)[..., :2], atol=1e-5)
    assert found.notes[0].endswith(
        "scaled by 0.52 to fit, for a shift would put points behind the camera"
    )


def test_a_camera_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 160 x 120 pixels .* got 80 x 60"):
        change_intrinsics(_room(), camera_from_fov(80, 60, 0.7))


def test_the_file_is_adapted_only_when_its_camera_differs() -> None:
    depth = _room().depth
    nearly = camera_from_fov(160, 120, np.radians(40.2))
    for file in (_npz(depth=depth), _npz(depth=depth, K=nearly.K), _npz(points=points_of(_room()))):
        found = _read(file, TRUE)
        np.testing.assert_array_equal(found.depth, depth)
        assert found.camera == TRUE and found.notes == ()
    found = _read(_npz(depth=depth, K=WRONG.K), TRUE)
    assert np.nanmin(found.depth - depth) > 0.5 and "made for a field of view" in found.notes[0]


def test_a_known_camera_mends_a_file_whose_own_is_impossible() -> None:
    depth = _room().depth
    found = _read(_npz(depth=depth, K=np.zeros((3, 3))), TRUE)
    np.testing.assert_array_equal(found.depth, depth)
    with pytest.raises(ValueError, match="leave K out, or give --camera"):
        _read(_npz(depth=depth, K=np.zeros((3, 3))), None)


def test_a_file_of_another_size_is_adapted_at_its_own() -> None:
    room = _room()
    photo_camera = camera_from_fov(320, 240, np.radians(40))
    found = _read(_npz(points=_shifted_points(room, 0.6)), photo_camera, 320, 240)
    assert found.camera == photo_camera and len(found.notes) == 2
    np.testing.assert_allclose(found.depth[::2, ::2], room.depth, atol=0.005)


@pytest.mark.slow
def test_a_run_says_so(small_photo: SmallPhoto, inline_runs: None, tmp_path: Path) -> None:
    """Points made for 70 degrees and 0.5 m too near; --fov tells the photo's own."""
    camera = camera_from_fov(WIDTH, HEIGHT, np.radians(FOV_X_DEG))
    true = PointMap(np.load(small_photo.depth), camera)
    np.savez(tmp_path / "near.npz", points=_shifted_points(true, -0.5))
    masks = [part for mask in small_photo.masks.values() for part in ("--mask", str(mask))]
    options = [str(small_photo.photo), *masks, "--pointmap", str(tmp_path / "near.npz")]
    options += ["--fov", f"{FOV_X_DEG:g}", "--set", "generate.grid=32"]
    ran = call("run", *options, "--store", tmp_path / "store", "-o", tmp_path / "run")
    assert ran.exit_code == 0, ran.stderr
    scene = json.loads((tmp_path / "run" / "scene.json").read_text("utf-8"))
    (note,) = [n for n in scene["notes"] if "made for a field of view" in n]
    assert "the camera has 55: moved by +0.5 m to fit" in note
    assert "55 degrees as given" in scene["notes"][scene["notes"].index(note) - 1]
    with np.load(tmp_path / "run" / "point_map.npz") as saved:
        np.testing.assert_allclose(saved["depth"], true.depth, atol=1e-3)
    assert "made for a field of view" in (tmp_path / "run" / "report.html").read_text("utf-8")
