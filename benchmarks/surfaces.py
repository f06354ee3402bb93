"""How far apart are two surfaces, and how much of two bodies is common? Measured with Open3D.

Everything runs on one thread: other benchmarks may be running, and the figures must not depend on
how many cores there are.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float64

Mesh = tuple[Float64, NDArray[np.int32]]  # vertices (N, 3), faces (M, 3)

CELLS = 40  # of the lattice, along the longer side of the two bodies' common box
RAYS = 5  # per point, of which the majority says whether it is inside: small holes do no harm
PENETRATION_SAMPLES = 4000
AZIMUTHS_DEG = range(0, 360, 15)


def surface_of(*meshes: Mesh) -> Any:
    """Open3D's scene of meshes, for distances and rays, in float32."""
    surface = _open3d().t.geometry.RaycastingScene(nthreads=1)
    for vertices, faces in meshes:
        surface.add_triangles(_tensor(vertices), _tensor(faces, np.uint32))
    return surface


def _tensor(values: NDArray[Any], kind: type = np.float32) -> Any:
    return _open3d().core.Tensor(np.ascontiguousarray(values, kind))


def _open3d() -> Any:
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        raise ImportError("this is measured with Open3D: pip install '.[benchmark]'") from error


def cast_rays(meshes: Sequence[Mesh], rays: Float64) -> tuple[Float64, NDArray[np.int64]]:
    """First hits of rays (H, W, 3) from the origin: distance in rays (inf for none), mesh (-1)."""
    if not meshes:
        return np.full(rays.shape[:2], np.inf), np.full(rays.shape[:2], -1, np.int64)
    both = np.concatenate([np.zeros_like(rays), rays], -1)
    hits = surface_of(*meshes).cast_rays(_tensor(both), nthreads=1)
    distance = hits["t_hit"].numpy().astype(np.float64)
    mesh = hits["geometry_ids"].numpy().astype(np.int64)
    return distance, np.where(np.isfinite(distance), mesh, -1)


def sample_surface(mesh: Mesh, count: int, seed: int) -> Float64:
    """(count, 3) points on the triangles, uniform by area."""
    vertices, faces = mesh
    generator = np.random.default_rng(seed)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = generator.choice(len(faces), count, p=area / area.sum())
    u, v = generator.random((2, count, 1))
    root = np.sqrt(u)
    return a[chosen] * (1 - root) + b[chosen] * (root * (1 - v)) + c[chosen] * (root * v)


def closest_points(surface: Any, points: Float64) -> Float64:
    """(N, 3) the points of a surface nearest to points (N, 3)."""
    found = surface.compute_closest_points(_tensor(points), nthreads=1)
    return found["points"].numpy().astype(np.float64)


def chamfer_and_f(
    mine: Any, true: Any, my_points: Float64, true_points: Float64, thresholds: Sequence[float]
) -> tuple[float, list[float]]:
    """Mean distance of either surface's points from the other, and an F-score per threshold."""
    mine_off = np.linalg.norm(closest_points(true, my_points) - my_points, axis=1)
    true_off = np.linalg.norm(closest_points(mine, true_points) - true_points, axis=1)
    scores = []
    for threshold in thresholds:
        precision, recall = (
            float((mine_off < threshold).mean()),
            float((true_off < threshold).mean()),
        )
        total = precision + recall
        scores.append(2 * precision * recall / total if total else 0.0)
    return float((mine_off.mean() + true_off.mean()) / 2), scores


def diagonal(vertices: Float64) -> float:
    """The diagonal of the box of points (N, 3)."""
    return float(np.linalg.norm(np.ptp(vertices, axis=0)))


def mask_iou(one: Bool, other: Bool) -> float:
    """Intersection over union of two boolean arrays; 0 for two empty ones."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def box_iou(one: Float64, other: Float64) -> float:
    """Intersection over union of the boxes of two sets of points."""
    low, high = np.maximum(one.min(0), other.min(0)), np.minimum(one.max(0), other.max(0))
    common = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(np.ptp(one, axis=0)) + np.prod(np.ptp(other, axis=0))) - common
    return common / union if union > 0 else 0.0


def occupied(mesh: Mesh, points: Float64) -> Bool:
    """(N,) whether points lie inside, by the parity of several rays."""
    inside = surface_of(mesh).compute_occupancy(_tensor(points), nthreads=1, nsamples=RAYS)
    return np.asarray(inside.numpy() > 0.5)


def volume_iou(one: Mesh, other: Mesh) -> float:
    """Intersection over union of two bodies, on a lattice over their common box."""
    low = np.minimum(one[0].min(0), other[0].min(0))
    high = np.maximum(one[0].max(0), other[0].max(0))
    cell = (high - low).max() / CELLS
    axes = [np.arange(a + cell / 2, b + cell / 2, cell) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return mask_iou(occupied(one, points), occupied(other, points))


def penetrations(meshes: Sequence[Mesh]) -> list[dict[str, Any]]:
    """Pairs that reach into each other: which, how deep, and that over the smaller diagonal."""
    found = []
    for i, one in enumerate(meshes):
        for j, other in enumerate(meshes[i + 1 :], i + 1):
            if not _boxes_meet(one[0], other[0]):
                continue
            deepest = max(_depth_inside(one, other, 11), _depth_inside(other, one, 12))
            if deepest > 0:
                smaller = min(diagonal(one[0]), diagonal(other[0]))
                found.append({"pair": [i, j], "depth": deepest, "depth_rel": deepest / smaller})
    return found


def _boxes_meet(one: Float64, other: Float64) -> bool:
    low, high = np.maximum(one.min(0), other.min(0)), np.minimum(one.max(0), other.max(0))
    return bool((low <= high).all())


def _depth_inside(one: Mesh, other: Mesh, seed: int) -> float:
    """How deep the deepest sample of one's surface lies inside the other."""
    points = sample_surface(one, PENETRATION_SAMPLES, seed)
    inside = points[occupied(other, points)]
    if not len(inside):
        return 0.0
    return float(surface_of(other).compute_distance(_tensor(inside), nthreads=1).numpy().max())


def shape_chamfer(mine: Float64, true: Float64) -> float:
    """Chamfer distance of points (N, 3) of one body, z up, over the diagonal, its centre, size and
    turn about the vertical taken away: the error of its shape alone."""
    from scipy.spatial import KDTree

    goal = _unit(true)
    tree = KDTree(goal)
    best = math.inf
    for degrees in AZIMUTHS_DEG:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turned = _unit(mine @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]))
        there, back = tree.query(turned)[0].mean(), KDTree(turned).query(goal)[0].mean()
        best = min(best, float(there + back) / 2)
    return best


def _unit(points: Float64) -> Float64:
    """Points moved to the middle of their box and divided by its diagonal."""
    return (points - (points.max(0) + points.min(0)) / 2) / diagonal(points)
