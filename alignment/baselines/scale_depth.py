"""Model M2, Pixal3D's "scale and depth": X = s x + D e_z, size and distance apart.

x lies in the object cube, X in the crop camera's frame. Unlike the default's one scale, the two
numbers may move the outline; they absorb a wrong field of view of the generator.
"""

from __future__ import annotations

import numpy as np

from alignment.baselines.refit import check_matches, fit_scale, refit
from alignment.robust import truncated_l1_scale
from scene.errors import CannotPlace
from scene.types import Float64, Similarity

MAX_ANCHORS = 128  # the anchor solver takes N^2 log N: a tenth of a second at this size
MIN_SPREAD = 1e-12  # squared extent, in cubes, below which scale and depth are not determined


def solve_scale_depth(
    cube: Float64, measured: Float64, distance: float, truncation: float
) -> Similarity:
    """M2 by reweighted least squares, from the robust M1.

    cube, measured (N, 3): x and Q; distance: of the generator's camera. Raises CannotPlace when the
    points do not determine a scale above zero.
    """
    start = fit_scale(cube, measured, distance, truncation)
    return refit(fit_scale_depth, start, cube, measured, truncation)


def fit_scale_depth(cube: Float64, measured: Float64, weight: Float64) -> Similarity:
    """The minimiser of sum_i w_i |s x_i + D e_z - Q_i|^2 in closed form: M2.

    docs/placement.md, equation 7, with [A B; B W] [s; D] = [E; F]. Weights (N,) >= 0.
    """
    check_matches(cube, measured)
    A = (weight * (cube * cube).sum(1)).sum()
    B = (weight * cube[:, 2]).sum()
    W = weight.sum()
    E = (weight * (cube * measured).sum(1)).sum()
    F = (weight * measured[:, 2]).sum()
    # (W A - B^2) / W^2 is the weighted mean of |x_xy|^2 plus the variance of x_z.
    determinant = W * A - B * B
    if not determinant > MIN_SPREAD * W * W:
        raise CannotPlace("the points lie in one spot: scale and depth cannot be told apart")
    scale = (W * E - B * F) / determinant
    return _scale_depth(float(scale), float((F - B * scale) / W))


def solve_scale_depth_readable(
    cube: Float64, measured: Float64, truncation: float, seed: int = 0
) -> Similarity:
    """The readable twin: the exact minimum of sum min(truncation, |s x + D e_z - Q|_1D / Q_z).

    The sum runs over the three coordinates of every point. At the optimum the depth of some point,
    the anchor, fits exactly: D = Q_z - s x_z. So each anchor in turn fixes D, a truncated L1 finds
    its best s, and the best anchor wins (MoGe, Wang et al., 2025). Of more points than
    MAX_ANCHORS a random sample is used.
    """
    check_matches(cube, measured)
    if len(cube) > MAX_ANCHORS:
        sample = np.random.default_rng(seed).choice(len(cube), MAX_ANCHORS, replace=False)
        cube, measured = cube[sample], measured[sample]
    candidates = [_best_scale(cube, measured, anchor, truncation) for anchor in range(len(cube))]
    found = [c for c in candidates if c is not None]
    if not found:
        raise CannotPlace("every point asks for a scale of zero or less")
    costs = [truncated_cost(c, cube, measured, truncation) for c in found]
    return found[int(np.argmin(costs))]


def truncated_cost(
    similarity: Similarity, cube: Float64, measured: Float64, truncation: float
) -> float:
    """Sum over all coordinates of min(truncation, |S x - Q| / Q_z)."""
    residual = np.abs(similarity.apply(cube) - measured) / measured[:, 2:]
    return float(np.minimum(truncation, residual).sum())


def _best_scale(
    cube: Float64, measured: Float64, anchor: int, truncation: float
) -> Similarity | None:
    """The best s with the anchor's depth kept exact, or None when it is not above zero."""
    lift = np.array([0, 0, 1.0])
    x = (cube - cube[anchor] * lift).reshape(-1)
    y = (measured - measured[anchor] * lift).reshape(-1)
    weight = np.repeat(1 / measured[:, 2], 3)
    told = x != 0  # the other rows cost the same at every scale
    x, y, weight = np.abs(x[told]), (y * np.sign(x))[told], weight[told]
    if not (y > 0).any():
        return None
    scale = truncated_l1_scale(x, y, weight, truncation)
    return _scale_depth(scale, float(measured[anchor, 2] - scale * cube[anchor, 2]))


def _scale_depth(scale: float, depth: float) -> Similarity:
    """s x + D e_z as a similarity; an object cannot have a size of zero or less."""
    if not scale > 0:
        raise CannotPlace(f"the scale that fits best is {scale:.3g}: expected more than 0")
    return Similarity(scale, np.eye(3), np.array([0, 0, depth]))
