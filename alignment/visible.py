"""The points by which a mesh is placed: where the photo's pixels hit it, and their depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.cameras import pixel_centres, unproject
from scene.raycast import cast
from scene.types import Bool, Camera, CropCamera, Float32, Float64, ObjectMesh

MAX_POINTS = 4096
MIN_POINTS = 100
MIN_FACING = 0.2  # cosine between a surface and its ray below which depth is not trusted
FAR = 1e9  # beyond any depth: stands for "unknown" where a least or greatest is sought
MAX_DEPTH_STEP = 0.05  # (max - min) / z over 3 x 3 pixels above which a pixel is a depth edge


@dataclass(frozen=True, eq=False)
class VisiblePoints:
    """N matches in the crop camera's frame.

    model (N, 3): hits in the generator camera's frame, before scaling about the camera centre;
    measured (N, 3): the point map's points of the same pixels; pixels (N,): flat photo indices;
    silhouette (H, W): the pixels at which the mesh is hit at all; reduced: few interior pixels
    were left, so border pixels had to be used.
    """

    model: Float64
    measured: Float64
    pixels: np.ndarray
    silhouette: Bool
    reduced: bool


def generator_distance(crop: CropCamera) -> float:
    """Distance of the object cube's centre from the crop camera: 0.5 / tan(fov / 2).

    Border rays then meet the edges of the cube's centre plane (the released Pixal3D's rule).
    """
    return crop.camera.fx_px / crop.camera.width


def visible_points(
    mesh: ObjectMesh, crop: CropCamera, camera: Camera, mask: Bool, depth: Float32
) -> VisiblePoints:
    """Cast the photo's rays into a pixel-aligned mesh and pair the hits with measured points.

    mask (H, W): the visible pixels (never the completed ones); depth (H, W): z in the photo
    camera's frame, NaN unknown. Rejects borders, depth edges and grazing surfaces. The rays are the
    photo's own, turned into the crop camera, so that no resampling comes between.
    """
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    turned = rays @ crop.photo_from_crop
    vertices = mesh.vertices.astype(np.float64) + [0, 0, generator_distance(crop)]
    window = _window(vertices @ crop.photo_from_crop.T, camera)
    hits = cast([(vertices, mesh.faces)], np.zeros(3), turned[window])
    silhouette = np.zeros(mask.size, bool)
    silhouette[window[hits.hit]] = True
    model = np.zeros((mask.size, 3))
    model[window] = turned[window] * np.nan_to_num(hits.distance)[:, None]
    facing = np.zeros(mask.size)
    facing[window[hits.hit]] = _facing(
        vertices, mesh.faces[hits.face[hits.hit]], turned[window[hits.hit]]
    )
    silhouette = silhouette.reshape(mask.shape)
    valid = silhouette & mask & np.isfinite(depth)
    chosen, reduced = _interior(valid, depth, facing.reshape(mask.shape))
    pixels = np.flatnonzero(chosen)
    pixels = pixels[:: max(1, int(np.ceil(len(pixels) / MAX_POINTS)))]
    measured = turned[pixels] * depth.reshape(-1)[pixels, None]
    return VisiblePoints(model[pixels], measured, pixels, silhouette, reduced)


def placed_silhouette(vertices: Float64, faces: np.ndarray, camera: Camera) -> Bool:
    """(H, W) the photo's pixels that see a placed mesh; vertices (N, 3): photo camera's frame.

    Raises ValueError when a vertex does not lie in front of the camera.
    """
    behind = int((vertices[:, 2] <= 0).sum())
    if behind:
        raise ValueError(f"{behind} of the placed mesh's vertices do not lie before the camera")
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    window = _window(vertices, camera)
    silhouette = np.zeros(len(rays), bool)
    silhouette[window] = cast([(vertices, faces)], np.zeros(3), rays[window]).hit
    return silhouette.reshape(camera.height, camera.width)


def _window(vertices: Float64, camera: Camera) -> np.ndarray:
    """Flat indices of the photo's pixels in the box that a mesh projects into.

    vertices (N, 3): photo camera's frame.
    """
    pixels = vertices[:, :2] / vertices[:, 2:] * [camera.fx_px, camera.fy_px]
    pixels = pixels + [camera.cx_px, camera.cy_px]
    low = np.floor(pixels.min(0) - 1).clip(0, [camera.width, camera.height]).astype(int)
    high = np.ceil(pixels.max(0) + 1).clip(0, [camera.width, camera.height]).astype(int)
    rows, cols = np.arange(low[1], high[1]), np.arange(low[0], high[0])
    return (rows[:, None] * camera.width + cols[None]).reshape(-1)


def _facing(vertices: Float64, faces: np.ndarray, rays: Float64) -> Float64:
    """(N,) cosine between the outward normal and the way to the camera; negative from behind."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(rays, axis=1)
    return -(normal * rays).sum(1) / np.maximum(length, 1e-30)


def _interior(valid: Bool, depth: Float32, facing: Float64) -> tuple[Bool, bool]:
    """The trusted pixels, and whether the border had to be kept because the object is thin."""
    lowest, highest = _neighbourhood(depth)
    smooth = (highest - lowest) <= MAX_DEPTH_STEP * depth
    trusted = valid & smooth & (facing > MIN_FACING)
    # Erosion radius: 1.5 % of the object's size, at least 2 pixels (facts C6.3).
    radius = max(2, int(round(0.015 * float(np.sqrt(valid.sum())))))
    for r in (radius, 1):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
        inner = cv2.erode(trusted.astype(np.uint8), kernel, borderValue=0) > 0
        if inner.sum() >= max(MIN_POINTS, 0.3 * trusted.sum()):
            return inner, False
    return (trusted, True) if trusted.sum() >= MIN_POINTS else (valid, True)


def _neighbourhood(depth: Float32) -> tuple[Float32, Float32]:
    """(H, W) least and greatest known depth among the 3 x 3 neighbours."""
    kernel = np.ones((3, 3), np.uint8)
    known = np.isfinite(depth)
    low = cv2.erode(np.where(known, depth, FAR).astype(np.float32), kernel)
    high = cv2.dilate(np.where(known, depth, -FAR).astype(np.float32), kernel)
    return low.astype(np.float32), high.astype(np.float32)
