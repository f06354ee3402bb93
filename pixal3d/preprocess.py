"""From an image of an object to the input of the image encoder: cropped, composited, resized.

Figures: Pixal3D, commit cdbb2bb, pipelines/pixal3d_image_to_3d.py, `preprocess_image`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparse3d.cutouts import as_tensor, check_cutout, object_box

MAX_SIDE_PX = 1024
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
    box = object_box(np.asarray(image), FRAME_MARGIN)
    framed = image.crop(box)  # Pillow rounds the box
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
    return as_tensor(resized)
