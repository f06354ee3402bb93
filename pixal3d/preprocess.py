"""From an image of an object to the input of the image encoder: cropped, composited, resized.

Figures: Pixal3D, commit cdbb2bb, pipelines/pixal3d_image_to_3d.py, `preprocess_image`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparse3d.errors import BadImage

MAX_SIDE_PX = 1024
OPAQUE_ALPHA = 0.8 * 255  # pixels above it decide where the object is
FRAME_MARGIN = 1.1  # side of the crop over the longer side of the object

Uint8 = NDArray[np.uint8]


def crop_to_object(rgba: Uint8, background: tuple[int, int, int] = (0, 0, 0)) -> Uint8:
    """The object alone in a square frame: (H, W, 4) uint8 -> (S, S, 3) uint8, straight alpha.

    Pictures above 1024 pixels are reduced first. The frame is 1.1 times the object's longer side
    and may reach over the picture's edge. Raises BadImage where there is nothing to see.
    """
    check_cutout(rgba)
    image = Image.fromarray(rgba, "RGBA")
    scale = MAX_SIDE_PX / max(image.size)
    if scale < 1:
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    rows, columns = np.nonzero(np.asarray(image)[..., 3] > OPAQUE_ALPHA)
    if len(rows) == 0:
        raise BadImage("the cut-out has no solid pixel: its opacity is nowhere above 80 percent")
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    half = int(max(right - left, bottom - top) * FRAME_MARGIN) // 2
    if half == 0:
        raise BadImage("the object in the cut-out is one pixel wide: give a larger picture")
    x, y = (left + right) / 2, (top + bottom) / 2
    framed = image.crop((x - half, y - half, x + half, y + half))  # Pillow rounds the box
    return over(np.asarray(framed), background)


def over(rgba: Uint8, background: tuple[int, int, int] = (0, 0, 0)) -> Uint8:
    """A picture (H, W, 4) on a plain background: (H, W, 3) uint8, fractions cut off."""
    colours = rgba.astype(np.float32) / 255
    alpha = colours[..., 3:]
    blended = colours[..., :3] * alpha + np.array(background, np.float32) / 255 * (1 - alpha)
    return (np.clip(blended, 0, 1) * 255).astype(np.uint8)


def image_tensor(rgb: Uint8, size: int) -> Tensor:
    """(H, W, 3) uint8 resized to (3, size, size) float32 in [0, 1], by Lanczos as the reference."""
    resized = Image.fromarray(rgb, "RGB").resize((size, size), Image.Resampling.LANCZOS)
    return _to_tensor(resized)


def view_tensor(rgba: Uint8, size: int) -> Tensor:
    """A posed view (H, W, 4) on black: (3, size, size) float32; never cropped or re-centred.

    Colours are multiplied by alpha after resizing and not rounded again, as the reference's
    several-view input is.
    """
    resized = Image.fromarray(rgba, "RGBA").resize((size, size), Image.Resampling.LANCZOS)
    tensor = _to_tensor(resized)
    return tensor[:3] * tensor[3:]


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


def _to_tensor(image: Image.Image) -> Tensor:
    values = np.asarray(image, np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
