"""Pinhole cameras: rays, projection, intrinsics, and the virtual cameras that look at one object.

Pixel coordinates are continuous: pixel i covers [i, i + 1] and has its centre at i + 0.5.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.errors import BadInput
from scene.types import Bool, Camera, CropCamera, Float32, Float64, PointMap, Uint8

# CIPA DCG-001: the 35 mm equivalent compares picture diagonals; 36 x 24 mm has 43.27 mm.
FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
OBJECT_FRAMING = 1.1  # crop side over object extent; Pixal3D's own preprocessing uses 1.1
CONTEXT_FRAMING = 1.5  # room around the visible mask in which the hidden part may lie
CROP_SIDE_MULTIPLE_PX, MIN_CROP_SIDE_PX, MAX_CROP_SIDE_PX = 64, 256, 1024
FOCAL_OVER_SIDE = (0.01, 1000)  # fields of view from 179 to 0.06 degrees: fisheye to telescope
MIN_FOV_RAD = math.radians(0.5)  # a one-pixel object still gets a camera


def camera_from_fov(width: int, height: int, fov_x_rad: float) -> Camera:
    """A centred camera with square pixels and a horizontal field of view in radians, (0, pi)."""
    if not 0 < fov_x_rad < math.pi:
        raise BadInput(
            f"field of view {math.degrees(fov_x_rad):g} degrees: expected between 0 and 180"
        )
    focal_px = width / (2 * math.tan(fov_x_rad / 2))
    return Camera(width, height, focal_px, focal_px, width / 2, height / 2)


def camera_from_focal_35mm(width: int, height: int, focal_35mm: float) -> Camera:
    """A centred camera from EXIF's 35 mm equivalent focal length in millimetres."""
    focal_px = focal_35mm * math.hypot(width, height) / FULL_FRAME_DIAGONAL_MM
    return Camera(width, height, focal_px, focal_px, width / 2, height / 2)


