"""What does a detection's box hold, pixel by pixel? A small network on the detector's features.

The features of three levels and the photo are sampled in a window around the box; the network says
for each of the window's cells how likely it is part of the thing that the box means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from scene.types import Float32, Uint8
from stages.bundled import load_graph
from stages.segment.lite.boxes import Box

WEIGHTS_FILE = "masks.onnx"
WEIGHTS_SHA256 = "8ce7a2328c83376ae5427d60c9e60d69512ea5f0b22cc3ec602c959d195a65e3"
SIDES_PX = (416, 640)  # long sides of the photo for the detector: usual, and for what is small
SMALL_PX = 56  # of a box's longer side at the usual size
LARGEST = 0.4  # of the photo's area: what fills more of it was not trained on
MARGIN = 0.15  # of the box's sides: by how much the window is wider on each side
STRIDES_PX = (4, 8, 16)  # of the detector's features that are used
FEATURE_CELLS, MASK_CELLS = 28, 56  # along a side of the window
RGB_MEAN, RGB_DEVIATION = 118.0, 58.0


class FeatureMaps(NamedTuple):
    """What the detector computed for a photo at one size: photo (H, W, 3) uint8 as it was given;
    features (C, h, w) float32 of strides 4, 8 and 16; network_from_photo scales pixels."""

    photo: Uint8
    features: tuple[Float32, ...]
    network_from_photo: float


class Windows(NamedTuple):
    """The network's input: features (N, C, 28, 28) of all levels, colours (N, 3, 56, 56)."""

    features: Float32
    colours: Float32


FeaturesOf = Callable[[Uint8, int], FeatureMaps]  # of a photo at a long side
InBox = Callable[[Uint8, Box], Float32]  # photo and box -> (H, W) likelihood in [0, 1]


def load_in_box(features_of: FeaturesOf) -> InBox:
    """Read the network from the package; raises BadWeights where it is another file.

    The result says of each pixel of a photo (H, W, 3) uint8 how likely it is what a box means; 0
    outside the box's window.
    """
    network = load_graph(WEIGHTS_FILE, WEIGHTS_SHA256)

    def in_box(rgb: Uint8, box: Box) -> Float32:
        longer = max(box[2] - box[0], box[3] - box[1]) * SIDES_PX[0] / max(rgb.shape)
        maps = features_of(rgb, SIDES_PX[0] if longer >= SMALL_PX else SIDES_PX[1])
        return in_photo(network(**windows(maps, [box])._asdict())[0][0], box, rgb)

    return in_box


def in_photo(cells: Float32, box: Box, rgb: Uint8) -> Float32:
    """(56, 56) in the window around a box -> (H, W) in its photo, linearly."""
    x0, y0, x1, y1 = window_around(box)
    across, down = MASK_CELLS / (x1 - x0), MASK_CELLS / (y1 - y0)
    cells_from_photo = np.array(
        [[across, 0, (0.5 - x0) * across - 0.5], [0, down, (0.5 - y0) * down - 0.5]]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    placed = cv2.warpAffine(cells, cells_from_photo, rgb.shape[1::-1], flags=flags, borderValue=0)
    return np.asarray(placed, np.float32)


def windows(maps: FeatureMaps, boxes: Sequence[Box]) -> Windows:
    """What the network sees of boxes in pixels of the photo."""
    wide = [window_around(box) for box in boxes]
    levels = []
    for level, stride in zip(maps.features, STRIDES_PX, strict=True):
        cells_from_photo = maps.network_from_photo / stride
        there = [scaled(window, cells_from_photo) for window in wide]
        levels.append(np.stack([sampled(level, window, FEATURE_CELLS) for window in there]))
    colours = np.stack([colours_in(maps.photo, window) for window in wide])
    return Windows(np.concatenate(levels, 1), colours)


def window_around(box: Box) -> Box:
    """A box with its margin."""
    across, down = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    return box[0] - across, box[1] - down, box[2] + across, box[3] + down


def scaled(box: Box, factor: float) -> Box:
    """A box in a photo of another scale."""
    x0, y0, x1, y1 = box
    return x0 * factor, y0 * factor, x1 * factor, y1 * factor


def colours_in(photo: Uint8, window: Box) -> Float32:
    """(3, 56, 56) normalized rgb in a window."""
    side = max(window[2] - window[0], window[3] - window[1])
    factor = min(1.0, MASK_CELLS / side)
    height, width = photo.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    values = sampled(small.transpose(2, 0, 1), scaled(window, factor), MASK_CELLS)
    return np.asarray((values - RGB_MEAN) / RGB_DEVIATION, np.float32)


def sampled(values: Float32, window: Box, cells: int) -> Float32:
    """(C, h, w) at the centres of cells x cells parts of a window, linearly; (C, cells, cells).

    Outside the border values go on.
    """
    rows = _between(window[1], window[3], cells, values.shape[1])
    columns = _between(window[0], window[2], cells, values.shape[2])
    low, high, above = rows
    lines = values[:, low] * (1 - above)[:, None] + values[:, high] * above[:, None]
    low, high, above = columns
    return np.asarray(lines[:, :, low] * (1 - above) + lines[:, :, high] * above, np.float32)


def _between(start: float, end: float, cells: int, count: int) -> tuple[np.ndarray, ...]:
    """The neighbours below and above of each sample along an axis, and the weight of the second."""
    at = start + (np.arange(cells) + 0.5) / cells * (end - start) - 0.5
    at = np.clip(at, 0, count - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, count - 1)
    return low, high, (at - low).astype(np.float32)
