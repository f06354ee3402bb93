"""Colours for a generator that makes none: those of the photo where it shows the surface.

What the photo does not show has the colour of the nearest place that it does. Without a camera the
whole surface has the object's mean colour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.visible import generator_distance
from scene.types import Float32, ObjectCrop, Uint8
from stages.generate.shared.lattice import bleed_colours

GRID = 256  # voxels of colour along the cube's edge
DEPTH_CELLS = 256  # of the depth buffer, along the crop's side
BEHIND = 2 / 256  # of the cube: so far behind the first surface a point still counts as visible
OPAQUE = 127
# Matt, not metallic, opaque.
METALLIC, ROUGHNESS, ALPHA = 0.0, 1.0, 1.0


def voxels_of(points: Float32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The voxels (L, 3) of `GRID` that points (N, 3) of the cube are in, and each point's row."""
    cells = np.clip(np.floor((points + 0.5) * GRID), 0, GRID - 1).astype(np.int64)
    codes = (cells[:, 0] * GRID + cells[:, 1]) * GRID + cells[:, 2]
    unique, row = np.unique(codes, return_inverse=True)
    return np.stack(np.unravel_index(unique, (GRID,) * 3), 1), row


def photo_values(points: Float32, row: NDArray[np.int64], crop: ObjectCrop) -> Float32:
    """Attributes (L, 6) of the voxels that points are in, by the photo's colours.

    points (N, 3): of the surface in the object frame, pixel-aligned; row (N,): of `voxels_of`.
    """
    from scipy.spatial import KDTree

    camera, size = crop.camera.camera, crop.rgba.shape[0]
    depth = points[:, 2] + generator_distance(crop.camera)
    xy = points[:, :2] / depth[:, None] * camera.fx_px + [camera.cx_px, camera.cy_px]
    visible = _is_first(xy / size, depth)
    if not visible.any():
        return mean_values(int(row.max()) + 1, crop.rgba)
    pixels = np.clip(xy[visible], 0, size - 1).astype(np.int64)
    colours = bleed_colours(crop.rgba)[pixels[:, 1], pixels[:, 0]] / np.float32(255)
    count = int(row.max()) + 1
    total, weight, centre = np.zeros((count, 3)), np.zeros(count), np.zeros((count, 3))
    np.add.at(total, row[visible], colours)
    np.add.at(weight, row[visible], 1)
    centre[row] = points
    known = weight > 0
    mean = np.zeros((count, 3), np.float32)
    mean[known] = total[known] / weight[known, None]
    _, nearest = KDTree(centre[known]).query(centre[~known])
    mean[~known] = mean[known][nearest]
    return _matt(mean)


def mean_values(count: int, rgba: Uint8) -> Float32:
    """Attributes (L, 6) of the object's mean colour."""
    solid = rgba[..., 3] > OPAQUE
    return _matt(np.tile(rgba[solid][:, :3].mean(0) / 255, (count, 1)))


def _is_first(xy: NDArray[np.floating], depth: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which points (N, 2), in crop sides, no other one of the surface hides, by a depth buffer."""
    cells = np.floor(xy * DEPTH_CELLS).astype(np.int64)
    inside = ((cells >= 0) & (cells < DEPTH_CELLS)).all(1) & (depth > 0)
    flat = np.where(inside, cells[:, 1] * DEPTH_CELLS + cells[:, 0], 0)
    first = np.full(DEPTH_CELLS**2, np.inf)
    np.minimum.at(first, flat[inside], depth[inside])
    return inside & (depth <= first[flat] + BEHIND)


def _matt(colours: NDArray[np.floating]) -> Float32:
    rest = np.tile([METALLIC, ROUGHNESS, ALPHA], (len(colours), 1))
    return np.concatenate([colours, rest], 1).astype(np.float32)
