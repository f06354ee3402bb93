"""How is a scene changed before the network sees it? Its camera, its colours."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Uint8
from stages.map_points.lite.network import frame_of

ROLL, TILT = 0.09, 0.06  # radians; share of the longer side: typical turns of a camera
LARGEST_MAGNIFICATION, MAGNIFICATIONS = 1.9, 10


class View(NamedTuple):
    """A scene in a camera: rgb (H, W, 3); log_depth (H, W), inf where nothing is; labels (H, W);
    up (3,) unit, camera frame; focal length over the longer side."""

    rgb: Uint8
    log_depth: Float32
    labels: NDArray
    up: NDArray
    focal: float


def rotated_view(view: View, magnification: float, generator: np.random.Generator) -> View:
    """The scene in a camera at the same place that is turned, as far as its picture reaches.

    A homography brings the pixels there (Hartley and Zisserman, "Multiple View Geometry", 2nd
    edition, section 8.4); depths change with the direction that they are measured along.
    """
    tilt = np.clip(generator.normal(0, TILT, 2), -2 * TILT, 2 * TILT) / view.focal
    roll = np.clip(generator.normal(0, ROLL), -2 * ROLL, 2 * ROLL)
    rotation = cv2.Rodrigues(np.array([*tilt, roll]))[0]
    height, width = view.labels.shape
    right, below = width - 0.5, height - 0.5
    corners = np.array([[-0.5, right, -0.5, right], [-0.5, -0.5, below, below], [1, 1, 1, 1]])
    for larger in np.geomspace(magnification, LARGEST_MAGNIFICATION, MAGNIFICATIONS):
        back = _rays_back(view, rotation, float(larger))
        x, y, along = _pixels_back(view, back) @ corners
        x, y = x / along, y / along
        inside = (x >= -0.5) & (x <= right) & (y >= -0.5) & (y <= below)
        if inside.all():
            return _warped(view, rotation, float(larger))
    return _warped(view, np.eye(3), magnification)


def mirrored(view: View) -> View:
    """Left and right exchanged."""
    rgb, log_depth, labels = view.rgb[:, ::-1], view.log_depth[:, ::-1], view.labels[:, ::-1]
    up = view.up * np.array([-1, 1, 1], np.float32)
    return View(np.ascontiguousarray(rgb), log_depth, labels, up, view.focal)


def _warped(view: View, rotation: NDArray, magnification: float) -> View:
    """The view of a turned camera, of the size that the network sees."""
    height, width = view.labels.shape
    frame = frame_of(width, height)
    size = frame.inner_width, frame.inner_height
    shrunk = np.diag([width / size[0], height / size[1], 1.0])
    shrunk[:2, 2] = shrunk[[0, 1], [0, 1]] / 2 - 0.5
    back = _rays_back(view, rotation, magnification) @ shrunk
    matrix = _pixels_back(view, back)

    def brought(values: NDArray, method: int) -> NDArray:
        flags = method | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REPLICATE
        return cv2.warpPerspective(values, matrix, size, flags=flags, borderMode=border)

    x, y = np.arange(size[0]), np.arange(size[1])[:, None]
    along = (back[2, 0] * x + back[2, 1] * y + back[2, 2]).astype(np.float32)
    return View(
        np.asarray(brought(view.rgb, cv2.INTER_LINEAR), np.uint8),
        np.asarray(brought(view.log_depth, cv2.INTER_NEAREST) - np.log(along), np.float32),
        brought(view.labels, cv2.INTER_NEAREST),
        rotation @ view.up,
        view.focal * magnification,
    )


def _intrinsics(view: View, magnification: float) -> NDArray:
    height, width = view.labels.shape
    focal = view.focal * magnification * max(height, width)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def _rays_back(view: View, rotation: NDArray, magnification: float) -> NDArray:
    """(3, 3): pixels of the turned camera -> rays of the first one."""
    return rotation.T @ np.linalg.inv(_intrinsics(view, magnification))


def _pixels_back(view: View, rays: NDArray) -> NDArray:
    """(3, 3): pixels of the turned camera -> pixels of the first one."""
    return _intrinsics(view, 1.0) @ rays


def recoloured(rgb: Uint8, generator: np.random.Generator) -> Uint8:
    """Other exposure, contrast, balance and saturation; blur, noise, JPEG."""
    g = generator
    if g.random() < 0.15:
        rgb = rgb[..., g.permutation(3)]
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    curve = np.clip(levels * g.uniform(0.75, 1.25) * (1 + g.normal(0, 0.06, 3)), 0, 1)
    curve = (curve ** np.exp(g.normal(0, 0.25))).astype(np.float32)
    x = cv2.LUT(np.ascontiguousarray(rgb), curve[:, None])
    if g.random() < 0.5:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * np.float32(g.uniform(0, 1.4))
    if g.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), g.uniform(0.3, 1.4))
    if g.random() < 0.4:
        x = x + np.float32(g.uniform(0.005, 0.05)) * g.standard_normal(x.shape, np.float32)
    out = (255 * np.clip(x, 0, 1)).astype(np.uint8)
    if g.random() < 0.3:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(g.integers(30, 95))])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out
