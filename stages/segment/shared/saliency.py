"""How salient is each pixel of an image, by U-2-Net-p on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.cores import side_by_side
from scene.types import Float32, Uint8
from stages.bundled import load_network
from stages.segment.shared.memory import remembered

SaliencyMap = Callable[[Uint8], Float32]
Pixel = tuple[int, int]  # x, y
Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 exclusive

WEIGHTS_FILE = "u2netp.onnx"
WEIGHTS_SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
INPUT_SIZE_PX = 320  # the training size, Qin et al. 2020, section 4.2
# The ImageNet statistics which the network was trained with (U-2-Net data_loader.py, ToTensorLab).
RGB_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
RGB_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
SPECK_FRACTION = 5e-4  # parts below this share of the photo are not looked at
CLEAR_PART = 0.8  # share of a clear part's pixels with saliency above one half
CLEAR_FRACTION = 0.6  # a crop above this share of the photo shows nothing new
FAINT = 0.2  # saliency above this in the whole photo earns a closer look
CROP_MARGINS = (0.25, 1.0)  # around a salient part, as shares of its longer side


def load_saliency() -> SaliencyMap:
    """Read U-2-Net-p from the package; the result maps rgb to saliency, see `saliency_of`.

    Raises BadWeights where the weights file is not the one that this code was written for.
    """
    network = load_network(WEIGHTS_FILE, WEIGHTS_SHA256)

    @remembered(64)
    def saliency_of(rgb: Uint8) -> Float32:
        """(H, W, 3) uint8 sRGB -> (H, W) float32 in [0, 1], 1 on the most salient object."""
        saliency = network(network_tensor(rgb)).reshape(INPUT_SIZE_PX, INPUT_SIZE_PX)
        height, width = rgb.shape[:2]
        enlarged = cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.clip(enlarged, 0, 1).astype(np.float32)

    return saliency_of


def network_tensor(rgb: Uint8) -> Float32:
    """(H, W, 3) uint8 sRGB -> (1, 3, 320, 320) float32, the network's normalized input."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ValueError(f"expected rgb (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    size = (INPUT_SIZE_PX, INPUT_SIZE_PX)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small /= max(float(small.max()), 1.0)
    normalized = (small - RGB_MEAN) / RGB_DEVIATION
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], np.float32)


def closer_saliency(
    rgb: Uint8, saliency_of: SaliencyMap, places: list[Pixel] | None = None
) -> Float32:
    """Saliency (H, W) of the whole photo, and the most of two closer looks at each part of it.

    Parts that fill most of the photo are clear already; with `places` only the parts whose window
    holds one of these pixels are looked at.
    """
    saliency = saliency_of(rgb)
    height, width = saliency.shape
    _, parts, stats, _ = cv2.connectedComponentsWithStats((saliency > FAINT).astype(np.uint8))
    windows = _windows_of_parts(rgb, saliency, parts, stats, places)
    largest = CLEAR_FRACTION * width * height
    crops = {w for own in windows.values() for w in own if (w[2] - w[0]) * (w[3] - w[1]) <= largest}
    found = side_by_side(lambda w: (w, saliency_of(rgb[w[1] : w[3], w[0] : w[2]])), sorted(crops))
    looks = dict(found)
    closer = saliency.copy()
    for i, own_windows in windows.items():
        left, top, right, bottom = own_windows[-1]
        widest = np.s_[top:bottom, left:right]
        part, seen = parts[widest] == i, np.zeros((bottom - top, right - left), np.float32)
        for x0, y0, x1, y1 in own_windows:
            if (x0, y0, x1, y1) in looks:
                look = seen[y0 - top : y1 - top, x0 - left : x1 - left]
                np.maximum(look, looks[x0, y0, x1, y1], out=look)
        if seen.any():
            # A closer look may show more of this part, but not other parts, which have their own.
            _, blobs = cv2.connectedComponents(((seen > FAINT) | part).astype(np.uint8))
            own = np.isin(blobs, np.unique(blobs[part]))
            known = closer[widest]
            known[own] = np.where(part, seen, np.maximum(seen, known))[own]
    return closer


def _windows_of_parts(
    rgb: Uint8, saliency: Float32, parts: NDArray[Any], stats: NDArray[Any],
    places: list[Pixel] | None,
) -> dict[int, list[Window]]:  # fmt: skip
    """The windows of each part that deserves a closer look, the widest one last."""
    height, width = saliency.shape
    windows: dict[int, list[Window]] = {}
    for i, (x, y, wide, high, area) in enumerate(stats[1:], 1):
        if area < SPECK_FRACTION * width * height:
            continue
        if places is not None and not any(
            x <= px < x + wide and y <= py < y + high for px, py in places
        ):
            continue
        margins = CROP_MARGINS
        box = np.s_[y : y + high, x : x + wide]
        # A part that is faint as a whole may be a piece of more: only it gets the wider look.
        if (saliency[box][parts[box] == i] > 0.5).mean() > CLEAR_PART:
            margins = margins[:1]
        windows[i] = [
            clipped((x, y, x + wide, y + high), 8 + margin * max(wide, high), rgb)
            for margin in margins
        ]
    return windows


def clipped(window: tuple[float, ...], margin_px: float, rgb: Uint8) -> Window:
    """A window with a margin, cut to the picture."""
    x0, y0, x1, y1 = window
    height, width = rgb.shape[:2]
    left, top = max(int(x0 - margin_px), 0), max(int(y0 - margin_px), 0)
    return left, top, min(int(x1 + margin_px) + 1, width), min(int(y1 + margin_px) + 1, height)
