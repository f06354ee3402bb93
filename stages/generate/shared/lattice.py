"""What a crop shows at the nodes of a coarse lattice: depth, distance from the outline, colours.

A lattice of G x G cells over a crop of N x N pixels has (G + 1) x (G + 1) nodes; node i lies at
pixel i * N / G. Shared by the generate backends that build on the outline.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64, Uint8

MIN_KNOWN_FRACTION = 0.25  # of a cell that must have measured depth


def at_nodes(
    values: NDArray[Any], grid: int, interpolation: int, border: int = cv2.BORDER_CONSTANT
) -> Float32:
    """(G + 1, G + 1[, C]) the values of a float32 image (N, N[, C]) at the lattice's nodes.

    interpolation, border: OpenCV's constants.
    """
    # OpenCV has pixel centres at integers.
    node = (np.arange(grid + 1) * (values.shape[0] / grid) - 0.5).astype(np.float32)
    x, y = np.meshgrid(node, node)
    return np.asarray(cv2.remap(values, x, y, interpolation, borderMode=border), np.float32)


def lattice_inverse_depth(depth: Float32, grid: int) -> tuple[Float64, Bool]:
    """(G + 1, G + 1) 1 / z at the lattice nodes and where it is known, from (N, N) crop depth."""
    known = np.isfinite(depth)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    # Average over a cell's size first: a lattice coarser than the crop must not alias its noise.
    window = (max(1, int(round(depth.shape[0] / grid))),) * 2
    both = np.stack([inverse, known.astype(np.float32)], -1)
    both = cv2.blur(both, window, borderType=cv2.BORDER_CONSTANT)
    total, fraction = np.moveaxis(at_nodes(both, grid, cv2.INTER_LINEAR), -1, 0)
    measured = fraction > MIN_KNOWN_FRACTION
    return np.where(measured, total / np.maximum(fraction, 1e-6), 0).astype(np.float64), measured


def harmonic_fill(values: Float64, known: Bool, region: Bool) -> Float64:
    """Continue known values over a region by Laplace's equation, free at the region's border.

    values, known, region (H, W); outside the region, and in parts of it that touch no known value,
    the result is the known values' median.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    out = np.where(known, values, np.median(values[known]))
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    anchored = np.isin(parts, np.unique(parts[known & region])) & (parts > 0)
    free = anchored & ~known
    if not free.any():
        return out
    index = np.full(region.shape, -1)
    index[free] = np.arange(free.sum())
    rows, cols, right = [], [], np.zeros(int(free.sum()))
    degree = np.zeros(int(free.sum()))
    for here, there in neighbour_views():
        linked = free[here] & anchored[there]
        source = index[here][linked]
        np.add.at(degree, source, 1)
        target = index[there][linked]
        fixed = target < 0
        np.add.at(right, source[fixed], values[there][linked][fixed])
        rows.append(source[~fixed])
        cols.append(target[~fixed])
    i, j = np.concatenate(rows), np.concatenate(cols)
    size = len(right)
    laplacian = diags(degree) - coo_matrix((np.ones(len(i)), (i, j)), (size, size))
    out[free] = spsolve(laplacian.tocsc(), right)
    return out


def neighbour_views() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """The four shifts of a grid as (here, there) slices."""
    every, but_first, but_last = slice(None), slice(1, None), slice(None, -1)
    pairs = [((every, but_first), (every, but_last)), ((but_first, every), (but_last, every))]
    return [*pairs, *((there, here) for here, there in pairs)]


def distance_from_rim(alpha: Uint8, grid: int) -> Float64:
    """(G + 1, G + 1) distance of the lattice's nodes from the outline, in cells; 0 outside.

    Taken at the crop's own resolution: a distance in whole cells would make the back's edge a saw.
    """
    solid = (alpha > 127).astype(np.uint8)
    solid[[0, -1]] = 0
    solid[:, [0, -1]] = 0
    distance = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    step = alpha.shape[0] / grid
    return at_nodes(np.asarray(distance), grid, cv2.INTER_LINEAR).astype(np.float64) / step


def at_points(values: Float64, points: Float64) -> Float64:
    """Values (G + 1, G + 1) at lattice positions (N, 2), bilinear."""
    x, y = points[:, 0], points[:, 1]
    x0 = np.minimum(x.astype(int), values.shape[1] - 2)
    y0 = np.minimum(y.astype(int), values.shape[0] - 2)
    fx, fy = x - x0, y - y0
    top = values[y0, x0] * (1 - fx) + values[y0, x0 + 1] * fx
    bottom = values[y0 + 1, x0] * (1 - fx) + values[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def bleed_colours(rgba: Uint8) -> Uint8:
    """(H, W, 3): colours of solid pixels carried outward, so that no seam shows the background."""
    from scipy.ndimage import distance_transform_edt

    solid = rgba[..., 3] > 250
    if not solid.any():
        solid = rgba[..., 3] > 127
    nearest = distance_transform_edt(~solid, return_distances=False, return_indices=True)
    rows, cols = np.asarray(nearest)
    return np.ascontiguousarray(rgba[rows, cols, :3])
