"""Masks dilated and eroded by a disc or a square."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from scene.types import Bool, Uint8

Element = Callable[[int], Uint8]


def disc(radius_px: int) -> Uint8:
    """(2 r + 1, 2 r + 1): 1 within the radius."""
    size = (2 * radius_px + 1,) * 2
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)


def square(radius_px: int) -> Uint8:
    """(2 r + 1, 2 r + 1): 1 everywhere; with radius 1 the eight neighbours."""
    return np.ones((2 * radius_px + 1,) * 2, np.uint8)


def dilated(mask: Bool, radius_px: int, element: Element = disc) -> Bool:
    """(H, W): the pixels that an element about them connects with the mask."""
    if mask.size == 0:
        return mask
    return cv2.dilate(mask.astype(np.uint8), element(radius_px)) > 0


def eroded(mask: Bool, radius_px: int, element: Element = disc, beyond: bool = True) -> Bool:
    """(H, W): the pixels about which an element lies within the mask.

    beyond: whether what lies beyond the picture's border counts as the mask.
    """
    if mask.size == 0:
        return mask
    return cv2.erode(mask.astype(np.uint8), element(radius_px), borderValue=int(beyond)) > 0
