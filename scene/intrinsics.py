"""A point map made for one camera, adapted to the intrinsics that the photo's camera really has."""

from __future__ import annotations

import dataclasses

import numpy as np

from scene.cameras import pixel_centres, points_of
from scene.types import Bool, Camera, Float64, PointMap

MAX_POINTS = 64 * 64  # as many as MoGe takes to recover its own shift
FAR = 1e9  # coordinates beyond it are no measurement
CANDIDATES = 64  # shifts tried at once
# Moved nearer than this share of its depth, a point would shrink sideways to as little.
MIN_DEPTH_KEPT = 0.05


def change_intrinsics(
    point_map: PointMap, camera: Camera, points: Float64 | None = None
) -> PointMap:
    """The same relief and lateral positions, seen by a camera of another focal length.

    A map from one picture knows positions across the view and differences along it; its focal
    length and its distance were guessed together. So the map moves along z by the one shift that
    puts its points nearest to their pixels, as MoGe recovers its own
    (docs/placement.md, equation 6):

        shift = argmin sum_i |f' xy_i / (z_i + shift) - uv_i|,

    near mean z (f' / f - 1); every point then lies on its pixel's ray of the new camera. Where
    that would bring known points behind the camera or all but into it, z is scaled by f' / f.
    points (H, W, 3): as the map's maker gave them. Without them the map's rays stand in, and the
    shift is that of most of the picture: sizes at another depth err by that depth's difference.
    The rays are taken about the new principal point: a difference there moves no depth, it turns
    the rays, and points slide sideways by z (c - c') / f'.
    Unknown depth (not finite, or not above 0) is NaN. Adds a note, unless the cameras are equal.
    Raises ValueError for a camera of another size.
    """
    own = point_map.camera
    if (camera.width, camera.height) != (own.width, own.height):
        raise ValueError(
            f"camera: expected {own.width} x {own.height} pixels as the point map has, "
            f"got {camera.width} x {camera.height}"
        )
    depth = point_map.depth.astype(np.float64)
    known = np.isfinite(depth) & (depth > 0)
    if points is None:
        centred = dataclasses.replace(own, cx_px=camera.cx_px, cy_px=camera.cy_px)
        points = points_of(dataclasses.replace(point_map, camera=centred))
    informative = known & (np.abs(points) < FAR).all(-1)
    if camera == own or not informative.any():
        return dataclasses.replace(point_map, camera=camera)
    ratio = float(np.sqrt(camera.fx_px / own.fx_px * camera.fy_px / own.fy_px))
    shift = _shift(points, informative, camera, ratio)
    z = depth[known]
    if (z + shift > MIN_DEPTH_KEPT * z).all():
        moved = z + shift
        how = f"moved by {shift:+.3g}{' m' if point_map.metric else ''} to fit"
    else:
        moved = z * ratio
        how = f"scaled by {ratio:.3g} to fit, for a shift would put points behind the camera"
    changed = np.full(depth.shape, np.nan, np.float32)
    changed[known] = moved
    made, has = (f"{np.degrees(c.fov_x_rad):.3g}" for c in (own, camera))
    note = f"depth was made for a field of view of {made} degrees, the camera has {has}: {how}"
    return PointMap(
        changed, camera, point_map.metric, (*point_map.notes, note), guessed=point_map.guessed
    )


def _shift(points: Float64, informative: Bool, camera: Camera, ratio: float) -> float:
    """The best shift of a sample of the points (H, W, 3) that are informative; ratio: f' / f."""
    rows, columns = np.nonzero(informative)
    step = max(1, int(np.ceil(len(rows) / MAX_POINTS)))
    rows, columns = rows[::step], columns[::step]
    xyz = points[rows, columns]
    uv = pixel_centres(camera.width, camera.height)[rows, columns] - [camera.cx_px, camera.cy_px]
    lateral = xyz[:, :2] * [camera.fx_px, camera.fy_px]
    z = xyz[:, 2]
    # Each point's own vote: where f' xy / (z + shift) comes nearest to its pixel.
    along = (lateral * uv).sum(1)
    votes = (lateral**2).sum(1)[along > 0] / along[along > 0] - z[along > 0]
    # The closed form stands in where no point votes: one on the axis sees no focal length.
    shifts = np.sort([*votes, float(z.mean()) * (ratio - 1)])
    return _min(shifts, lateral, z, uv)


def _min(shifts: Float64, lateral: Float64, z: Float64, uv: Float64) -> float:
    """The sorted shift of least cost: some of them are tried, then those beside the best."""
    while True:
        tried = np.unique(np.linspace(0, len(shifts) - 1, CANDIDATES).round().astype(int))
        best = int(np.argmin([_cost(float(shifts[i]), lateral, z, uv) for i in tried]))
        if len(tried) == len(shifts):
            return float(shifts[best])
        low, high = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
        shifts = shifts[low : high + 1]


def _cost(shift: float, lateral: Float64, z: Float64, uv: Float64) -> float:
    """Sum of distances in pixels; a point behind the camera, or farther off than its pixel is from
    the axis, costs that radius: few points that are wrong decide nothing."""
    radius = np.linalg.norm(uv, axis=1)
    before = z + shift > 0
    projected = lateral / np.where(before, z + shift, 1)[:, None]
    distance = np.linalg.norm(projected - uv, axis=1)
    return float(np.where(before, np.minimum(distance, radius), radius).sum())
