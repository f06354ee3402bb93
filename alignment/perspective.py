"""Whether field of view, point map and mesh agree: the freer model M2 as a check of M1."""

from __future__ import annotations

import numpy as np

from alignment.baselines.refit import refit, relative_residual
from alignment.baselines.scale_depth import fit_scale_depth
from alignment.fit import GOOD_PERSPECTIVE, MIN_RESIDUAL_GAIN
from scene.errors import CannotPlace
from scene.types import Float64, Similarity

ENOUGH_POINTS = 1024  # determine the two numbers of M2 well enough for a warning


def check_perspective(
    cube: Float64, measured: Float64, distance: float, scale: float, truncation: float
) -> tuple[float | None, list[str]]:
    """The perspective D / (s d) of the best M2, and words where it contradicts M1.

    docs/placement.md, equation 8.
    cube, measured (N, 3): x and Q; distance: d; scale: lambda of M1. A mesh that is pixel-aligned
    in its crop gives 1, whatever the scale; one whose generator believed a focal length f_g where
    the crop has f_c gives f_c / f_g. None where the points do not determine it.
    """
    step = max(1, len(cube) // ENOUGH_POINTS)
    cube, measured = cube[::step], measured[::step]
    start = Similarity(scale, np.eye(3), np.array([0, 0, scale * distance]))
    try:
        free = refit(fit_scale_depth, start, cube, measured, truncation)
    except CannotPlace:
        return None, []
    perspective = float(free.translation[2] / (free.scale * distance))
    before = float(np.median(relative_residual(start, cube, measured)))
    after = float(np.median(relative_residual(free, cube, measured)))
    if abs(perspective - 1) > GOOD_PERSPECTIVE and after < (1 - MIN_RESIDUAL_GAIN) * before:
        return perspective, [
            f"size and depth ask for a focal length {perspective:.2f} times as long: "
            "check --fov or the point map"
        ]
    return perspective, []
