"""Reads a depth or point-map file: which of its numbers are depth, in which unit?

Floats are metres, whole-number types steps of `unit_m`, whatever the format. Depth is z along the
optical axis, not range.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene.arrays import READ_ERRORS, check_count, read_exr, read_npy, read_npz, read_tiff
from scene.cameras import camera_from_matrix, pixel_centres
from scene.errors import BadInput, is_own_mistake
from scene.images import load_upright
from scene.types import Camera, DepthFile, Float64

DEPTH_NAMES = ("depth", "z", "arr_0")
POINTS_NAMES = ("points", "point_map", "pointmap", "xyz")
CAMERA_NAMES = ("K", "intrinsics")
SUFFIXES = (".png", ".npy", ".npz", ".exr", ".tif", ".tiff", ".pfm")
# An EXR's layer or channel for depth: Z, depth, zdepth, WorldDepth; and passes whose Z is a
# coordinate of something else.
DEPTH = re.compile("z|(?!inv|disp).*depth")
OTHER_PASSES = ("mist", "normal", "position", "vector", "uv", "n", "p")
ONE_CHANNEL = ("z", "v", "y", "r", "depth")
TRIPLES = ("rgb", "xyz")
SHOWN_CHANNELS = 12
# What renderers write where there is no surface: Blender 1e10, and what half precision makes of it.
NOTHING_BEYOND, HALF_MAX = 1e9, 65504
MIN_POINTS = 100
MIN_EXPLAINED = 0.8  # of the pixels' variance, by a pinhole camera's points; by colours little is
FAR_M = 100.0  # half of a photo's pixels beyond: more likely millimetres


class Geometry(NamedTuple):
    """What a file holds: z-depth (H, W) in metres, perhaps points (H, W, 3), perhaps K (3, 3)."""

    depth: Float64
    points: Float64 | None = None
    K: Float64 | None = None


def read_geometry(file: DepthFile, unit_m: float) -> Geometry:
    """Decode by suffix; BadInput names the file and what was expected."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"{file.name}: expected {', '.join(SUFFIXES)}, got {suffix or 'no suffix'}")
    try:
        if suffix == ".npy":
            return _from_array(read_npy(io.BytesIO(file.data)), unit_m)
        if suffix == ".npz":
            return _from_npz(file.data, unit_m)
        if suffix == ".exr":
            return _from_exr(read_exr(file.data), unit_m)
        return _from_array(_pixels(file.data, suffix), unit_m)
    except READ_ERRORS as error:
        if is_own_mistake(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"{file.name}: not a readable depth file ({why[:240]}): write it again"
        ) from None


def fit_camera(points: Float64) -> Camera:
    """Intrinsics by least squares from a point map (H, W, 3): u - cx = fx x / z, v - cy = fy y / z.

    Raises BadInput when fewer than 100 points are known or they do not span the picture.
    """
    height, width = points.shape[:2]
    known = _known(points)
    if known.sum() < MIN_POINTS:
        raise BadInput(f"the point map has fewer than {MIN_POINTS} points: give --camera")
    pixels, xyz = pixel_centres(width, height)[known], points[known]
    rows = []
    for axis in (0, 1):
        ratio = xyz[:, axis] / xyz[:, 2]
        design = np.stack([ratio, np.ones_like(ratio)], 1)
        (focal, centre), *_ = np.linalg.lstsq(design, pixels[:, axis], rcond=None)
        rows.append((focal, centre))
    (fx, cx), (fy, cy) = rows
    return camera_from_matrix(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]))


def _known(points: Float64) -> NDArray[np.bool_]:
    return np.isfinite(points).all(-1) & (points[..., 2] > 0)


def _are_of_pinhole(points: Float64) -> bool:
    """Whether a pinhole camera sees the points (H, W, 3) at their pixels."""
    try:
        camera = fit_camera(points)
    except BadInput:
        return False
    known = _known(points)
    xyz, pixels = points[known], pixel_centres(camera.width, camera.height)[known]
    seen = xyz[:, :2] / xyz[:, 2:] * (camera.fx_px, camera.fy_px) + (camera.cx_px, camera.cy_px)
    return bool((seen.var(0) >= MIN_EXPLAINED * pixels.var(0)).all())


