"""Model M7, CUPID's: any similarity X = s R x + T, in closed form and robust.

Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns,
IEEE PAMI 13(4), 1991, equations 34 to 43, with weights.
"""

from __future__ import annotations

import numpy as np

from alignment.baselines.refit import fit_scale, refit
from scene.errors import CannotPlace
from scene.types import Float64, Similarity

MIN_SECOND_AXIS = 1e-10  # second over first singular value: below, the points lie on one line


def solve_similarity(
    cube: Float64, measured: Float64, distance: float, truncation: float
) -> Similarity:
    """M7 by reweighted Umeyama, from the robust M1.

    cube, measured (N, 3): x and Q; distance: of the generator's camera. Raises CannotPlace when the
    points do not determine a rotation.
    """
    start = fit_scale(cube, measured, distance, truncation)
    return refit(umeyama, start, cube, measured, truncation)


def umeyama(x: Float64, y: Float64, weight: Float64, scale: float | None = None) -> Similarity:
    """The minimiser of sum_i w_i |s R x_i + T - y_i|^2; never a reflection.

    x, y (N, 3), weight (N,) >= 0; a known scale is kept. Raises CannotPlace for points on one line.
    """
    if x.shape != y.shape or weight.shape != (len(x),):
        raise ValueError(f"points {x.shape} and {y.shape} with weights {weight.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("matches: some points are not finite numbers")
    total = weight.sum()
    if not total > 0:
        raise CannotPlace("no point has a weight above 0")
    mean_x, mean_y = weight @ x / total, weight @ y / total
    rotation, best_scale = rotation_and_scale(x - mean_x, y - mean_y, weight)
    scale = best_scale if scale is None else scale
    return Similarity(scale, rotation, mean_y - scale * rotation @ mean_x)  # eq. 41


def rotation_and_scale(x: Float64, y: Float64, weight: Float64) -> tuple[Float64, float]:
    """R (3, 3) and s between two centred sets of points (N, 3) (Umeyama 1991, eq. 36 to 43)."""
    total = weight.sum()
    variance_x = (weight * (x * x).sum(1)).sum() / total  # eq. 36
    U, D, Vt = np.linalg.svd((weight[:, None] * y).T @ x / total)  # eq. 38
    if not D[1] > MIN_SECOND_AXIS * D[0]:
        raise CannotPlace("the points lie on one line or in one spot: no rotation can be told")
    S = np.diag([1, 1, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])  # eq. 43
    return U @ S @ Vt, float((D * S.diagonal()).sum() / variance_x)  # eq. 40, 42
