"""All scales of a scene at once: one sparse linear least-squares problem.

The unknowns are l_k = log lambda_k. Every residual is on one unknown or on the difference of two,
in units of relative depth: the robust fit to an object's own visible points, and what the terms of
`alignment/terms` add. Outlines cannot change: a scale about the camera's centre moves no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.robust import HUBER_DELTA_SIGMAS
from scene.types import Float64

MAX_ROUNDS = 50
SETTLED = 1e-10  # change of the log scales below which another round is pointless
WORLD = -1  # stands for what does not move: the support plane, and the map itself


@dataclass(frozen=True)
class Residual:
    """(l_front - l_back - target) / sigma, of a term; back may be WORLD.

    name: the term's; one_sided: only a positive residual counts; robust: Huber's loss instead of
    the square.
    """

    name: str
    front: int
    back: int
    target: float
    sigma: float
    one_sided: bool = False
    robust: bool = False


def solve_scales(residuals: list[Residual], start: Float64) -> Float64:
    """(K,) log scales that minimise the sum of all residuals' losses, from a start (K,).

    Each round solves the sparse normal equations with the one-sided residuals that are violated and
    with Huber's weights; the problem is convex.
    """
    from scipy import sparse  # half a second to import, and only placing needs it
    from scipy.sparse.linalg import spsolve

    if not residuals:
        return start
    front, back = (np.array([getattr(r, n) for r in residuals]) for n in ("front", "back"))
    target, sigma = (np.array([getattr(r, n) for r in residuals]) for n in ("target", "sigma"))
    one_sided, robust = (
        np.array([getattr(r, n) for r in residuals]) for n in ("one_sided", "robust")
    )
    rows, two = np.arange(len(residuals)), back != WORLD
    design = sparse.csr_matrix(
        (np.r_[np.ones(len(residuals)), -np.ones(two.sum())],
         (np.r_[rows, rows[two]], np.r_[front, back[two]])),
        shape=(len(residuals), len(start)),
    )  # fmt: skip
    scales = start
    for _ in range(MAX_ROUNDS):
        residual = (design @ scales - target) / sigma
        size = np.maximum(np.abs(residual), 1e-12)
        weight = np.where(robust, np.minimum(1, HUBER_DELTA_SIGMAS / size), 1.0)
        weight = np.where(one_sided & (residual <= 0), 0.0, weight) / sigma**2
        weighted = design.multiply(weight[:, None]).tocsr()
        # spsolve wants CSC; what no residual touches keeps its start.
        normal = (weighted.T @ design + 1e-12 * sparse.identity(len(start))).tocsc()
        updated = np.asarray(spsolve(normal, weighted.T @ target + 1e-12 * start), np.float64)
        if np.abs(updated - scales).max() < SETTLED:
            return updated
        scales = updated
    return scales
