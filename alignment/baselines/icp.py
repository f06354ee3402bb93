"""Point-to-point ICP by Open3D: nearest neighbours in place of the pixels' own matches."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from alignment.baselines.refit import fit_scale
from alignment.baselines.similarity import umeyama
from scene.errors import CannotPlace
from scene.types import Float64, Similarity

# Search radius over the object's largest extent. SAM 3D Objects searches 0.05 of its unit cube
# from an already registered start; twice that leaves room for the depth error of M1.
REACH = 0.1
MAX_ROUNDS = 100


def solve_icp(cube: Float64, measured: Float64, distance: float, truncation: float) -> Similarity:
    """Rigid ICP of the placed visible surface to the measured points; the scale stays M1's.

    cube, measured (N, 3): x and Q; distance: of the generator's camera. Raises CannotPlace when too
    few points find a neighbour, ImportError without Open3D.
    """
    open3d = import_open3d()
    start = fit_scale(cube, measured, distance, truncation)
    unit = float(np.linalg.norm(start.translation))  # Open3D's stopping limits are absolute
    placed = start.apply(cube) / unit
    reach = REACH * float((placed.max(0) - placed.min(0)).max())
    if reach <= 0:
        raise CannotPlace("the points lie in one spot: no rotation can be told")
    registration = open3d.pipelines.registration
    found = registration.registration_icp(
        _cloud(open3d, placed), _cloud(open3d, measured / unit), reach, np.eye(4),
        registration.TransformationEstimationPointToPoint(with_scaling=False),
        registration.ICPConvergenceCriteria(max_iteration=MAX_ROUNDS),
    )  # fmt: skip
    matches = np.asarray(found.correspondence_set)
    if len(matches) < 3:
        raise CannotPlace(f"ICP: {len(matches)} points have a neighbour within {reach:.3g}")
    # Open3D joins its matches in the order its threads end. Solving the last ones again in a fixed
    # order gives the same pose to the last bit in every run.
    source, target = matches[np.lexsort(matches.T)].T
    return umeyama(cube[source], measured[target], np.ones(len(matches)), start.scale)


def import_open3d() -> ModuleType:
    """Open3D, or an ImportError that says how to install it."""
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        raise ImportError("place backend icp needs Open3D: pip install '.[benchmark]'") from error


def _cloud(open3d: ModuleType, points: Float64) -> object:
    """(N, 3) points as Open3D's own type."""
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
