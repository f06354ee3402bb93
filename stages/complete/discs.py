"""Masks made larger and smaller by a disc."""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool


def dilated(mask: Bool, radius_px: int) -> Bool:
    """(N, N): the pixels within a radius of a mask."""
    return cv2.dilate(mask.astype(np.uint8), _disc(radius_px)) > 0


def eroded(mask: Bool, radius_px: int) -> Bool:
    """(N, N): the pixels of a mask that are farther than a radius from what is not."""
    return cv2.erode(mask.astype(np.uint8), _disc(radius_px)) > 0


def _disc(radius_px: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
