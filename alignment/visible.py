"""The points by which a mesh is placed: where the photo's pixels hit it, and their depth.

A pixel-aligned mesh has one free number, the scale lambda about the camera's centre. Here the mesh
stands at lambda = 1: its cube's centre at the generator's distance, on the axis of its crop camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from scene.cameras import unproject
from scene.errors import CannotPlace
from scene.morphology import dilated, eroded
from scene.raycast import cast
from scene.types import Bool, Camera, CropCamera, Float32, Float64, ObjectMesh

MAX_POINTS = 4096
MIN_POINTS = 100
MIN_FACING = 0.2  # cosine between a surface and its ray below which depth is not trusted
FAR = 1e9  # beyond any depth: stands for "unknown" where a least or greatest is sought
MAX_DEPTH_STEP = 0.05  # (max - min) / z over 3 x 3 pixels above which a pixel is a depth edge
MARGIN = 3  # pixels around a box that its depth edges depend on

Box = tuple[slice, slice]  # rows and columns of the photo


@dataclass(frozen=True, eq=False)
class DepthView:
    """A mesh at lambda = 1 rendered in the photo's pixels, inside the box that it projects into.

    vertices (N, 3): photo camera's frame; depth (h, w): z of the first hits, NaN where there is
    none; facing (h, w): cosine between the surface and the way to the camera, negative from behind.
    """

    vertices: Float64
    faces: np.ndarray
    box: Box
    depth: Float64
    facing: Float64

    @property
    def silhouette(self) -> Bool:
        """(h, w) the box's pixels at which the mesh is hit at all."""
        return np.isfinite(self.depth)


@dataclass(frozen=True, eq=False)
class VisiblePoints:
    """N matches of the mesh at lambda = 1 with the point map.

    model, measured (N,): z in the photo camera's frame, the mesh's and the map's; pixels (N, 2):
    row and column; reduced: few interior pixels were left, so border pixels had to be used.
    """

    model: Float64
    measured: Float64
    pixels: np.ndarray
    reduced: bool

    @property
    def scale_estimates(self) -> Float64:
        """(N,) the scale that each pixel asks for (docs/placement.md, equation 2)."""
        return self.measured / self.model


def generator_distance(crop: CropCamera) -> float:
    """Distance of the object cube's centre from the crop camera: 0.5 / tan(fov / 2).

    Border rays then meet the edges of the cube's centre plane (the released Pixal3D's rule).
    """
    return crop.camera.fx_px / crop.camera.width


def render_depth(mesh: ObjectMesh, crop: CropCamera, camera: Camera) -> DepthView:
    """Cast the photo's own rays into a mesh at lambda = 1, so that no resampling comes between.

    Raises CannotPlace for vertices that are not finite or not before the camera.
    """
    if len(mesh.faces) == 0:
        raise CannotPlace("the mesh has no surface")
    if not np.isfinite(mesh.vertices).all():
        raise CannotPlace("some vertices of the mesh are not finite numbers")
    cube = mesh.vertices.astype(np.float64) + [0, 0, generator_distance(crop)]
    return render_placed_depth(cube @ crop.photo_from_crop.T, mesh.faces, camera)


def render_placed_depth(vertices: Float64, faces: np.ndarray, camera: Camera) -> DepthView:
    """The rendered depth of vertices (N, 3) in the photo camera's frame.

    Raises CannotPlace when a vertex does not lie in front of the camera.
    """
    behind = int((vertices[:, 2] <= 0).sum())
    if behind:
        raise CannotPlace(f"{behind} of the mesh's vertices do not lie before the camera")
    box = _box(vertices, camera)
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    rays = rays_of(camera, box).reshape(-1, 3)
    hits = cast([(vertices, faces)], np.zeros(3), rays)
    facing = np.zeros(len(rays))
    facing[hits.hit] = _facing(vertices, faces[hits.face[hits.hit]], rays[hits.hit])
    return DepthView(vertices, faces, box, hits.distance.reshape(shape), facing.reshape(shape))


def scaled(view: DepthView, scale: float) -> DepthView:
    """The rendered depth of the mesh at another scale about the camera's centre."""
    return replace(view, vertices=scale * view.vertices, depth=scale * view.depth)


