"""What does the point map network get, and what does it say of the ground?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Float64, Uint8

LONG_SIDE_PX = 256
STEP_PX, CELL_PX = 32, 4  # sizes are multiples of the first; an output cell is the second
# As of the detector whose first stages these are; of blue, green, red.
BGR_MEAN = np.array([103.53, 116.28, 123.675], np.float32)
BGR_DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
HORIZON = 0.05  # rays this near to the horizon blur into it


@dataclass(frozen=True)
class Frame:
    """A photo of width x height brought to the network's size: inner_width, inner_height (px) are
    the photo's part of the padded picture."""

    width: int
    height: int
    inner_width: int
    inner_height: int

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the network's output."""
        rows, columns = (-(-n // STEP_PX) * STEP_PX for n in (self.inner_height, self.inner_width))
        return rows // CELL_PX, columns // CELL_PX

    def centres(self) -> tuple[Float32, Float32]:
        """(rows, columns) x and y of the cells' centres from the photo's middle, over its longer
        side."""
        rows, columns = self.cells
        y, x = (np.mgrid[:rows, :columns] + 0.5).astype(np.float32) * CELL_PX
        longer = max(self.inner_width, self.inner_height)
        return (x - self.inner_width / 2) / longer, (y - self.inner_height / 2) / longer


def frame_of(width: int, height: int) -> Frame:
    """How a photo is brought to the network's size."""
    scale = LONG_SIDE_PX / max(width, height)
    inner = (max(1, round(n * scale)) for n in (width, height))
    return Frame(width, height, *inner)


def network_image(rgb: Uint8, frame: Frame) -> Float32:
    """(H, W, 3) uint8 sRGB -> (3, h, w) float32, normalized; black beyond the photo."""
    size = (frame.inner_width, frame.inner_height)
    method = cv2.INTER_AREA if frame.inner_width < frame.width else cv2.INTER_LINEAR
    small = cv2.resize(rgb, size, interpolation=method)
    rows, columns = frame.cells
    padded = np.zeros((rows * CELL_PX, columns * CELL_PX, 3), np.float32)
    padded[: frame.inner_height, : frame.inner_width] = small[..., ::-1]
    return np.ascontiguousarray(((padded - BGR_MEAN) / BGR_DEVIATION).transpose(2, 0, 1))


def network_grid(frame: Frame, focal: float | None) -> Float32:
    """(5, rows, columns): x, y of the cells; 1 inside the photo; their rays' slopes, x and y over
    the focal length, where that (over the longer side) is known, else 0."""
    x, y = frame.centres()
    rows, columns = frame.cells
    cell_y, cell_x = (np.mgrid[:rows, :columns] + 0.5) * CELL_PX
    inside = (cell_x < frame.inner_width) & (cell_y < frame.inner_height)
    slopes = (np.zeros_like(x), np.zeros_like(y)) if focal is None else (x / focal, y / focal)
    return np.stack([x, y, inside.astype(np.float32), *slopes]).astype(np.float32)


def log_ground_depth(
    up: Float64, focal: float, x: NDArray[np.floating], y: NDArray[np.floating]
) -> Float64:
    """Log depth of a level plane one unit below the camera at x, y (over the longer side, as
    `focal`), blurred about the horizon; up (3,), camera frame. Hoiem, Efros and Hebert, "Putting
    Objects in Perspective", CVPR 2006, equation 3, for any up."""
    below = -(up[0] * x / focal + up[1] * y / focal + up[2])
    return -np.log((below + np.sqrt(below**2 + 4 * HORIZON**2)) / 2)
