"""Turns the outlines and run lengths of annotation files into pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scene.errors import BadInput
from scene.images import MAX_MEGAPIXELS
from scene.types import Bool

CIRCLE_CORNERS = 128


def polygon(corners: NDArray, width: int, height: int) -> Bool:
    """(height, width): pixels whose centres lie inside the corners (N, 2), by the even-odd rule."""
    ends = np.roll(corners, -1, axis=0)
    toggles = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(corners, ends, strict=True):
        if y0 == y1:
            continue
        top, bottom = sorted((y0, y1))
        first, last = np.clip(np.ceil([top - 0.5, bottom - 0.5]), 0, height).astype(int)
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
        toggles[rows, columns] += 1
    return (np.cumsum(toggles, axis=1)[:, :width] % 2).astype(bool)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> NDArray:
    """The corners (4, 2) of an upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, rotation_rad: float = 0
) -> NDArray:
    """Corners (N, 2) on an ellipse about (x, y)."""
    angles = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False)
    along, across = radius_x * np.cos(angles), radius_y * np.sin(angles)
    c, s = math.cos(rotation_rad), math.sin(rotation_rad)
    return np.stack([x + along * c - across * s, y + along * s + across * c], -1)


def runs(counts: Sequence[int] | NDArray, width: int, height: int) -> Bool:
    """(height, width): pixels by rows from run lengths, of background first.

    Raises BadInput where they do not fill the picture.
    """
    lengths = np.asarray(counts, np.int64)
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise BadInput(f"is too large: {width} x {height} pixels")
    if lengths.ndim != 1 or (lengths < 0).any() or (lengths > width * height).any():
        raise BadInput("has run lengths that are no numbers of pixels")
    if lengths.sum() != width * height:
        raise BadInput(f"has runs of {lengths.sum()} pixels, not of {width * height}")
    on = np.arange(len(lengths)) % 2 == 1
    return np.repeat(on, lengths).reshape(height, width)


def coco_runs(counts: str) -> list[int]:
    """Run lengths from COCO's compressed string (pycocotools, maskApi.c, rleFrString).

    Each is a number of 5 bits a character, lowest first, less the one two before from the third on.
    """
    lengths: list[int] = []
    number = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise BadInput("has a damaged run-length string")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    if shift:
        raise BadInput("has a run-length string that was cut off")
    return lengths
