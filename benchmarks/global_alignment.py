"""Which one scale and shift in depth bring a whole predicted scene nearest to the true one?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.surfaces import Mesh, closest_points, sample_surface, surface_of
from scene.types import Float64

SAMPLES, FIRST_SEED = 1500, 50  # per object
MIN_PIXELS = 50  # for a fit of what the same pixels show
STEPS, REWEIGHTED = 21, 6
TRIMMED_FRACTION = (
    0.9  # of the points count in the distance that decides; the farthest are cut off there
)
STILL = 1e-6  # a change of scale or shift below which the refinement ends


class Alignment(NamedTuple):
    """true = scale * predicted + (0, 0, shift_z)."""

    scale: float = 1.0
    shift_z: float = 0.0

    def apply(self, points: Float64) -> Float64:
        return self.scale * points + [0, 0, self.shift_z]


def align(
    pixels: tuple[Float64, Float64],
    centres: tuple[Float64, Float64],
    predicted: Sequence[Mesh],
    true: Sequence[Mesh],
) -> Alignment:
    """The alignment of the whole surfaces, robust against single bad objects.

    pixels, centres: (N, 3) each of prediction and truth: what the same pixels show, and the middles
    of the objects. predicted, true: meshes in the same order. Three starts (ratio of depths, same
    pixels, centres) are each refined on nearest surface points; the smallest distance wins.
    """
    seen, seen_true = pixels
    ratio = float(np.median(seen_true[:, 2] / seen[:, 2])) if len(seen) else 1.0
    starts = [Alignment(ratio)]
    if len(seen) >= MIN_PIXELS:
        starts.append(_reweighted(seen, seen_true, starts[0]))
    if len(centres[0]) >= 2:
        starts.append(solve_scale_and_shift(*centres, np.ones(len(centres[0]))))
    refine = _refinement(predicted, true)
    found = [refine(start) for start in starts if start.scale > 0]
    return min(found, key=lambda pair: pair[0], default=(np.inf, Alignment()))[1]


def solve_scale_and_shift(points: Float64, true: Float64, weights: Float64) -> Alignment:
    """Least squares with weights (N,) over the depth; a scale alone where a shift is not told."""
    squares = (weights / true[:, 2]) ** 2
    depth = squares * points[:, 2]
    size, middle, count = (squares[:, None] * points**2).sum(), depth.sum(), squares.sum()
    moment, height = (squares[:, None] * points * true).sum(), (squares * true[:, 2]).sum()
    determinant = size * count - middle**2
    if abs(determinant) < 1e-12 * abs(size * count):
        return Alignment(float(moment / size))
    return Alignment(
        float((moment * count - height * middle) / determinant),
        float((size * height - middle * moment) / determinant),
    )


def _reweighted(points: Float64, true: Float64, start: Alignment) -> Alignment:
    """The fit of points whose partners are known, outliers weighing less with every round."""
    found = start
    for _ in range(REWEIGHTED):
        residual = np.linalg.norm(found.apply(points) - true, axis=1) / true[:, 2]
        found = solve_scale_and_shift(points, true, _weights(residual))
    return found


def _weights(residual: Float64) -> Float64:
    """(N,) 1 up to the median residual, then falling with its root: least absolute deviations."""
    return 1 / np.sqrt(np.maximum(residual / max(float(np.median(residual)), 1e-6), 1))


def _refinement(
    predicted: Sequence[Mesh], true: Sequence[Mesh]
) -> Callable[[Alignment], tuple[float, Alignment]]:
    """What walks from a start to nearest points: the smallest distance on the way, and where."""
    mine = np.vstack([sample_surface(m, SAMPLES, FIRST_SEED + i) for i, m in enumerate(predicted)])
    goal = np.vstack([sample_surface(m, SAMPLES, FIRST_SEED + i) for i, m in enumerate(true)])
    my_surface, true_surface = surface_of(*predicted), surface_of(*true)

    def refine(start: Alignment) -> tuple[float, Alignment]:
        now, best = start, (np.inf, Alignment())
        for step in range(STEPS):
            moved = now.apply(mine)
            on_true = closest_points(true_surface, moved)
            on_mine = closest_points(my_surface, (goal - [0, 0, now.shift_z]) / now.scale)
            there = np.linalg.norm(moved - on_true, axis=1)
            back = np.linalg.norm(now.apply(on_mine) - goal, axis=1)
            best = min(best, (_trimmed(there) + _trimmed(back), now), key=lambda pair: pair[0])
            weights = _weights(np.concatenate([there, back]))
            found = solve_scale_and_shift(
                np.vstack([mine, on_mine]), np.vstack([on_true, goal]), weights
            )
            moves = max(abs(found.scale - now.scale), abs(found.shift_z - now.shift_z))
            if step == STEPS - 1 or found.scale <= 0 or moves < STILL:
                break
            now = found
        return best

    return refine


def _trimmed(distances: Float64) -> float:
    return float(np.minimum(distances, np.quantile(distances, TRIMMED_FRACTION)).mean())
