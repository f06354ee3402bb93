"""The images that the generator is given: a cut-out, a framed crop, or several posed views.

The file of several views is the one of the September 2026 release, `transforms.json` in the
NeRF/Blender convention.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pixal3d.camera import PosedCamera, align_views, distance_from_fov, front_camera
from pixal3d.preprocess import crop_to_object, image_tensor, over
from sparse3d.cutouts import check_cutout, view_tensor
from sparse3d.errors import BadImage

Uint8 = NDArray[np.uint8]
IMAGE_SIZES = (512, 1024)  # what the released stages look at
MAX_VIEWS = 64


@dataclass(frozen=True, eq=False)
class PosedImages:
    """What an object is made from.

    views: cameras on the object, the first is the front view. images: by their size, one
    (3, size, size) float32 in [0, 1] per view. mesh_scale: of the object, shared by all views.
    """

    views: Sequence[PosedCamera]
    images: Mapping[int, Sequence[Tensor]]
    mesh_scale: float = 1.0


@dataclass(frozen=True, eq=False)
class PosedImage:
    """One picture of an object, (H, W, 4) uint8 with straight alpha, and where it was taken from:
    fov_x_rad, and world_from_camera (4, 4), world z up, camera looking along its -z, y up."""

    rgba: Uint8
    fov_x_rad: float
    world_from_camera: NDArray[np.floating]


def from_cutout(rgba: Uint8, fov_x_rad: float, sizes: Iterable[int] = IMAGE_SIZES) -> PosedImages:
    """One cut-out (H, W, 4) uint8, framed as the reference frames it."""
    return _from_rgb(crop_to_object(rgba), fov_x_rad, sizes)


def from_crop(rgba: Uint8, fov_x_rad: float, sizes: Iterable[int] = IMAGE_SIZES) -> PosedImages:
    """A square crop (S, S, 4) uint8 that frames its object already: the result is aligned with
    its pixels, the cube's centre plane filling the crop."""
    check_cutout(rgba)
    if rgba.shape[0] != rgba.shape[1]:
        raise ValueError(f"the crop has {rgba.shape[1]} x {rgba.shape[0]} pixels: not square")
    return _from_rgb(over(rgba), fov_x_rad, sizes)


def from_views(
    posed: Sequence[PosedImage], mesh_scale: float = 1.0, sizes: Iterable[int] = IMAGE_SIZES
) -> PosedImages:
    """Several pictures of one object with known cameras; never cropped, the first is the front.

    Raises ValueError for no picture, BadImage for a camera that is not rigid.
    """
    if not posed:
        raise ValueError("several views: there is none")
    views = []
    for number, image in enumerate(posed, start=1):
        check_cutout(image.rgba)
        pose = torch.tensor(np.asarray(image.world_from_camera), dtype=torch.float32)
        try:
            views.append(PosedCamera(image.fov_x_rad, pose))
        except BadImage as error:
            raise BadImage(f"view {number}: {error}") from None
    images = {size: [view_tensor(p.rgba, size) for p in posed] for size in sizes}
    return PosedImages(align_views(views), images, mesh_scale)


def read_views(file: Path) -> tuple[list[PosedImage], float]:
    """The pictures and the mesh scale of a `transforms.json`; pictures lie beside it.

    {"camera_angle_x": radians, "mesh_scale": 1.0, "frames": [{"file_path", "transform_matrix",
    maybe its own "camera_angle_x"}]}. Raises BadImage naming what is wrong with which view.
    """
    try:
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BadImage(f"the views {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadImage(f"the views {file} are not JSON: {error}") from None
    frames = value.get("frames") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not 1 <= len(frames) <= MAX_VIEWS:
        raise BadImage(f"the views {file}: expected frames, a list of 1 to {MAX_VIEWS} views")
    scale = _number(value.get("mesh_scale", 1.0), f"the views {file}: mesh_scale")
    if not scale > 0:
        raise BadImage(f"the views {file}: mesh_scale is {scale:g}, expected above 0")
    posed = [
        _read_view(file, number, frame, value.get("camera_angle_x"))
        for number, frame in enumerate(frames, start=1)
    ]
    return posed, scale


def _read_view(file: Path, number: int, frame: Any, shared_fov: Any) -> PosedImage:
    where = f"the views {file}: view {number}"
    if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
        raise BadImage(f"{where} has no file_path")
    fov_x_rad = _number(frame.get("camera_angle_x", shared_fov), f"{where}: camera_angle_x")
    if not 0 < fov_x_rad < math.pi:
        raise BadImage(f"{where}: camera_angle_x is {fov_x_rad:g}, expected radians in (0, pi)")
    rows = frame.get("transform_matrix")
    rows = rows if isinstance(rows, list) else []
    if [len(r) if isinstance(r, list) else 0 for r in rows] != [4] * 4:
        raise BadImage(f"{where}: transform_matrix is not 4 rows of 4 numbers")
    matrix = np.array([[_number(v, f"{where}: transform_matrix") for v in row] for row in rows])
    return PosedImage(_read_rgba(file.parent / frame["file_path"], where), fov_x_rad, matrix)


def _read_rgba(path: Path, where: str) -> Uint8:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGBA"))
    except UnidentifiedImageError:
        raise BadImage(f"{where}: {path.name} is not a picture") from None
    except OSError as error:
        raise BadImage(f"{where}: {path.name}: {error.strerror or error}") from None


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadImage(f"{what} is {value!r}, expected a finite number")
    return float(value)


def _from_rgb(rgb: Uint8, fov_x_rad: float, sizes: Iterable[int]) -> PosedImages:
    view = PosedCamera(fov_x_rad, front_camera(distance_from_fov(fov_x_rad)))
    return PosedImages([view], {size: [image_tensor(rgb, size)] for size in sizes})
