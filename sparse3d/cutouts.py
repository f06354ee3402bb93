"""A picture of an object by itself: is it one, where in it is the object, and as a tensor?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparse3d.errors import BadImage

OPAQUE_ALPHA = 0.8 * 255  # pixels above it decide where the object is

Uint8 = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def check_cutout(rgba: Uint8) -> None:
    """BadImage unless this is a picture with an object in it and transparency around it."""
    if rgba.dtype != np.uint8 or rgba.ndim != 3 or rgba.shape[2] != 4:
        raise ValueError(f"expected (H, W, 4) uint8, got {rgba.shape} {rgba.dtype}")
    if min(rgba.shape[:2]) < 2:
        raise BadImage(f"the picture has {rgba.shape[1]} x {rgba.shape[0]} pixels: too small")
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        raise BadImage("the picture has no transparency: cut the object out first")
    if alpha.max() == 0:
        raise BadImage("the picture is fully transparent: there is no object in it")


def object_box(rgba: Uint8, margin: float) -> Box:
    """The square around a picture's solid pixels, `margin` times as wide as they are: left, top,
    right, bottom in pixels; it may reach over the picture's edge, and lie between pixels.

    TRELLIS and what descends from it frame objects so. Raises BadImage where nothing is solid.
    """
    rows, columns = np.nonzero(rgba[..., 3] > OPAQUE_ALPHA)
    if len(rows) == 0:
        raise BadImage("the cut-out has no solid pixel: its opacity is nowhere above 80 percent")
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    half = int(max(right - left, bottom - top) * margin) // 2
    if half == 0:
        raise BadImage("the object in the cut-out is one pixel wide: give a larger picture")
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def view_tensor(rgba: Uint8, size: int) -> Tensor:
    """A picture (H, W, 4) on black: (3, size, size) float32; never cropped or re-centred.

    Colours are multiplied by alpha after resizing (Lanczos) and not rounded again, as Cupid and
    Pixal3D's several-view input have it.
    """
    resized = Image.fromarray(rgba, "RGBA").resize((size, size), Image.Resampling.LANCZOS)
    tensor = as_tensor(resized)
    return tensor[:3] * tensor[3:]


def as_tensor(image: Image.Image) -> Tensor:
    """An image of C channels as (C, H, W) float32 in [0, 1]."""
    values = np.asarray(image, np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
