"""The image that the generator is given: a cut-out that it frames itself, or a framed crop.

Figures: Cupid, commit 10af9b2, pipelines/processing.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparse3d.cutouts import check_cutout, object_box, view_tensor

Uint8 = NDArray[np.uint8]
FRAME_MARGIN = 1.2  # side of the crop over the longer side of the object
TOKENS_SIZE, VISUAL_SIZE = 518, 256  # in pixels: for DINOv2, and for the low-level features


@dataclass(frozen=True, eq=False)
class ObjectImage:
    """One object on black, at the sizes that are looked at: (3, size, size) float32 in [0, 1].

    box: left, top, right, bottom of the square in the picture that it was cut from, in pixels.
    """

    tokens: Tensor
    visual: Tensor
    box: tuple[float, float, float, float]


def from_cutout(
    rgba: Uint8, tokens_size: int = TOKENS_SIZE, visual_size: int = VISUAL_SIZE
) -> ObjectImage:
    """One cut-out (H, W, 4) uint8, straight alpha, framed as the reference frames it.

    Raises BadImage where there is nothing to see.
    """
    check_cutout(rgba)
    box = object_box(rgba, FRAME_MARGIN)
    framed = np.asarray(Image.fromarray(rgba, "RGBA").crop(box))  # Pillow rounds the box
    return _sized(framed, tokens_size, visual_size, box)


def from_crop(
    rgba: Uint8, tokens_size: int = TOKENS_SIZE, visual_size: int = VISUAL_SIZE
) -> ObjectImage:
    """A square crop (S, S, 4) uint8 that frames its object already, 1 to 1.4 times as in training:
    the pose that is found belongs to this crop."""
    check_cutout(rgba)
    if rgba.shape[0] != rgba.shape[1]:
        raise ValueError(f"the crop has {rgba.shape[1]} x {rgba.shape[0]} pixels: not square")
    return _sized(rgba, tokens_size, visual_size, (0, 0, rgba.shape[1], rgba.shape[0]))


def _sized(
    rgba: Uint8, tokens_size: int, visual_size: int, box: tuple[float, float, float, float]
) -> ObjectImage:
    return ObjectImage(view_tensor(rgba, tokens_size), view_tensor(rgba, visual_size), box)
