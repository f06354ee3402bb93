"""Where does each chart lie in a square texture? Rectangles along a skyline, as large as fits."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene.types import Float64

SCALE_STEPS = 12  # of a bisection, after which the scale is known to a quarter of a per cent


def packed(sizes: Float64, side_px: int, padding_px: int) -> tuple[float, Float64]:
    """The largest scale at which rectangles of sizes (C, 2) fit a square, side_px long, and where
    the corner of each one then is: (C, 2) pixels, half the padding all around it.

    ValueError where the padding alone leaves no room.
    """
    order = np.argsort(-sizes[:, 1], kind="stable")
    area = float((sizes[:, 0] * sizes[:, 1]).sum())
    high = side_px / max(np.sqrt(area), float(sizes.max()), 1e-12)
    low, corners = 0.0, None
    for _ in range(SCALE_STEPS):
        scale = (low + high) / 2
        found = _placed(sizes, order, scale, side_px, padding_px)
        if found is None:
            high = scale
        else:
            low, corners = scale, found
    if corners is None:
        raise ValueError(f"{len(sizes)} charts do not fit a texture of {side_px} px")
    return low, corners + padding_px / 2


def _placed(
    sizes: Float64, order: NDArray[np.int64], scale: float, side_px: int, padding_px: int
) -> Float64 | None:
    boxes = np.ceil(sizes * scale).astype(np.int64) + 1 + padding_px
    corners = np.zeros((len(boxes), 2), np.int64)
    return corners.astype(np.float64) if _skyline(boxes, order, side_px, corners) else None


@njit(cache=True, nogil=True)
def _skyline(boxes, order, side, corners):  # pragma: no cover
    """Each box as low as it goes, then as far left; False where one does not fit."""
    heights = np.zeros(side, np.int64)
    queue = np.zeros(side, np.int64)
    for i in order:
        width, height = boxes[i, 0], boxes[i, 1]
        if width > side or height > side:
            return False
        best, column, head, tail = side + 1, -1, 0, 0
        for x in range(side):  # the highest column under a window that moves to the right
            while tail > head and heights[queue[tail - 1]] <= heights[x]:
                tail -= 1
            queue[tail] = x
            tail += 1
            if queue[head] <= x - width:
                head += 1
            if x >= width - 1 and heights[queue[head]] < best:
                best, column = heights[queue[head]], x - width + 1
        if column < 0 or best + height > side:
            return False
        corners[i, 0], corners[i, 1] = column, best
        heights[column : column + width] = best + height
    return True