def rays_of(camera: Camera, box: Box) -> Float64:
    """(h, w, 3) rays with z = 1 through the centres of a box's pixels, photo camera's frame."""
    rows, columns = (np.arange(s.start, s.stop) + 0.5 for s in box)
    return unproject(camera, np.stack(np.meshgrid(columns, rows), -1))


def visible_points(view: DepthView, mask: Bool, occluder: Bool, depth: Float32) -> VisiblePoints:
    """Pair the hits inside the visible mask with the point map's depths.

    mask, occluder (H, W): the object's visible pixels (never the completed ones) and those of
    nearer objects; depth (H, W): z in the photo camera's frame, NaN unknown. Rejects what the
    camera sees from behind, borders, the band beside an occluder, depth edges and grazing surfaces.
    """
    measured = depth[view.box]
    visible = view.silhouette & mask[view.box] & np.isfinite(measured) & (view.facing > 0)
    chosen, reduced = _interior(visible, _is_smooth(depth, view.box), occluder[view.box], view)
    rows, columns = np.nonzero(chosen)
    if len(rows) > MAX_POINTS:
        kept = np.linspace(0, len(rows) - 1, MAX_POINTS).astype(int)
        rows, columns = rows[kept], columns[kept]
    corner = [view.box[0].start, view.box[1].start]
    return VisiblePoints(
        view.depth[rows, columns],
        measured[rows, columns].astype(np.float64),
        np.stack([rows, columns], 1) + corner,
        reduced,
    )


def _box(vertices: Float64, camera: Camera) -> Box:
    """The photo's pixels that a mesh can project into; empty when it lies outside the picture."""
    pixels = vertices[:, :2] / vertices[:, 2:] * [camera.fx_px, camera.fy_px]
    pixels = pixels + [camera.cx_px, camera.cy_px]
    low = np.floor(pixels.min(0) - 1).clip(0, [camera.width, camera.height]).astype(int)
    high = np.ceil(pixels.max(0) + 1).clip(0, [camera.width, camera.height]).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _facing(vertices: Float64, faces: np.ndarray, rays: Float64) -> Float64:
    """(N,) cosine between the outward normal and the way to the camera; negative from behind."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(rays, axis=1)
    return -(normal * rays).sum(1) / np.maximum(length, 1e-30)


def _interior(visible: Bool, smooth: Bool, occluder: Bool, view: DepthView) -> tuple[Bool, bool]:
    """The trusted pixels, and whether the border had to be kept because the object is thin."""
    trusted = visible & smooth & (view.facing > MIN_FACING)
    # Erosion radius: 1.5 % of the object's size, at least 2 pixels.
    radius = max(2, int(round(0.015 * float(np.sqrt(visible.sum())))))
    for r in (radius, 1):
        # Depth bleeds from a nearer object further than from the background.
        inner = eroded(trusted, r, beyond=False) & ~dilated(occluder, 2 * r)
        if inner.sum() >= max(MIN_POINTS, 0.3 * trusted.sum()):
            return inner, False
    return (trusted, True) if trusted.sum() >= MIN_POINTS else (visible, True)


def _is_smooth(depth: Float32, box: Box) -> Bool:
    """(h, w) whether the depths of the 3 x 3 neighbours differ little, noise left aside."""
    rows, columns = box
    wide = (slice(max(rows.start - MARGIN, 0), rows.stop + MARGIN),
            slice(max(columns.start - MARGIN, 0), columns.stop + MARGIN))  # fmt: skip
    near = depth[wide].astype(np.float32)
    if near.size == 0:
        return np.zeros(near.shape, bool)
    # The median keeps edges and drops the noise of single pixels, which would pass for edges.
    calm = cv2.medianBlur(np.ascontiguousarray(np.where(np.isfinite(near), near, FAR)), 5)
    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(calm, kernel), cv2.dilate(calm, kernel)
    smooth = np.asarray(high - low <= MAX_DEPTH_STEP * calm)
    top, left = rows.start - wide[0].start, columns.start - wide[1].start
    return smooth[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
