"""Is a surface see-through, or is its alpha just noise?"""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Uint8

NOISE_PX = 5  # specks of half this size are no glass
TRANSPARENT = 191  # alpha below this, of 255, is see-through
WHOLE = 230  # alpha from this on is that of an opaque surface
MIN_TRANSPARENT_FRACTION = 0.01  # of the texels


def alpha_without_noise(alpha: Uint8) -> Uint8 | None:
    """Alpha (H, W) without its noise, or None where the whole surface is opaque.

    Predicted alpha is a little below 1 everywhere and has specks of anything; drawn as it is, that
    makes holes.
    """
    calm = cv2.medianBlur(np.ascontiguousarray(alpha), NOISE_PX)
    if (calm < TRANSPARENT).mean() < MIN_TRANSPARENT_FRACTION:
        return None
    return np.where(calm >= WHOLE, np.uint8(255), calm)
