"""Where are everyday things in a photo, and what are they? Boxes by NanoDet-g, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Uint8
from stages.bundled import Network, load_graph, load_network
from stages.segment.lite.boxes import Box, iou
from stages.segment.lite.masks import FeatureMaps, FeaturesOf
from stages.segment.lite.words import CLASSES
from stages.segment.shared.memory import remembered

WEIGHTS_FILE = "nanodet.onnx"
WEIGHTS_SHA256 = "a01c0a7ae552dc077f3c5b3c9f41a4842e7a7b795932945ce369eaeba61f667e"
INPUT_SIDES_PX = (416, 640)  # long sides: of its training, and one that shows what is small
# NanoDet v0.x, config nanodet-g.yml: `normalize`, of blue, green, red; strides; `reg_max` 10.
BGR_MEAN = np.array([103.53, 116.28, 123.675], np.float32)
BGR_DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
STRIDES_PX = (8, 16, 32)
BINS = 11
MIN_SCORE = 0.1  # of a cell; what is below never becomes an object, even found twice
SAME_CLASS, ANY_CLASS = 0.6, 0.8  # boxes of one scale with a greater IoU are one thing
SAME_AT_BOTH_SCALES = 0.55  # IoU of the boxes of one thing at two scales

Int = NDArray[np.int64]
Detector = Callable[[Uint8], "list[Detection]"]


@dataclass(frozen=True)
class Detection:
    """box: x0, y0, x1, y1 in pixels of the photo; score: that something is there; names: what it
    may be, of CLASSES, each with its score, best first. Scores are in [0, 1]."""

    box: Box
    score: float
    names: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str:
        """What it is most likely."""
        return self.names[0][0]

    @property
    def name_score(self) -> float:
        """How likely it is that."""
        return self.names[0][1]

    def score_as(self, name: str) -> float:
        """How likely it is something, 0 if it does not look like it."""
        return dict(self.names).get(name, 0.0)


def load_detector() -> Detector:
    """Read NanoDet from the package; the result finds what is in a photo (H, W, 3) uint8 sRGB.

    Raises BadWeights where the weights file is not the one that this code was written for.
    """
    network = load_network(WEIGHTS_FILE, WEIGHTS_SHA256)

    @remembered(8)
    def detect(rgb: Uint8) -> list[Detection]:
        return merged_scales([detected(rgb, side, network) for side in INPUT_SIDES_PX])

    return detect


def load_features() -> FeaturesOf:
    """Read NanoDet as `load_detector` does; the result is what masks are found from."""
    network = load_graph(WEIGHTS_FILE, WEIGHTS_SHA256)

    @remembered(4)
    def maps(rgb: Uint8, long_side_px: int) -> FeatureMaps:
        """Features of a photo brought to a size."""
        small = at_size(rgb, long_side_px)
        levels = network(image=network_tensor(small))[1:4]
        return FeatureMaps(rgb, tuple(level[0] for level in levels), small.shape[1] / rgb.shape[1])

    return maps


def detected(rgb: Uint8, long_side_px: int, network: Network) -> list[Detection]:
    """What the network finds in a photo brought to a size, best first."""
    height, width = rgb.shape[:2]
    small = at_size(rgb, long_side_px)
    tensor = network_tensor(small)
    boxes, classes, scores = decoded(network(tensor)[0], *tensor.shape[2:])
    enlarged = boxes * np.tile([width / small.shape[1], height / small.shape[0]], 2)
    boxes = np.clip(enlarged, 0, [width, height] * 2)
    found = [
        Detection((x0, y0, x1, y1), score, ((CLASSES[kind], score),))
        for (x0, y0, x1, y1), kind, score in zip(
            boxes.tolist(), classes.tolist(), scores.tolist(), strict=True
        )
        if x1 - x0 >= 2 and y1 - y0 >= 2
    ]
    return without_doubles(found)


def at_size(rgb: Uint8, long_side_px: int) -> Uint8:
    """A photo with its long side brought to a length."""
    height, width = rgb.shape[:2]
    scale = long_side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, size, interpolation=method), np.uint8)


def network_tensor(rgb: Uint8) -> Float32:
    """(H, W, 3) uint8 sRGB -> (1, 3, h, w) float32, normalized; black up to multiples of 32."""
    step = STRIDES_PX[-1]
    height, width = (-(-side // step) * step for side in rgb.shape[:2])
    padded = np.zeros((height, width, 3), np.float32)
    padded[: rgb.shape[0], : rgb.shape[1]] = rgb[..., ::-1]
    return np.ascontiguousarray(((padded - BGR_MEAN) / BGR_DEVIATION).transpose(2, 0, 1)[None])


def decoded(cells: Float32, height_px: int, width_px: int) -> tuple[Float32, Int, Float32]:
    """(N, 80 + 44) of a picture -> boxes (M, 4) in its pixels, classes (M,) and scores (M,).

    A cell has a score per class, and for left, top, right and bottom a distribution over 0..10
    strides from its centre (Li et al. 2020, "Generalized Focal Loss", equation 5).
    """
    grids = [np.mgrid[: height_px // s, : width_px // s].reshape(2, -1)[::-1].T for s in STRIDES_PX]
    strides = np.repeat(STRIDES_PX, [len(grid) for grid in grids]).astype(np.float32)
    centres = (np.concatenate(grids) + 0.5) * strides[:, None]
    cell, kind = np.nonzero(cells[:, : len(CLASSES)] > MIN_SCORE)
    bins = cells[cell, len(CLASSES) :].reshape(-1, 4, BINS)
    shares = np.exp(bins - bins.max(2, keepdims=True))
    reach = (shares @ np.arange(BINS)) / shares.sum(2) * strides[cell, None]
    corners = np.concatenate([centres[cell] - reach[:, :2], centres[cell] + reach[:, 2:]], 1)
    return corners.astype(np.float32), kind, cells[cell, kind]


def without_doubles(found: Iterable[Detection]) -> list[Detection]:
    """Of boxes that mean one thing the best, best first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.score):
        if all(
            iou(one.box, other.box) < (SAME_CLASS if one.name == other.name else ANY_CLASS)
            for other in kept
        ):
            kept.append(one)
    return kept


def merged_scales(scales: Sequence[Sequence[Detection]]) -> list[Detection]:
    """The things found at several scales, best first: mean boxes, and mean scores, 0 where missed.

    A name has the mean score of the scales, 0 of one that does not give it.
    """
    things: list[list[Detection | None]] = []
    for index, found in enumerate(scales):
        for one in found:
            free = [t for t in things if t[index] is None]
            fits = [max(iou(one.box, d.box) for d in t if d) for t in free]
            if fits and max(fits) > SAME_AT_BOTH_SCALES:
                free[int(np.argmax(fits))][index] = one
            else:
                things.append([one if i == index else None for i in range(len(scales))])
    return sorted((averaged(t) for t in things), key=lambda d: -d.score)


def averaged(scales: Sequence[Detection | None]) -> Detection:
    """One thing as it was found, or missed, at each scale."""
    found = [d for d in scales if d]
    weights = np.array([d.score for d in found]) ** 2
    x0, y0, x1, y1 = (weights @ np.array([d.box for d in found]) / weights.sum()).tolist()
    known = dict.fromkeys(name for d in found for name, _ in d.names)
    names = [(name, sum(d.score_as(name) for d in found) / len(scales)) for name in known]
    names.sort(key=lambda n: -n[1])
    return Detection((x0, y0, x1, y1), sum(d.score for d in found) / len(scales), tuple(names))
