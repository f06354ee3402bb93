"""Map points backend `file`: depth or a point map from any sensor or program.

PNG (16 bit, `unit_m` metres per step), NPY or NPZ (depth (H, W) or points (H, W, 3), optional K),
EXR (channel Z or Y, or the only one). Depth is z along the optical axis, not range.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import math
import struct
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, NamedTuple

import cv2
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from scene.cameras import camera_from_fov, camera_from_matrix, pixel_centres, resize_camera
from scene.errors import BadInput
from scene.intrinsics import change_intrinsics
from scene.pictures import MAX_MEGAPIXELS, hushed
from scene.types import Camera, DepthFile, Float32, Float64, Mask, Photo, PointMap

VERSION = "2"
DEPTH_NAMES = ("depth", "z", "arr_0")
POINTS_NAMES = ("points", "point_map", "pointmap", "xyz")
CAMERA_NAMES = ("K", "intrinsics")
MAX_ASPECT_ERROR = 0.01
# Of focal length, between the file's camera and the known one: EXIF gives whole millimetres, so
# cameras that agree this well are one and the same.
MAX_FOCAL_DIFFERENCE = 0.01
# What the readers raise for damaged bytes, found by feeding them such.
READ_ERRORS = (
    OSError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, SyntaxError,
    OverflowError, RuntimeError, NotImplementedError, struct.error, zlib.error,
    lzma.LZMAError, zipfile.BadZipFile, tokenize.TokenError, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """unit_m: metres per step of a 16-bit PNG; fov_x_deg: assumed when nothing gives the camera."""

    unit_m: float = 0.001
    fov_x_deg: float = 55.0

    def __post_init__(self) -> None:
        if not self.unit_m > 0:
            raise BadInput(f"unit_m: expected more than 0, got {self.unit_m:g}")
        if not 1 <= self.fov_x_deg <= 170:
            raise BadInput(f"fov_x_deg: expected 1 to 170, got {self.fov_x_deg:g}")


class _Geometry(NamedTuple):
    """What a file holds: z-depth (H, W), perhaps points (H, W, 3), perhaps K (3, 3)."""

    depth: Float64
    points: Float64 | None
    K: Float64 | None


@dataclass(frozen=True)
class DepthFileReader:
    """Reads the user's file."""

    settings: Settings

    def map_points(
        self,
        photo: Photo,
        camera: Camera | None,
        masks: tuple[Mask, ...],
        file: DepthFile | None,
    ) -> PointMap:
        """The file's depth at the photo's size; the camera as given, or the file's, or assumed.

        A file made for another camera than the given one is adapted to it, and a note says so.
        """
        if file is None:
            raise BadInput("backend file needs --pointmap FILE")
        geometry = _read(file, self.settings.unit_m)
        height, width = geometry.depth.shape
        if abs(width / height * photo.height / photo.width - 1) > MAX_ASPECT_ERROR:
            raise BadInput(
                f"{file.name} is {width} x {height}, the photo {photo.width} x {photo.height}: "
                "the shapes differ; crop or pad one to match"
            )
        if camera is None:
            camera, notes = self._camera(geometry, photo, file.name)
            depth = geometry.depth.astype(np.float32)
        else:
            depth, notes = _depth_for(camera, geometry, file.name)
        if (width, height) != (photo.width, photo.height):
            size = (photo.width, photo.height)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
            notes += (f"depth resampled from {width} x {height} (nearest)",)
        return PointMap(depth, camera, True, notes)

    def _camera(
        self, geometry: _Geometry, photo: Photo, name: str
    ) -> tuple[Camera, tuple[str, ...]]:
        """The file's own camera, else an assumed one, and what to say about it."""
        own = _own_camera(geometry, name)
        if own is not None:
            how = "from the depth file" if geometry.K is not None else "fitted to the points"
            return resize_camera(own, photo.width, photo.height), (f"camera {how}",)
        degrees = self.settings.fov_x_deg
        note = f"field of view {degrees:g} degrees assumed; give --fov or --camera"
        return camera_from_fov(photo.width, photo.height, np.radians(degrees)), (note,)


def load(settings: Settings, device: str) -> DepthFileReader:
    """Nothing to load."""
    return DepthFileReader(settings)


def _depth_for(camera: Camera, geometry: _Geometry, name: str) -> tuple[Float32, tuple[str, ...]]:
    """The depth (H, W) for a known camera: adapted where the file was made for another one."""
    depth = geometry.depth.astype(np.float32)
    try:
        own = _own_camera(geometry, name)
    except BadInput:  # the known camera is the remedy that the error names
        return depth, ()
    if own is None:
        return depth, ()
    camera = resize_camera(camera, own.width, own.height)
    focal_ratios = np.array([camera.fx_px / own.fx_px, camera.fy_px / own.fy_px])
    if (np.abs(np.log(focal_ratios)) <= MAX_FOCAL_DIFFERENCE).all():
        return depth, ()
    changed = change_intrinsics(PointMap(depth, own, True), camera, geometry.points)
    return changed.depth, changed.notes


