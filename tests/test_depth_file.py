"""Depth files: every format gives the same depth; wrong ones say what was expected."""

import io

import cv2
import numpy as np
import pytest

from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.types import Camera, DepthFile, Photo
from stages import map_points
from stages.map_points.file import Settings, load
from stages.map_points.file.geometry import fit_camera

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