def _pixels(data: bytes, suffix: str) -> NDArray:
    """The numbers of a picture file, upright."""
    formats = {".png": ["PNG"], ".pfm": ["PPM"]}.get(suffix, ["TIFF"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are checked here
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except Image.UnidentifiedImageError:
            if suffix in (".png", ".pfm"):
                raise
            return read_tiff(data)
        check_count(image.width, image.height)
        load_upright(image)
    if image.mode not in ("I;16", "I;16B", "I", "F"):
        raise BadInput(f"expected one channel of 16 bits or floats, got mode {image.mode}")
    return np.asarray(image)


def _from_npz(data: bytes, unit_m: float) -> Geometry:
    names = (*POINTS_NAMES, *DEPTH_NAMES)
    array, K = read_npz(data, names, CAMERA_NAMES, expected="depth or points")
    assert array is not None
    geometry = _from_array(array, unit_m)
    return geometry._replace(K=K)


def _from_exr(channels: Mapping[str, NDArray], unit_m: float) -> Geometry:
    """The channel that is depth by its name, else three that are points; BadInput lists them."""
    unit_m = unit_m if any(c.dtype.kind in "iu" for c in channels.values()) else 1.0
    found = _depth_channels(list(channels))
    if found:
        first, *others = (channels[name] for name in found)
        if any(not np.array_equal(first, other, equal_nan=True) for other in others):
            raise BadInput(f"has several depths, {_listed(found)}; keep one")
        return _from_array(_without_sky(first), unit_m)
    for names in _triples(list(channels)):
        stack = np.stack([channels[name] for name in names], -1)
        if (stack[..., :1] == stack[..., 1:]).all() and len(channels) <= 4:
            return _from_array(_without_sky(stack[..., 0]), unit_m)
        points = np.asarray(stack, np.float64)
        if _are_of_pinhole(points):
            return _from_array(points, unit_m)
    listed = f"has the channels {_listed(list(channels))}" if channels else "has no channel"
    raise BadInput(f"{listed}; expected Z, depth, or points as R, G, B")


def _without_sky(depth: NDArray) -> NDArray:
    """NaN where half precision could not hold what is meant."""
    return np.where(depth >= HALF_MAX, np.nan, depth) if depth.dtype.kind == "f" else depth


def _depth_channels(names: Sequence[str]) -> list[str]:
    """The channels that are depth by their names, those most surely so; [] for none."""
    parts = {name: name.lower().split(".") for name in names}
    if len(names) == 1:
        return list(names) if parts[names[0]][-1] in ONE_CHANNEL else []
    surely, likely = [], []
    for name, (*layers, last) in parts.items():
        layer = layers[-1] if layers else ""
        if (DEPTH.fullmatch(layer) and last in ONE_CHANNEL) or (
            last != "z" and DEPTH.fullmatch(last)
        ):
            surely.append(name)
        elif last == "z" and layer not in OTHER_PASSES and [*layers, "x"] not in parts.values():
            likely.append(name)
    return surely or likely


def _triples(names: Sequence[str]) -> list[list[str]]:
    """The channels of each layer that are R, G, B or X, Y, Z, in this order."""
    by_key = {name.lower(): name for name in names}
    layers = dict.fromkeys(name.lower().rpartition(".")[0] for name in names)
    wanted = [
        [f"{layer}.{letter}".removeprefix(".") for letter in letters]
        for layer in layers
        for letters in TRIPLES
    ]
    return [[by_key[key] for key in keys] for keys in wanted if all(key in by_key for key in keys)]


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN_CHANNELS else ""
    return ", ".join(names[:SHOWN_CHANNELS]) + more


def _from_array(array: NDArray, unit_m: float) -> Geometry:
    """Depth (H, W) or points (H, W, 3) in metres, NaN where the file says that it knows nothing."""
    if array.size == 0:
        raise BadInput(f"expected numbers, got none: {array.dtype} {array.shape}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] == 3 and (array[..., :1] == array[..., 1:]).all():
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] != 3):
        raise BadInput(f"expected depth (H, W) or points (H, W, 3), got {array.shape}")
    if array.dtype.itemsize == 1:
        raise BadInput(f"{array.dtype} is too coarse for a depth; expected 16 bits or floats")
    metres = _metres(array, unit_m)
    if metres.ndim == 2:
        return Geometry(metres)
    if _known(metres).sum() >= MIN_POINTS and not _are_of_pinhole(metres):
        raise BadInput(
            "its three channels are neither one depth nor points (x right, y down, z forward) that "
            "a pinhole camera sees"
        )
    return Geometry(metres[..., 2], metres)


def _metres(array: NDArray, unit_m: float) -> Float64:
    """The numbers in metres; NaN for no surface. BadInput for millimetres kept as floats."""
    depth = array if array.ndim == 2 else array[..., 2]
    if array.dtype.kind in "iu":
        full = depth == np.iinfo(array.dtype).max if array.dtype.itemsize == 2 else depth < 0
        metres, nothing = array * unit_m, full
    else:
        metres, nothing = array.astype(np.float64), depth >= NOTHING_BEYOND
        known = depth[np.isfinite(depth) & (depth > 0) & ~nothing]
        if known.size and np.median(known) > FAR_M and (known == np.rint(known)).all():
            raise BadInput(
                f"whole numbers around {np.median(known):.0f} are no metres; divide them by 1000, "
                "or keep millimetres as unsigned integers"
            )
    if array.ndim == 3:
        nothing = nothing[..., None]
    return np.where(nothing, np.nan, metres)