def _own_camera(geometry: _Geometry, name: str) -> Camera | None:
    """The camera that the file carries, K before a fit to its points; None when it has neither."""
    height, width = geometry.depth.shape
    if geometry.K is not None:
        try:
            return camera_from_matrix(width, height, geometry.K)
        except BadInput as error:
            raise BadInput(f"{name}: its {error}; leave K out, or give --camera") from None
    return None if geometry.points is None else fit_camera(geometry.points)


def fit_camera(points: Float64) -> Camera:
    """Intrinsics by least squares from a point map (H, W, 3): u - cx = fx x / z, v - cy = fy y / z.

    Raises BadInput when fewer than 100 points are known or they do not span the picture.
    """
    height, width = points.shape[:2]
    known = np.isfinite(points).all(-1) & (points[..., 2] > 0)
    if known.sum() < 100:
        raise BadInput("the point map has fewer than 100 points: give --camera")
    pixels, xyz = pixel_centres(width, height)[known], points[known]
    rows = []
    for axis in (0, 1):
        ratio = xyz[:, axis] / xyz[:, 2]
        design = np.stack([ratio, np.ones_like(ratio)], 1)
        (focal, centre), *_ = np.linalg.lstsq(design, pixels[:, axis], rcond=None)
        rows.append((focal, centre))
    (fx, cx), (fy, cy) = rows
    return camera_from_matrix(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]))


def _read(file: DepthFile, unit_m: float) -> _Geometry:
    """Decode by suffix; BadInput names the file and what was expected."""
    readers = {".png": _read_png, ".npy": _read_npy, ".npz": _read_npz, ".exr": _read_exr}
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise BadInput(f"{file.name}: expected {', '.join(readers)}, got {suffix or 'no suffix'}")
    try:
        geometry = readers[suffix](file)
    except READ_ERRORS as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"{file.name}: not a readable depth file ({why[:160]}): write it again"
        ) from None
    if suffix == ".png":
        return geometry._replace(depth=geometry.depth * unit_m)
    return geometry


def _read_png(file: DepthFile) -> _Geometry:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are checked here
        image = Image.open(io.BytesIO(file.data), formats=["PNG"])
        _check_count(image.width, image.height)
        pixels = np.asarray(image)
    if image.mode not in ("I;16", "I;16B", "I"):
        raise BadInput(f"expected one channel of 16 bits, got mode {image.mode}")
    return _Geometry(np.where(pixels > 0, pixels, np.nan).astype(np.float64), None, None)


def _read_npy(file: DepthFile) -> _Geometry:
    return _from_array(_array(io.BytesIO(file.data)), None)


def _read_npz(file: DepthFile) -> _Geometry:
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist()]
        found = next((n for n in (*POINTS_NAMES, *DEPTH_NAMES) if n in names), None)
        if found is None:
            listed = f"has {', '.join(names)}" if names else "is empty"
            raise BadInput(f"{listed}; expected depth or points")
        camera = next((n for n in CAMERA_NAMES if n in names), None)
        with archive.open(f"{found}.npy") as member:
            array = _array(member)
        if camera is None:
            return _from_array(array, None)
        with archive.open(f"{camera}.npy") as member:
            return _from_array(array, _array(member))


def _array(stream: IO[bytes]) -> NDArray:
    """One array of numbers; its header is judged before memory is taken or anything unpickled."""
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = header(stream)
    if dtype.kind not in "iuf":
        raise BadInput(f"expected numbers, got {dtype} {shape}")
    _check_count(*shape)
    data = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def _check_count(*shape: int) -> None:
    """A depth map may be as large as a photo; points have three numbers a pixel."""
    if min(shape, default=0) < 0 or math.prod(shape) > 3e6 * MAX_MEGAPIXELS:
        raise BadInput(f"shape {shape} is impossible, at most {MAX_MEGAPIXELS} megapixels are read")


def _read_exr(file: DepthFile) -> _Geometry:
    import OpenEXR

    # The library reads paths only, and prints about damage by itself, from Python and from C.
    with (
        tempfile.NamedTemporaryFile(suffix=".exr") as copy,
        hushed(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        copy.write(file.data)
        copy.flush()
        low, high = OpenEXR.File(copy.name, header_only=True).header()["dataWindow"]
        _check_count(*(int(v) + 1 for v in high - low))
        channels = OpenEXR.File(copy.name).channels()
    if not channels:
        raise BadInput("has no channel; expected Z, Y or depth")
    name = next((n for n in ("Z", "Y", "depth") if n in channels), next(iter(channels)))
    pixels = channels[name].pixels
    return _from_array(pixels[..., 0] if pixels.ndim == 3 else pixels, None)


def _from_array(array: NDArray, K: NDArray | None) -> _Geometry:
    if array.size == 0:
        raise BadInput(f"expected numbers, got none: {array.dtype} {array.shape}")
    array = array.astype(np.float64)
    if array.ndim == 2:
        return _Geometry(array, None, K)
    if array.ndim == 3 and array.shape[2] == 1:
        return _Geometry(array[..., 0], None, K)
    if array.ndim == 3 and array.shape[2] == 3:
        return _Geometry(array[..., 2], array, K)
    raise BadInput(f"expected depth (H, W) or points (H, W, 3), got {array.shape}")
