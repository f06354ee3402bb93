"""The scale of one object by itself: an estimate per visible pixel, and how they vary over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.robust import SIGMA_FROM_MEDIAN
from alignment.visible import DepthView, VisiblePoints
from scene.types import Float64

GRID = 4  # an object's points are divided into GRID x GRID parts
MIN_PART_POINTS = 12  # in a part whose median counts
MEDIAN_ERROR = 1.25  # standard error of a Gaussian sample's median, times sigma / sqrt(N)
CONTACT_REACH = 0.25  # what counts as near a contact, over the object's size in the photo


@dataclass(frozen=True, eq=False)
class ScaleEstimates:
    """Estimates of log lambda by the points of one object: all together, and how they vary over it.

    log (N,), pixels (N, 2) row and column; middle: median of all; sigma: of a single pixel; spread:
    robust sigma of the medians of the object's parts, without what noise of single pixels adds;
    size_px: of the object in the photo.
    """

    log: Float64
    pixels: np.ndarray
    middle: float
    sigma: float
    spread: float
    size_px: float

    @property
    def noise(self) -> float:
        """Standard error of the median of all."""
        return MEDIAN_ERROR * self.sigma / np.sqrt(len(self.log))

    def local_estimate(self, pixel: Float64) -> tuple[float, float]:
        """The scale estimate near a pixel (row, column) and its standard error.

        Few points are noisy and many are far: the local median is believed as far as the estimates
        vary over the object by more than their noise.
        """
        inside = np.abs(self.pixels - pixel).max(1) < CONTACT_REACH * self.size_px
        if not inside.any():
            return self.middle, norm(self.noise, self.spread)
        error = MEDIAN_ERROR * self.sigma / np.sqrt(inside.sum())
        weight = self.spread**2 / max(self.spread**2 + error**2, 1e-30)
        local = weight * float(np.median(self.log[inside])) + (1 - weight) * self.middle
        return local, norm(self.noise, np.sqrt(weight) * error)


@dataclass(frozen=True, eq=False)
class SingleObjectFit:
    """One object fitted by itself: its rendered depth, points, scale estimates and log lambda."""

    view: DepthView
    points: VisiblePoints
    scale_estimates: ScaleEstimates
    log_scale: float


def scale_estimates_of(points: VisiblePoints) -> ScaleEstimates:
    """The scale estimates of an object's points."""
    log = np.log(points.scale_estimates)
    low, high = points.pixels.min(0), points.pixels.max(0)
    part = (points.pixels - low) * GRID // (high - low + 1) @ [GRID, 1]
    counts = np.bincount(part)
    large = np.flatnonzero(counts >= MIN_PART_POINTS)
    medians = np.array([np.median(log[part == p]) for p in large])
    sigma = robust_sigma(log)
    by_noise = (MEDIAN_ERROR * sigma) ** 2 * float((1 / counts[large]).mean()) if len(large) else 0
    spread = float(np.sqrt(max(robust_sigma(medians) ** 2 - by_noise, 0)))
    size = float((high - low).max() + 1)
    return ScaleEstimates(log, points.pixels, float(np.median(log)), sigma, spread, size)


def robust_sigma(values: Float64) -> float:
    """Robust standard deviation about the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return SIGMA_FROM_MEDIAN * float(np.median(np.abs(values - np.median(values))))


def norm(*parts: float) -> float:
    """Standard deviation of a sum of independent errors."""
    return float(np.linalg.norm(parts))
