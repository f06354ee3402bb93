"""Draws masks on an image: one colour and one number per object, wherever masks are shown."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from scene.types import Bool, Uint8

GOLDEN_RATIO = 0.618034  # steps of hue that keep neighbours apart
TINT = 0.4  # share of the object's colour inside its mask
OUTLINE_FRACTION, BADGE_FRACTION = 1 / 500, 1 / 42  # of the picture's long side


def mask_colour(index: int) -> tuple[int, int, int]:
    """A bright sRGB colour per object, far from its neighbours' in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * GOLDEN_RATIO) % 1, 0.8, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_outlines(image: Uint8, masks: Sequence[Bool], width_px: int) -> None:
    """Draw the borders of masks (H, W) into a picture (H, W, 3), holes included."""
    for index, mask in enumerate(masks):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, mask_colour(index), width_px)


def draw_masks(rgb: Uint8, masks: Sequence[Bool]) -> Uint8:
    """A copy of a picture (H, W, 3) with every mask (H, W) tinted, outlined and numbered from 1."""
    image = rgb.astype(np.float32)
    for index, mask in enumerate(masks):
        colour = np.array(mask_colour(index), np.float32)
        image[mask] = image[mask] * (1 - TINT) + colour * TINT
    drawn = np.ascontiguousarray(np.rint(image).astype(np.uint8))
    draw_outlines(drawn, masks, max(1, round(max(rgb.shape) * OUTLINE_FRACTION)))
    radius_px = max(8, round(max(rgb.shape) * BADGE_FRACTION))
    for index, mask in enumerate(masks):
        if mask.any():
            _draw_badge(drawn, _innermost(mask), radius_px, index)
    return drawn


def _innermost(mask: Bool) -> tuple[int, int]:
    """(x, y) of the pixel of a mask that is farthest from its border."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(x), int(y)


def _draw_badge(image: Uint8, centre: tuple[int, int], radius_px: int, index: int) -> None:
    """A dark disc with a coloured rim and the object's number."""
    text, font, size = str(index + 1), cv2.FONT_HERSHEY_SIMPLEX, radius_px / 20
    thickness = max(1, radius_px // 9)
    cv2.circle(image, centre, radius_px, (20, 20, 20), -1, cv2.LINE_AA)
    cv2.circle(image, centre, radius_px, mask_colour(index), thickness, cv2.LINE_AA)
    (wide, high), _ = cv2.getTextSize(text, font, size, thickness)
    corner = (centre[0] - wide // 2, centre[1] + high // 2)
    cv2.putText(image, text, corner, font, size, (255, 255, 255), thickness, cv2.LINE_AA)
