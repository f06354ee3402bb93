"""Which texels does the photo show, and how much of its colour do they take?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from alignment.visible import generator_distance
from scene.cameras import pixel_centres, project, unproject
from scene.raycast import cast
from scene.types import Camera, CropCamera, Float32, Float64, Uint8

FACING = (0.25, 0.6)  # cosine to the camera: from the first on the photo counts, then alone
BORDER_PX = (1.5, 6.0)  # the same for the distance to the nearest outline, of 512 px of the crop
CROP_PX = 512
WHOLE = 250  # alpha of pixels that show nothing but the object
MAX_STEP = 0.01  # of depth between neighbouring pixels: more is an outline within the object
BEHIND = 0.006  # depth, in sides of the cube, by which a texel may lie behind what the photo shows


@dataclass(frozen=True, eq=False)
class PhotoView:
    """The object crop that a mesh is aligned with: rgb (N, N, 3), weight (N, N) in [0, 1] by the
    distance from outlines, depth (N, N) of the mesh, NaN for none; shift: of the object's frame to
    the camera's."""

    camera: Camera
    rgb: Uint8
    weight: Float32
    depth: Float64
    shift: Float64


def photo_view(
    rgba: Uint8, crop: CropCamera, vertices: Float32, faces: NDArray[np.int32]
) -> PhotoView:
    """The view of a mesh in the object frame by its object crop; rgba (N, N, 4)."""
    camera, side = crop.camera, rgba.shape[0]
    shift = np.array([0.0, 0.0, generator_distance(crop)])
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    hits = cast([(vertices + shift, faces)], np.zeros(3), rays)
    depth = hits.distance.reshape(side, side)
    known = np.where(np.isfinite(depth), depth, 1e3)
    step = cv2.dilate(known, np.ones((3, 3))) - cv2.erode(known, np.ones((3, 3)))
    inside = (rgba[..., 3] >= WHOLE) & (step < MAX_STEP * 3)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    away = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) * (CROP_PX / side)
    return PhotoView(camera, rgba[..., :3], _smoothstep(away, *BORDER_PX), depth, shift)


def photo_colours(view: PhotoView, points: Float64, normals: Float64, colours: Float64) -> Float64:
    """Colours (N, 3) of points (N, 3) with unit normals (N, 3), object frame: the photo's where it
    shows them, `colours` where it does not, and both between."""
    there = points + view.shift
    pixel = project(view.camera, there).astype(np.float32) - 0.5  # cv2 counts from centres
    toward = -there / np.linalg.norm(there, axis=1, keepdims=True)
    weight = _smoothstep((normals * toward).sum(1), *FACING) * _sampled(view.weight, pixel)
    depth = _sampled(np.where(np.isfinite(view.depth), view.depth, 0).astype(np.float32), pixel)
    weight = np.where(there[:, 2] < depth + BEHIND, weight, 0)[:, None]
    shown = _sampled(view.rgb.astype(np.float32), pixel)
    return weight * shown + (1 - weight) * colours


def _sampled(image: Float32, pixel: Float32) -> Float64:
    """An image at pixels (N, 2), bilinear."""
    height = -(-len(pixel) // 1024)
    grid = np.zeros((height * 1024, 2), np.float32)
    grid[: len(pixel)] = pixel
    x, y = np.moveaxis(grid.reshape(height, 1024, 2), 2, 0).copy()
    read = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return read.reshape(height * 1024, *image.shape[2:])[: len(pixel)].astype(np.float64)


def _smoothstep(values: NDArray[np.floating], low: float, high: float) -> Float32:
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