def camera_from_matrix(width: int, height: int, K: NDArray[np.floating]) -> Camera:
    """A camera from a (3, 3) intrinsic matrix in pixels; skew is not supported.

    Raises BadInput for a matrix that no camera of this size can have.
    """
    K = np.asarray(K, np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise BadInput("camera matrix K: expected 3 x 3 finite numbers with positive focal lengths")
    if abs(K[0, 1]) > 1e-3 * K[0, 0]:
        raise BadInput(f"camera matrix K has skew {K[0, 1]:g}: undistort the photo first")
    if K[1, 0] != 0 or not np.allclose(K[2], (0, 0, 1)):
        raise BadInput("camera matrix K: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    low, high = FOCAL_OVER_SIDE
    if not (low < K[0, 0] / width < high and low < K[1, 1] / height < high):
        raise BadInput(
            f"focal lengths {K[0, 0]:g} and {K[1, 1]:g} px are impossible for {width} x {height} "
            "pixels: K must be in pixels of that size"
        )
    if not (-width < K[0, 2] < 2 * width and -height < K[1, 2] < 2 * height):
        raise BadInput(
            f"principal point ({K[0, 2]:g}, {K[1, 2]:g}) is far outside {width} x {height}: "
            "K must be in pixels of that size"
        )
    return Camera(width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def normalized_intrinsics(camera: Camera) -> Float64:
    """(4,) fx/W, fy/H, cx/W, cy/H."""
    W, H = camera.width, camera.height
    return np.array([camera.fx_px / W, camera.fy_px / H, camera.cx_px / W, camera.cy_px / H])


def camera_from_normalized(width: int, height: int, normalized: NDArray[np.floating]) -> Camera:
    """The inverse of `normalized_intrinsics` at a picture size; also how a camera is resized."""
    fx, fy, cx, cy = (float(v) for v in normalized)
    return Camera(width, height, fx * width, fy * height, cx * width, cy * height)


def resize_camera(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the same photo resampled to another size in pixels."""
    return camera_from_normalized(width, height, normalized_intrinsics(camera))


def pixel_centres(width: int, height: int) -> Float64:
    """(H, W, 2) continuous coordinates (u, v) of all pixel centres."""
    columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    return np.stack(np.meshgrid(columns + 0.5, rows + 0.5), -1)


def unproject(camera: Camera, pixels: NDArray[np.floating]) -> Float64:
    """(..., 2) pixels -> (..., 3) rays in the camera frame with z = 1."""
    pixels = np.asarray(pixels, np.float64)
    x = (pixels[..., 0] - camera.cx_px) / camera.fx_px
    y = (pixels[..., 1] - camera.cy_px) / camera.fy_px
    return np.stack([x, y, np.ones_like(x)], -1)


def project(camera: Camera, points: NDArray[np.floating]) -> Float64:
    """(..., 3) points in the camera frame, z > 0 -> (..., 2) pixels."""
    points = np.asarray(points, np.float64)
    u = points[..., 0] / points[..., 2] * camera.fx_px + camera.cx_px
    v = points[..., 1] / points[..., 2] * camera.fy_px + camera.cy_px
    return np.stack([u, v], -1)


def points_of(point_map: PointMap) -> Float64:
    """(H, W, 3) points in the camera frame, NaN where the map is unknown."""
    camera = point_map.camera
    rays = unproject(camera, pixel_centres(camera.width, camera.height))
    return rays * point_map.depth[..., None]


def rotation_to(direction: NDArray[np.floating]) -> Float64:
    """(3, 3) smallest rotation that turns the optical axis (0, 0, 1) onto a direction, z > 0."""
    n = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    cross = np.array([[0, 0, n[0]], [0, 0, n[1]], [-n[0], -n[1], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + n[2])


def look_at_pixels(camera: Camera, inside: Bool, framing: float) -> CropCamera:
    """The square virtual camera that frames the True pixels of `inside` (H, W).

    It shares the optical centre, so photo and crop are related by a homography, exact at any depth.
    It is turned until the pixels' bounding box is centred; the box's longer side then fills
    1 / framing of the crop. The crop side keeps the photo's resolution, as a multiple of 64 pixels.
    Raises ValueError when no pixel is inside.
    """
    rays = unproject(camera, _outline_pixels(inside))
    photo_from_crop = rotation_to(rays.mean(0))
    for _ in range(6):  # the box of a turned view moves a little: converges in 2 to 4 rounds
        xy = _in_view(rays, photo_from_crop)
        centre = (xy.min(0) + xy.max(0)) / 2
        if np.abs(centre).max() < 1e-6:
            break
        photo_from_crop = rotation_to(photo_from_crop @ np.array([*centre, 1.0]))
    xy = _in_view(rays, photo_from_crop)
    extent = max(float(np.abs(xy).max()), math.tan(MIN_FOV_RAD / 2))
    half_tangent = extent * framing
    native_side_px = 2 * half_tangent * (camera.fx_px + camera.fy_px) / 2
    side = int(np.ceil(native_side_px / CROP_SIDE_MULTIPLE_PX)) * CROP_SIDE_MULTIPLE_PX
    side = int(np.clip(side, MIN_CROP_SIDE_PX, MAX_CROP_SIDE_PX))
    focal_px = side / (2 * half_tangent)
    return CropCamera(Camera(side, side, focal_px, focal_px, side / 2, side / 2), photo_from_crop)


def _outline_pixels(inside: Bool) -> Float64:
    """(N, 2) corners of the first and last True pixel of every row and column."""
    if not inside.any():
        raise ValueError("an empty mask has no crop")
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    first_col = inside[rows].argmax(1)
    last_col = inside.shape[1] - inside[rows, ::-1].argmax(1)
    first_row = inside[:, cols].argmax(0)
    last_row = inside.shape[0] - inside[::-1, cols].argmax(0)
    corners = [
        np.stack([u, v], -1)
        for u, v in (
            (first_col, rows), (first_col, rows + 1), (last_col, rows), (last_col, rows + 1),
            (cols, first_row), (cols + 1, first_row), (cols, last_row), (cols + 1, last_row),
        )
    ]  # fmt: skip
    return np.concatenate(corners).astype(np.float64)


def _in_view(rays: Float64, photo_from_crop: Float64) -> Float64:
    """(N, 3) rays of the photo camera -> (N, 2) x/z, y/z in the crop camera."""
    turned = rays @ photo_from_crop
    return turned[:, :2] / turned[:, 2:]


def crop_from_photo(camera: Camera, crop: CropCamera) -> Float64:
    """(3, 3) homography H = K_v R_c^T K^-1 from photo pixels to crop pixels."""
    return crop.camera.K @ crop.photo_from_crop.T @ np.linalg.inv(camera.K)


def crop_from_crop(target: CropCamera, source: CropCamera) -> Float64:
    """(3, 3) homography between two crops of the same photo, pixels to pixels."""
    target_from_source = target.photo_from_crop.T @ source.photo_from_crop
    return target.camera.K @ target_from_source @ np.linalg.inv(source.camera.K)


def warp(image: NDArray, target_from_source: Float64, side: int, fill: float = 0.0) -> Float32:
    """Resample (H, W) or (H, W, C) to (side, side[, C]) float32 through a pixel homography.

    Antialiased: where the source is finer than the target, the target is supersampled and averaged.
    Outside the source the value is `fill`.
    """
    factor = _supersampling(target_from_source, image.shape[1], image.shape[0], side)
    grid = np.diag([factor, factor, 1.0])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV has pixel centres at integers
    homography = np.linalg.inv(half) @ grid @ target_from_source @ half
    big = cv2.warpPerspective(
        np.ascontiguousarray(image, np.float32), homography, (side * factor, side * factor),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4,
    )  # fmt: skip
    out = big if factor == 1 else cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA)
    return out.astype(np.float32)


def _supersampling(target_from_source: Float64, width: int, height: int, side: int) -> int:
    """How many source pixels one target pixel spans at the crop's centre, rounded up, at most 8."""
    source_from_target = np.linalg.inv(target_from_source)
    corners = np.array([[0, 0], [1, 0], [0, 1]]) - 0.5 + side / 2
    mapped = np.c_[corners, np.ones(3)] @ source_from_target.T
    mapped = mapped[:, :2] / mapped[:, 2:]
    step = np.abs(mapped[1:] - mapped[0]).sum(1).max()
    return int(np.clip(np.ceil(step - 0.25), 1, 8))


def warp_rgba(rgba: Uint8, target_from_source: Float64, side: int) -> Uint8:
    """Resample (H, W, 4) straight alpha; colours are weighted by alpha, so no fringe bleeds in."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    premultiplied = warp(
        np.concatenate([rgba[..., :3] * alpha, alpha], -1), target_from_source, side
    )
    alpha = premultiplied[..., 3:]
    rgb = np.divide(premultiplied[..., :3], alpha, out=np.zeros_like(premultiplied[..., :3]),
                    where=alpha > 1e-3)  # fmt: skip
    return np.concatenate([np.rint(rgb), np.rint(alpha * 255)], -1).clip(0, 255).astype(np.uint8)
