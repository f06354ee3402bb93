"""Generate backend `relief`: the measured front, closed by a mirrored or inflated back.

No learned prior: what the point map shows is kept, what it does not show is guessed by symmetry.
The outline comes from the crop's alpha by marching squares, so it is exact to a fraction of a cell
and the mesh is closed by construction: front and back share the vertices of the outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alignment.visible import generator_distance
from scene.types import Bool, Float32, Float64, ObjectCrop, ObjectMesh, Uint8
from stages.generate.outline import Outline, triangulate_outline

VERSION = "2"
MIN_KNOWN_SHARE = 0.25  # of a cell that must have measured depth


@dataclass(frozen=True)
class Settings:
    """grid: cells along the crop's side; depth_ratio: depth of an inflated back over its half width
    where the front gives no hint; min_thickness: of the object's size, so that nothing is flat."""

    grid: int = 128
    depth_ratio: float = 0.6
    min_thickness: float = 0.01

    def __post_init__(self) -> None:
        if not 8 <= self.grid <= 1024:
            raise ValueError(f"grid: expected 8 to 1024, got {self.grid}")
        if not 0 <= self.depth_ratio <= 5:
            raise ValueError(f"depth_ratio: expected 0 to 5, got {self.depth_ratio:g}")
        if not 0 < self.min_thickness <= 1:
            raise ValueError(f"min_thickness: expected 0 to 1, got {self.min_thickness:g}")


@dataclass(frozen=True)
class Relief:
    """A generator without weights."""

    settings: Settings

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The closed relief of one crop; the seed has nothing to decide here."""
        outline = triangulate_outline(crop.rgba[..., 3], self.settings.grid)
        inverse, known = _lattice_inverse_depth(crop.depth, self.settings.grid)
        front, membrane = _surfaces(inverse, known & outline.inside, outline.inside)
        cell = 1 / front * crop.camera.camera.width / crop.camera.camera.fx_px / self.settings.grid
        from_rim = distance_from_rim(crop.rgba[..., 3], self.settings.grid)
        back = _back(1 / front, 1 / membrane, from_rim, float(np.median(cell)), self.settings)
        vertices, faces = _close(outline, 1 / front, back, crop)
        uv = np.concatenate([outline.points, outline.points[outline.interior]]) / self.settings.grid
        texture = bleed_colours(crop.rgba)
        return ObjectMesh(vertices, faces, uv.astype(np.float32), texture)


def load(settings: Settings, device: str) -> Relief:
    """Nothing to load; runs on the CPU whatever the device."""
    return Relief(settings)


def _lattice_inverse_depth(depth: Float32, grid: int) -> tuple[Float64, Bool]:
    """(G + 1, G + 1) 1 / z at the lattice nodes and where it is known, from (N, N) crop depth."""
    known = np.isfinite(depth)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    side = depth.shape[0]
    step = side / grid
    node = (np.arange(grid + 1) * step - 0.5).astype(np.float32)
    x, y = np.meshgrid(node, node)
    # Average over a cell's size first: a lattice coarser than the crop must not alias its noise.
    window = (max(1, int(round(step))),) * 2
    both = np.stack([inverse, known.astype(np.float32)], -1)
    both = cv2.blur(both, window, borderType=cv2.BORDER_CONSTANT)
    total, share = np.moveaxis(cv2.remap(both, x, y, cv2.INTER_LINEAR), -1, 0)
    seen = share > MIN_KNOWN_SHARE
    return np.where(seen, total / np.maximum(share, 1e-6), 0).astype(np.float64), seen


def _surfaces(inverse: Float64, known: Bool, inside: Bool) -> tuple[Float64, Float64]:
    """1 / z of the front (measured, else continued) and of the membrane through its rim."""
    if not known.any():
        raise ValueError("the point map has no depth on this object")
    reachable = _dilate(inside)
    front = harmonic_fill(inverse, known, reachable)
    rim = reachable & ~_erode(inside)
    return front, harmonic_fill(front, rim, reachable)


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
    for here, there in _neighbour_views():
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


def _neighbour_views() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """The four shifts of a grid as (here, there) slices."""
    every, but_first, but_last = slice(None), slice(1, None), slice(None, -1)
    pairs = [((every, but_first), (every, but_last)), ((but_first, every), (but_last, every))]
    return [*pairs, *((there, here) for here, there in pairs)]


def distance_from_rim(alpha: Uint8, grid: int) -> Float64:
    """(G + 1, G + 1) distance of the lattice's nodes from the outline, in cells; 0 outside.

    Taken at the crop's own resolution: a distance in whole cells would make the back's edge a saw.
    """
    step = alpha.shape[0] / grid
    solid = (alpha > 127).astype(np.uint8)
    solid[[0, -1]] = 0
    solid[:, [0, -1]] = 0
    distance = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    node = (np.arange(grid + 1) * step - 0.5).astype(np.float32)
    x, y = np.meshgrid(node, node)
    return cv2.remap(distance, x, y, cv2.INTER_LINEAR).astype(np.float64) / step


def _back(
    front: Float64, membrane: Float64, from_rim: Float64, cell: float, s: Settings
) -> Float64:
    """Depth of the unseen side: the front mirrored at the membrane, inflated at least a little."""
    reach = float(from_rim.max())
    # A circle's height above its chord, for a disc as wide as the widest part of the outline.
    inflated = s.depth_ratio * cell * np.sqrt(np.maximum(from_rim * (2 * reach - from_rim), 0))
    mirrored = membrane - front
    behind = membrane + np.maximum(mirrored, inflated)
    # Thinner toward the rim, where front and back meet, but nowhere nothing.
    thickness = s.min_thickness * cell * 2 * reach * np.clip(from_rim, 0.05, 1)
    return np.maximum(behind, front + thickness)


def _close(
    outline: Outline, front: Float64, back: Float64, crop: ObjectCrop
) -> tuple[Float32, NDArray[np.int32]]:
    """Front and back sheets as one closed mesh in the object cube."""
    camera, grid = crop.camera.camera, front.shape[0] - 1
    step = camera.width / grid
    pixels = outline.points * step
    z_front, z_back = _at(front, outline.points), _at(back, outline.points)
    z = np.concatenate([z_front, z_back[outline.interior]])
    pixels = np.concatenate([pixels, pixels[outline.interior]])
    distance = generator_distance(crop.camera)
    # Scaling about the camera centre keeps every pixel; the cube's centre goes to mid depth.
    z = z * (2 * distance / (z.min() + z.max()))
    x = (pixels[:, 0] - camera.cx_px) / camera.fx_px * z
    y = (pixels[:, 1] - camera.cy_px) / camera.fy_px * z
    vertices = np.stack([x, y, z - distance], -1).astype(np.float32)
    twin = np.arange(len(outline.points))
    twin[outline.interior] = len(outline.points) + np.arange(len(outline.interior))
    faces = np.concatenate([outline.triangles, twin[outline.triangles][:, ::-1]])
    return vertices, faces.astype(np.int32)


def _at(values: Float64, points: Float64) -> Float64:
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


def _dilate(mask: Bool) -> Bool:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _erode(mask: Bool) -> Bool:
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
