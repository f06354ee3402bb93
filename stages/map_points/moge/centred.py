"""A photo warped to a camera whose axis meets its centre, and that camera's depth brought back.

Networks for points assume a centred camera with square pixels. A photo that was cut out of a larger
one has none. Turned about its optical centre it has: a homography, exact at any depth.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from scene.cameras import crop_from_photo, pixel_centres, project, rotation_to, unproject
from scene.types import Bool, Camera, CropCamera, Float32, Float64, Uint8

# Of the longer side: calibrated cameras are off by as much, which bends no depth by 1 %.
OFF_CENTRE = 0.01
OFF_SQUARE = 0.002  # between the two focal lengths
MAX_TANGENT = 4.0  # the view ends here, at 76 degrees from its axis; what lies beyond is unknown
MAX_OVER_PHOTO = 1.5  # the view's longer side over the photo's
SMOOTH = 0.01  # of depth, between neighbours of one surface


def is_centred(camera: Camera) -> bool:
    """Whether a network's own assumptions hold for a camera well enough."""
    longer = max(camera.width, camera.height)
    off = max(abs(camera.cx_px - camera.width / 2), abs(camera.cy_px - camera.height / 2))
    return off <= OFF_CENTRE * longer and abs(camera.fx_px / camera.fy_px - 1) <= OFF_SQUARE


def centred_view(camera: Camera) -> CropCamera:
    """The centred camera with square pixels that looks at the photo's centre and sees all of it.

    Its camera need not be square in shape; its resolution is the photo's.
    """
    middle = np.array([camera.width / 2, camera.height / 2])
    photo_from_view = rotation_to(unproject(camera, middle))
    sides = np.linspace(0, 1, 17)
    edges = [(s, t) for s in sides for t in (0, 1)] + [(t, s) for s in sides for t in (0, 1)]
    border = np.array(edges) * [camera.width, camera.height]
    seen = unproject(camera, border) @ photo_from_view
    reach = np.abs(seen[:, :2] / np.maximum(seen[:, 2:], 1 / MAX_TANGENT)).max(0)
    reach = np.minimum(reach, MAX_TANGENT)
    focal_px = math.sqrt(camera.fx_px * camera.fy_px)
    longest_px = MAX_OVER_PHOTO * max(camera.width, camera.height)
    focal_px = min(focal_px, longest_px / (2 * float(reach.max())))
    width, height = (max(1, math.ceil(2 * focal_px * r)) for r in reach)
    return CropCamera(
        Camera(width, height, focal_px, focal_px, width / 2, height / 2), photo_from_view
    )


def warped_to_view(view: CropCamera, camera: Camera, rgb: Uint8) -> Uint8:
    """The photo (H, W, 3) as the view sees it; beyond its border its border goes on."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV has pixel centres at integers
    homography = np.linalg.inv(half) @ crop_from_photo(camera, view) @ half
    size = (view.camera.width, view.camera.height)
    warped = cv2.warpPerspective(
        rgb, homography, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def depth_from_view(depth: Float32, view: CropCamera, camera: Camera) -> Float32:
    """z of the photo's pixels (H, W) from z in the view (h, w); NaN where the view knows none.

    A plane's inverse depth is linear in any view, so it is that which is interpolated; across an
    outline the nearer pixel decides.
    """
    rays, at, inside = _in_view(view, camera)
    nearest = _sampled(depth, at, cv2.INTER_NEAREST)
    inverse = np.asarray(1 / depth, np.float32)
    linear = 1 / _sampled(inverse, at, cv2.INTER_LINEAR)
    smooth = np.abs(linear - nearest) < SMOOTH * nearest  # False where either is NaN
    along = np.where(smooth, linear, nearest)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = along / rays[..., 2]
    return np.where(inside, z, np.nan).astype(np.float32)


def normals_from_view(normals: Float32, view: CropCamera, camera: Camera) -> Float32:
    """Normals (H, W, 3) in the photo's frame from those in the view's (h, w, 3)."""
    _, at, inside = _in_view(view, camera)
    turned = _sampled(normals, at, cv2.INTER_NEAREST) @ view.photo_from_crop.T
    return np.where(inside[..., None], turned, np.nan).astype(np.float32)


def _in_view(view: CropCamera, camera: Camera) -> tuple[Float64, Float64, Bool]:
    """For the photo's pixels: rays (H, W, 3) in the view's frame, with z = 1 in the photo's; where
    they meet the view (H, W, 2); and whether they do."""
    rays = unproject(camera, pixel_centres(camera.width, camera.height)) @ view.photo_from_crop
    before = rays[..., 2] > 1e-3
    at = project(view.camera, np.where(before[..., None], rays, 1.0))
    size = np.array([view.camera.width, view.camera.height])
    return rays, at, before & ((at > 0) & (at < size)).all(-1)


def _sampled(values: Float32, at: Float64, how: int) -> Float32:
    x, y = np.moveaxis((at - 0.5).astype(np.float32), -1, 0)
    return np.asarray(cv2.remap(values, x, y, how, borderMode=cv2.BORDER_REPLICATE), np.float32)
