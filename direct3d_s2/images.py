"""From a cut-out of an object to what the image encoder reads, and the camera that took it.

The released framing: Direct3D-S2, commit a1cf235, utils/image.py. Pixel-aligned images are not
framed anew: where a pixel is decides where a voxel is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparse3d.errors import BadImage

BORDER_PX = 16  # around the object, before the last resize
FOV_LIMIT_RAD = math.radians(53.13)  # from here on the camera would stand in the cube
Uint8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ObjectImage:
    """rgb (3, S, S) float32 in [0, 1] on white; mask (S, S) float32: where the object is."""

    rgb: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A camera and its image. camera_from_cube (4, 4) float32: from the cube [-0.5, 0.5]^3, x
    right, y up, z towards the first camera, to camera axes x right, y up, looking along -z."""

    image: ObjectImage
    fov_x_rad: float
    camera_from_cube: Tensor


def framed(rgba: Uint8, size: int) -> ObjectImage:
    """A cut-out (H, W, 4) uint8 as the released pipeline frames it, size pixels along a side.

    Cropped to where it is not transparent, on white, padded to a square, resized, and resized again
    with a border. Raises BadImage where there is nothing.
    """
    rows, columns = np.nonzero(_checked(rgba)[..., 3])
    cropped = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rgb, mask = _on_white(cropped)
    height, width = mask.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    around = ((top, side - height - top), (left, side - width - left))
    rgb = np.pad(rgb, (*around, (0, 0)), constant_values=255)
    mask = np.pad(mask, around)
    return _tensors(*_bordered(*_resized(rgb, mask, size), size))


def whole(rgba: Uint8, size: int) -> ObjectImage:
    """A square image (N, N, 4) uint8 on white, its pixels where they are."""
    if _checked(rgba).shape[0] != rgba.shape[1]:
        raise ValueError(f"the image has {rgba.shape[1]} x {rgba.shape[0]} pixels: not square")
    return _tensors(*_resized(*_on_white(rgba), size))


def front_view(rgba: Uint8, fov_x_rad: float, size: int) -> View:
    """The view of a camera on the cube's axis, at `back_face_distance`."""
    camera_from_cube = torch.eye(4)
    camera_from_cube[2, 3] = -back_face_distance(fov_x_rad)
    return View(whole(rgba, size), fov_x_rad, camera_from_cube)


def posed_views(
    images: Sequence[tuple[Uint8, float, NDArray[np.floating]]], size: int, cube_scale: float = 1.0
) -> list[View]:
    """Several images (rgba, fov_x_rad, world_from_camera (4, 4)) of one object.

    Cameras look along -z with y up, in a world whose origin is the object's; the first one becomes
    the cube's front, at its own distance. cube_scale: cube sides to a unit of the world. Raises
    BadImage for a first camera in the origin.
    """
    poses = [torch.tensor(np.asarray(pose), dtype=torch.float64) for _, _, pose in images]
    for pose in poses:
        pose[:3, 3] *= cube_scale
    distance = float(poses[0][:3, 3].norm())
    if distance < 1e-3:
        raise BadImage("the first view's camera stands in the origin: it sees no object")
    front = torch.eye(4, dtype=torch.float64)
    front[2, 3] = distance
    cube_from_world = front @ torch.linalg.inv(poses[0])
    return [
        View(whole(rgba, size), fov_x_rad, torch.linalg.inv(cube_from_world @ pose).float())
        for (rgba, fov_x_rad, _), pose in zip(images, poses, strict=True)
    ]


def back_face_distance(fov_x_rad: float) -> float:
    """From camera to cube centre, in cube sides: (cot(fov / 2) - 1) / 2.

    The rays of the image's corners then meet the corners of the cube's back face (Pixal3D, section
    on inference). Raises ValueError where the camera would stand in the cube.
    """
    if not 0 < fov_x_rad < FOV_LIMIT_RAD:
        raise ValueError(f"the field of view must lie in (0, {FOV_LIMIT_RAD:.3f}), got {fov_x_rad}")
    return (1 / math.tan(fov_x_rad / 2) - 1) / 2


def _checked(rgba: Uint8) -> Uint8:
    if rgba.dtype != np.uint8 or rgba.ndim != 3 or rgba.shape[2] != 4:
        raise ValueError(f"expected (H, W, 4) uint8, got {rgba.shape} {rgba.dtype}")
    if not rgba[..., 3].any():
        raise BadImage("the image is fully transparent: there is no object in it")
    return rgba


def _on_white(rgba: Uint8) -> tuple[Uint8, Uint8]:
    """Colours on white, fractions cut off, and alpha."""
    values = rgba.astype(np.float64) / 255
    blended = values[..., :3] * values[..., 3:] + (1 - values[..., 3:])
    return (blended * 255).astype(np.uint8), rgba[..., 3]


def _resized(rgb: Uint8, mask: Uint8, size: int) -> tuple[Uint8, Uint8]:
    """Colours by bilinear, masks by nearest neighbours."""
    images = Image.fromarray(rgb), Image.fromarray(mask)
    filters = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    a, b = (i.resize((size, size), f) for i, f in zip(images, filters, strict=True))
    return np.asarray(a), np.asarray(b)


def _bordered(rgb: Uint8, mask: Uint8, size: int) -> tuple[Uint8, Uint8]:
    """With a border of white, brought to the same size again."""
    around = (BORDER_PX, BORDER_PX)
    wide = np.pad(rgb, (around, around, (0, 0)), constant_values=255)
    return _resized(wide, np.pad(mask, (around, around)), size)


def _tensors(rgb: Uint8, mask: Uint8) -> ObjectImage:
    colours = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
    return ObjectImage(colours.float() / 255, torch.from_numpy(mask.copy()).float() / 255)
