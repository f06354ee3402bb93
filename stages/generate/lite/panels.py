"""Which colour has every face? The photo where it shows the face, the network's guess elsewhere.

The texture has three panels, all aligned with the crop's pixels: the photo on the left, N x N; on
the right the last surface's colours above those inside the gap, each N/2 x N/2.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64, Uint8
from stages.generate.lite.columns import Columns, Surface, slice_spacing
from stages.generate.shared.lattice import at_points, bleed_colours

PHOTO, BACK, INNER = range(3)
LAYER_REACH = 2.0  # slices: a face that near to a layer is part of it
EDGE_ON = 0.02  # cells squared: faces with less area in the picture are seen from the side
OWN_FRACTION, SHADE = 0.3, 0.85  # of the network's colours; of the blurred photo's brightness
BLUR = 0.06  # of the crop's side
BLEND = 0.05  # of the crop's side: how far the rim's colours reach into the unseen side


def panel_of_faces(surface: Surface, columns: Columns) -> NDArray[np.int64]:
    """(M,) the panel of every triangle."""
    corners = surface.points[surface.triangles]
    centre = corners.mean(1)
    a, b = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]  # negative toward the viewer, since y is down
    front, near, far, back = (
        at_points(v, centre[:, :2])
        for v in (columns.front, columns.near, columns.far, columns.back)
    )
    z, reach = centre[:, 2], LAYER_REACH * slice_spacing(columns)
    # The front may be steep between two nodes: what lies before its deeper corner is still front.
    deepest = np.max([at_points(columns.front, corners[:, i, :2]) for i in range(3)], axis=0)
    is_front = z < np.maximum(front, deepest) + reach
    first = np.where(np.abs(area) > EDGE_ON, (area < 0) & is_front, z - front < back - z)
    gap = at_points(columns.gap_level, centre[:, :2]) > 0
    at_gap = np.minimum(np.abs(z - near), np.abs(z - far)) < reach
    inner = gap & at_gap & (np.abs(z - back) > reach)
    return np.where(first, PHOTO, np.where(inner, INNER, BACK))


def paint(rgba: Uint8, back: Float32, inner: Float32, covered: Bool) -> Uint8:
    """(N, N + N/2, 3): the texture. back, inner (H, H, 3) in [0, 1]; covered (H, H): cells where
    they mean something."""
    size = rgba.shape[0]
    half = size // 2
    photo = bleed_colours(rgba)
    out = np.zeros((size, size + half, 3), np.uint8)
    out[:, :size] = photo
    small = cv2.resize(rgba[..., 3], (half, half), interpolation=cv2.INTER_AREA) > 127
    small_photo = cv2.resize(photo, (half, half), interpolation=cv2.INTER_AREA)
    rim, weight = _rim_colours(np.asarray(small_photo, np.uint8), small)
    near = _blurred(rgba, half) * SHADE
    for top, colours in ((0, back), (half, inner)):
        # Each is closer to the truth than either: a back has its front's colours, a little darker.
        guess = OWN_FRACTION * _enlarged(colours, covered, half) * 255 + (1 - OWN_FRACTION) * near
        mixed = guess + weight[..., None] * (rim - guess)
        out[top : top + half, size:] = np.rint(mixed).clip(0, 255)
    return out


def _blurred(rgba: Uint8, size: int) -> Float32:
    """(H, H, 3): the photo's colours at half size, so blurred that no detail is left of them."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    both = np.concatenate([rgba[..., :3] * alpha, alpha], -1)
    small = np.asarray(cv2.resize(both, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    wide = cv2.GaussianBlur(small, (0, 0), BLUR * size)
    # Far from the object nothing of it is left; no face shows those places.
    return np.asarray(wide[..., :3] / np.maximum(wide[..., 3:], 1e-3), np.float32)


def _rim_colours(photo: Uint8, solid: Bool) -> tuple[Float32, Float32]:
    """(H, H, 3) colours of the nearest rim pixel, and (H, H) how much they count: 1 at the rim."""
    from scipy.ndimage import distance_transform_edt

    found: Any = distance_transform_edt(solid, return_indices=True)
    distance, (rows, columns) = found
    rim = photo[rows, columns].astype(np.float32)
    blurred = cv2.GaussianBlur(rim, (0, 0), max(1.0, 0.01 * len(photo)))
    reach = BLEND * len(photo)
    weight = np.exp(-((distance / reach) ** 2))
    return np.asarray(blurred, np.float32), np.asarray(weight, np.float32)


def _enlarged(colours: Float32, covered: Bool, size: int) -> Float32:
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    rows, columns = np.asarray(nearest)
    known = np.ascontiguousarray(colours[rows, columns], np.float32)
    return np.asarray(cv2.resize(known, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def panel_uv(pixels: Float64, panel: NDArray[np.int64], size: int) -> Float32:
    """(P, 2) texture coordinates of crop pixels (P, 2) in their panels (P,)."""
    half = size // 2
    width = size + half
    scale = np.where(panel == PHOTO, 1.0, half / size)
    x = pixels[:, 0] * scale + np.where(panel == PHOTO, 0, size)
    y = pixels[:, 1] * scale + np.where(panel == INNER, half, 0)
    return np.stack([x / width, y / size], -1).astype(np.float32)
