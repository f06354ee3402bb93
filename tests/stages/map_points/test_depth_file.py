"""Depth files: every format gives the same depth; wrong ones say what was expected."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.types import Camera, DepthFile, Photo
from stages import map_points
from stages.map_points.file import Settings, load
from stages.map_points.file.geometry import fit_camera
from support.corpus import encoded

PHOTO = Photo(np.zeros((30, 40, 3), np.uint8))
CAMERA = Camera(40, 30, 44.0, 43.0, 19.0, 16.0)
DEPTH = (1.5 + 0.01 * np.arange(1200).reshape(30, 40)).astype(np.float32)
DEPTH[3, 4] = np.nan
POINTS = unproject(CAMERA, pixel_centres(40, 30)) * DEPTH[..., None]


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _png() -> bytes:
    steps = np.where(np.isfinite(DEPTH), np.rint(DEPTH * 1000), 0).astype(np.uint16)
    return cv2.imencode(".png", steps)[1].tobytes()


def _exr(tmp_path) -> bytes:
    import OpenEXR

    path = tmp_path / "depth.exr"
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": DEPTH}).write(str(path))
    return path.read_bytes()


def _map(data: bytes, suffix: str, camera: Camera | None = None):
    file = DepthFile(data, suffix, "my depth")
    return map_points.run(load(Settings(), "cpu"), PHOTO, camera, (), file)


@pytest.mark.parametrize("kind", ["png", "npy", "npz", "points", "exr", "channel"])
def test_all_formats_agree(kind: str, tmp_path) -> None:
    data, suffix = {
        "png": lambda: (_png(), ".png"),
        "npy": lambda: (_npy(DEPTH), ".npy"),
        "npz": lambda: (_npz(depth=DEPTH), ".npz"),
        "points": lambda: (_npz(points=POINTS.astype(np.float32)), ".npz"),
        "exr": lambda: (_exr(tmp_path), ".exr"),
        "channel": lambda: (_npy(DEPTH[..., None]), ".npy"),
    }[kind]()
    found = _map(data, suffix, CAMERA)
    np.testing.assert_allclose(found.depth, DEPTH, atol=6e-4)
    assert found.camera == CAMERA and found.metric


def test_the_camera_comes_from_the_file_when_none_is_given() -> None:
    assert _map(_npz(depth=DEPTH, K=CAMERA.K), ".npz").camera.fx_px == pytest.approx(44)
    fitted = fit_camera(POINTS)
    assert (fitted.fx_px, fitted.cy_px) == (pytest.approx(44), pytest.approx(16))
    assumed = _map(_npy(DEPTH), ".npy")
    assert assumed.camera == camera_from_fov(40, 30, np.radians(55))
    assert "assumed" in assumed.notes[0]


def test_another_size_is_resampled_and_said() -> None:
    found = _map(_npy(DEPTH[::2, ::2]), ".npy", CAMERA)
    assert found.depth.shape == (30, 40) and "resampled" in found.notes[0]


@pytest.mark.parametrize(
    ("data", "suffix", "words"),
    [
        (_npy(DEPTH), ".bin", "expected .png"),
        (b"scribble", ".npy", "not a readable depth file"),
        (b"", ".npz", "not a readable depth file"),
        (b"scribble", ".exr", "not a readable depth file"),
        (_npz(colour=DEPTH), ".npz", "expected depth or points"),
        (_npy(DEPTH[:, :10]), ".npy", "shapes differ"),
        (_npy(DEPTH * np.nan), ".npy", "no usable depth"),
        (_npy(-DEPTH), ".npy", "no usable depth"),
        (_npy(DEPTH.astype("U8")), ".npy", "expected numbers"),
        (_npy(np.array([{}], object)), ".npy", "not a readable depth file"),
        (cv2.imencode(".png", np.zeros((30, 40), np.uint8))[1].tobytes(), ".png", "16 bits"),
    ],
)
def test_wrong_files_say_what_was_expected(data: bytes, suffix: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _map(data, suffix, CAMERA)
    assert "\n" not in str(caught.value)


def _channels(tmp_path, **channels: np.ndarray) -> bytes:
    """An EXR of these channels; "_" in a name stands for the dot after a layer."""
    import OpenEXR

    path = tmp_path / "depth.exr"
    named = {name.replace("_", "."): np.ascontiguousarray(c) for name, c in channels.items()}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, named).write(str(path))
    return path.read_bytes()


FLOAT = np.nan_to_num(DEPTH, nan=np.inf)
COLOUR = np.random.default_rng(0).random((3, *DEPTH.shape), np.float32)
RGB = dict(zip("RGB", COLOUR, strict=True))
XYZ = np.moveaxis(POINTS.astype(np.float32), -1, 0)
ONE = np.ones_like(FLOAT)
BLENDER = {f"ViewLayer_Combined_{name}": COLOUR[0] for name in "RGBA"}
EXR = {
    "z and alpha": {"A": ONE, "z": FLOAT},
    "colour and Z": {**RGB, "A": ONE, "Z": FLOAT},
    "Blender": {**BLENDER, "ViewLayer_Depth_Z": np.where(np.isfinite(FLOAT), FLOAT, 1e10)},
    "Blender 5": {**BLENDER, "ViewLayer_Depth_V": FLOAT},
    "Blender's other passes": {
        "ViewLayer_Mist_Z": ONE, "ViewLayer_Normal_X": ONE, "ViewLayer_Normal_Y": ONE,
        "ViewLayer_Normal_Z": ONE, "ViewLayer_Depth_Z": FLOAT},
    "depth.V": {"depth_V": FLOAT}, "V": {"V": FLOAT}, "Y": {"Y": FLOAT}, "Depth": {"Depth": FLOAT},
    "zdepth in R": {"zdepth_R": FLOAT, "rgba_R": ONE, "rgba_G": ONE, "rgba_B": ONE},
    "half": {"Z": np.where(np.isfinite(FLOAT), FLOAT, 65504).astype(np.float16)},
    "whole numbers": {"Z": np.nan_to_num(DEPTH * 1000).astype(np.uint32)},
    "points as colours": dict(zip("RGB", XYZ, strict=True)),
    "points": {**dict(zip("XYZ", XYZ, strict=True)), "A": ONE},
    "grey": {name: FLOAT for name in "RGBA"} | {"A": ONE},
}  # fmt: skip


@pytest.mark.parametrize("name", EXR)
def test_an_exrs_depth_is_found_by_its_name(name: str, tmp_path) -> None:
    found = _map(_channels(tmp_path, **EXR[name]), ".exr", CAMERA)
    np.testing.assert_allclose(found.depth, DEPTH, atol=2e-3, rtol=1e-3)


def test_parts_and_windows_of_an_exr(tmp_path) -> None:
    import OpenEXR

    path = tmp_path / "parts.exr"
    kind = {"type": OpenEXR.scanlineimage}
    corners = np.array([[5, 4], [39, 29], [0, 0]], np.int32)
    window = {"dataWindow": (corners[0], corners[1]), "displayWindow": (corners[2], corners[1])}
    parts = [
        OpenEXR.Part({**kind, "name": "beauty"}, dict(RGB)),
        OpenEXR.Part({**kind, **window, "name": "depth"}, {"Y": FLOAT[4:, 5:].copy()}),
    ]
    OpenEXR.File(parts).write(str(path))
    found = _map(path.read_bytes(), ".exr", CAMERA)
    np.testing.assert_allclose(found.depth[4:, 5:], DEPTH[4:, 5:], atol=1e-6)
    assert np.isnan(found.depth[:4]).all() and np.isnan(found.depth[:, :5]).all()


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"A": ONE}, "channels A; expected Z"),
        (RGB, "channels B, G, R; expected"),
        ({**BLENDER, "ViewLayer_Mist_Z": ONE}, "ViewLayer.Mist.Z"),
        ({"left_Z": FLOAT, "right_Z": FLOAT + 1}, "several depths, left.Z, right.Z"),
        ({"Y": FLOAT, "RY": ONE, "BY": ONE}, "channels BY, RY, Y"),
        ({"Normal_X": ONE, "Normal_Y": ONE, "Normal_Z": ONE * 2}, "Normal.X"),
        ({"disparity": FLOAT}, "channels disparity"),
    ],
)
def test_an_exr_without_a_depth_lists_its_channels(channels, words: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=words):
        _map(_channels(tmp_path, **channels), ".exr", CAMERA)


STEPS = np.nan_to_num(DEPTH * 1000).astype(np.uint16)


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (_npy(STEPS), ".npy"),
        (_npz(depth=STEPS.astype(np.int32)), ".npz"),
        (_npy(np.where(STEPS > 0, STEPS, 65535).astype(np.uint16)), ".npy"),
        (_npy(np.dstack([STEPS] * 3)), ".npy"),
        (_npy((POINTS * 1000).round().astype(np.int32)), ".npy"),
        (cv2.imencode(".tiff", STEPS)[1].tobytes(), ".tif"),
        (cv2.imencode(".tiff", FLOAT)[1].tobytes(), ".tiff"),
        (cv2.imencode(".tiff", FLOAT.astype(np.float64))[1].tobytes(), ".TIF"),
        (cv2.imencode(".pfm", FLOAT)[1].tobytes(), ".pfm"),
    ],
)
def test_whole_numbers_are_millimetres_and_floats_metres(data: bytes, suffix: str) -> None:
    found = _map(data, suffix, CAMERA).depth
    known = np.isfinite(DEPTH) & np.isfinite(found)
    assert known.sum() >= 1199
    np.testing.assert_allclose(found[known], DEPTH[known], atol=2e-3)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (STEPS.astype(np.float32), "whole numbers around 75[0-9]* are no metres|no metres"),
        ((DEPTH * 9).astype(np.uint8), "too coarse"),
        (np.moveaxis(COLOUR, 0, -1), "neither one depth nor points"),
        (np.isfinite(DEPTH), "too coarse"),
    ],
)
def test_a_doubtful_unit_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _map(_npy(np.nan_to_num(array)), ".npy", CAMERA)


def test_far_depths_are_noted_and_turned_ones_told(tmp_path) -> None:
    assert "beyond 100 m" in "".join(_map(_npy(DEPTH * 999.5), ".npy", CAMERA).notes)
    lying = DepthFile(_npy(DEPTH.T.copy()), ".npy", "mine", "by 90 degrees clockwise")
    with pytest.raises(ValueError, match="lies on its side: turn it by 90 degrees clockwise, as"):
        map_points.run(load(Settings(), "cpu"), PHOTO, CAMERA, (), lying)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(np.ascontiguousarray(np.rot90(STEPS)), "PNG", exif=exif)
    np.testing.assert_allclose(_map(turned, ".png", CAMERA).depth, DEPTH, atol=2e-3)
