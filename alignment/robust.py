"""Robust fits: the scale a in a * x ~ y, and the weights by which larger models are refitted."""

from __future__ import annotations

import numpy as np

from scene.errors import CannotPlace
from scene.types import Float64

# Huber's constant: 95 % efficiency for Gaussian residuals. 1.4826 makes the median absolute
# residual an estimate of sigma (Huber, Robust Statistics, 1981).
HUBER_DELTA_SIGMAS = 1.345
SIGMA_FROM_MEDIAN = 1.4826


def solve_scale(x: Float64, y: Float64, truncation: float) -> float:
    """The scale of least robust relative depth error (docs/placement.md, equations 3 and 4).

    x, y (N,): depths X_z of the model at lambda = 1, and Q_z as measured. The truncated L1 weighs
    by 1 / Q_z. Huber's refinement weighs by the fitted 1 / (lambda X_z): the noise of Q_z in its
    own weight would draw lambda aside by twice the noise's variance.
    """
    weight = 1 / y
    start = truncated_l1_scale(x, y, weight, truncation)
    fitted = 1 / (start * x)
    close = np.abs(start * x - y) * fitted < truncation
    return huber_scale(x[close], y[close], fitted[close], start)


def truncated_l1_scale(x: Float64, y: Float64, weight: Float64, threshold: float) -> float:
    """The global minimiser a > 0 of sum_i min(threshold, w_i |a x_i - y_i|).

    x, y, weight: (N,), x > 0, w > 0. The objective is piecewise linear with minima only at the
    ratios y_i / x_i; prefix sums of w x in the sorted breakpoints give its value at all of them in
    O(N log N). Source: the exact solver of MoGe (Wang et al., 2025), restated.
    """
    if len(x) == 0:
        raise CannotPlace("no points to fit a scale to")
    slope = weight * x
    ratio = y / x
    # Sample i costs `slope_i |a - ratio_i|` inside (ratio - reach, ratio + reach), else threshold.
    reach = threshold / slope
    candidates = np.sort(ratio[ratio > 0])
    if len(candidates) == 0:
        raise CannotPlace("every point asks for a scale of zero or less")
    inside_low = _prefix(ratio - reach, slope, ratio, candidates)
    below = _prefix(ratio, slope, ratio, candidates)
    past_high = _prefix(ratio + reach, slope, ratio, candidates)
    rising = candidates * (below.slope - past_high.slope) - (below.moment - past_high.moment)
    falling = (inside_low.moment - below.moment) - candidates * (inside_low.slope - below.slope)
    outside = threshold * (len(x) - (inside_low.count - past_high.count))
    return float(candidates[np.argmin(rising + falling + outside)])


def truncated_l1_scale_readable(x: Float64, y: Float64, weight: Float64, threshold: float) -> float:
    """The readable twin of `truncated_l1_scale`: tries every ratio, O(N^2)."""
    candidates = np.sort((y / x)[y / x > 0])
    cost = np.minimum(threshold, weight * np.abs(candidates[:, None] * x - y)).sum(1)
    return float(candidates[np.argmin(cost)])


def huber_scale(x: Float64, y: Float64, weight: Float64, start: float, rounds: int = 20) -> float:
    """Refine a scale by iteratively reweighted least squares with Huber's loss.

    x, y, weight: (N,); the residual is w (a x - y), its spread re-estimated in each round.
    """
    scale = start
    for _ in range(rounds):
        residual = np.abs(weight * (scale * x - y))
        sigma = SIGMA_FROM_MEDIAN * float(np.median(residual))
        if sigma < 1e-12:
            break
        robust = np.minimum(1, HUBER_DELTA_SIGMAS * sigma / np.maximum(residual, 1e-300))
        w = weight**2 * robust
        updated = float((w * x * y).sum() / (w * x * x).sum())
        if abs(updated - scale) < 1e-12 * abs(scale):
            break
        scale = updated
    return scale


def huber_weights(residual: Float64, truncation: float) -> Float64:
    """(N,) Huber's weights min(1, delta / r), zero beyond the truncation (equation 4).

    residual (N,) >= 0. While fewer than half of the residuals lie within the truncation, the limit
    is twice their median instead: a poor start keeps half of the points to leave it by.
    """
    limit = max(truncation, 2 * float(np.median(residual)))
    kept = residual < limit
    delta = HUBER_DELTA_SIGMAS * SIGMA_FROM_MEDIAN * float(np.median(residual[kept]))
    return np.where(kept, np.minimum(1, max(delta, 1e-12) / np.maximum(residual, 1e-12)), 0)


class _prefix:
    """Sums over the samples whose breakpoint lies at or below each candidate."""

    def __init__(self, breakpoint_: Float64, slope: Float64, ratio: Float64, at: Float64) -> None:
        order = np.argsort(breakpoint_, kind="stable")
        self.count = np.searchsorted(breakpoint_[order], at, side="right")
        self.slope = np.concatenate([[0.0], np.cumsum(slope[order])])[self.count]
        self.moment = np.concatenate([[0.0], np.cumsum((slope * ratio)[order])])[self.count]
