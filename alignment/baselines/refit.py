"""Iteratively reweighted fits of a similarity to matched points, started from the default's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alignment.robust import huber_weights, solve_scale
from scene.errors import CannotPlace
from scene.types import Float64, Similarity

MAX_ROUNDS = 100
SETTLED = 1e-12  # change of the relative residuals below which another round is pointless

Fit = Callable[[Float64, Float64, Float64], Similarity]


def fit_scale(cube: Float64, measured: Float64, distance: float, truncation: float) -> Similarity:
    """M1, where every baseline starts: X = lambda (x + d e_z) by the default's robust loss.

    cube, measured (N, 3): points x of the object cube and Q of the crop camera's frame; distance:
    d, of the cube's centre from the generator's camera. Raises CannotPlace without usable points.
    """
    check_matches(cube, measured)
    if (cube[:, 2] + distance <= 0).any():
        raise CannotPlace("points of the object lie behind the camera that it was generated for")
    scale = solve_scale(cube[:, 2] + distance, measured[:, 2], truncation)
    return Similarity(scale, np.eye(3), np.array([0, 0, scale * distance]))


def refit(
    fit: Fit, start: Similarity, cube: Float64, measured: Float64, truncation: float
) -> Similarity:
    """Minimise Huber's loss of |S x - Q| / Q_z by weighted least squares, round by round.

    fit(cube, measured, weight) is the closed form of the model. The weights are Huber's over Q_z^2
    (docs/placement.md, equation 4); points beyond the truncation count for nothing, as in the
    default.
    """
    found, residual = start, relative_residual(start, cube, measured)
    for _ in range(MAX_ROUNDS):
        before = residual
        weight = huber_weights(residual, truncation) / measured[:, 2] ** 2
        found = fit(cube, measured, weight)
        residual = relative_residual(found, cube, measured)
        if np.abs(residual - before).max() < SETTLED:
            break
    return found


def relative_residual(similarity: Similarity, cube: Float64, measured: Float64) -> Float64:
    """(N,) |S x - Q| / Q_z."""
    return np.linalg.norm(similarity.apply(cube) - measured, axis=1) / measured[:, 2]


def check_matches(cube: Float64, measured: Float64) -> None:
    """Raise CannotPlace with the reason unless these are at least two points before the camera."""
    if cube.shape != measured.shape or cube.ndim != 2 or cube.shape[1] != 3:
        raise ValueError(f"matches: expected (N, 3) twice, got {cube.shape} and {measured.shape}")
    if not (np.isfinite(cube).all() and np.isfinite(measured).all()):
        raise ValueError("matches: some points are not finite numbers")
    if len(cube) < 2:
        raise CannotPlace(f"matches: {len(cube)} of the at least two points that a fit needs")
    behind = int((measured[:, 2] <= 0).sum())
    if behind:
        raise ValueError(f"matches: {behind} of {len(measured)} points lie behind the camera")
