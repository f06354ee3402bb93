"""Which colour has every face? The photo where it shows the face, the network's guess elsewhere.

The texture has three panels, all aligned with the crop's pixels: the photo on the left, N x N; in
the middle the last surface's colours above those inside the gap, each N/2 x N/2. On the right are
N/2 x N pixels for faces that have no area in a panel, with the colours that they have in theirs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64, Uint8
from stages.generate.lite.colours import COARSE, spread_colours
from stages.generate.lite.columns import Columns, Surface, slice_spacing
from stages.generate.shared.lattice import at_points

PHOTO, BACK, INNER = range(3)
NEAREST_WINS = (True, False, False)  # of each panel: the photo shows what is in front
LAYER_REACH = 2.0  # slices: a face that near to a layer is part of it
EDGE_ON = 0.02  # cells squared: faces with less area in the picture are seen from the side
ON_OUTLINE = 0.05  # of alpha's range about its middle: a face that has it at all corners


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
    # Walls along the outline have one colour from front to back: the panels agree there.
    alpha = [np.abs(at_points(columns.alpha_level, corners[:, i, :2])) for i in range(3)]
    first &= (np.abs(area) > EDGE_ON) | (np.max(alpha, axis=0) > ON_OUTLINE)
    gap = at_points(columns.gap_level, centre[:, :2]) > 0
    at_gap = np.minimum(np.abs(z - near), np.abs(z - far)) < reach
    inner = gap & at_gap & (np.abs(z - back) > reach)
    return np.where(first, PHOTO, np.where(inner, INNER, BACK))


def paint(rgba: Uint8, back: Float32, inner: Float32, covered: Bool, columns: Columns) -> Uint8:
    """(N, 2 N, 3): the texture, black on the right. back, inner (H, H, 3) in [0, 1]; covered
    (H, H): cells where they mean something."""
    size = rgba.shape[0]
    half, coarse = size // 2, max(1, size // COARSE)
    own_back, own_inner = (_enlarged(c, covered, coarse) * np.float32(255) for c in (back, inner))
    last, gap, photo = spread_colours(rgba, own_back, own_inner, columns)
    out = np.zeros((size, 2 * size, 3), np.uint8)
    out[:, :size] = photo
    for top, colours in ((0, last), (half, gap)):
        enlarged = cv2.resize(colours, (half, half), interpolation=cv2.INTER_LINEAR)
        out[top : top + half, size : size + half] = np.rint(enlarged).clip(0, 255)
    return out


def _enlarged(colours: Float32, covered: Bool, size: int) -> Float32:
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    rows, columns = np.asarray(nearest)
    known = np.ascontiguousarray(colours[rows, columns], np.float32)
    return np.asarray(cv2.resize(known, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def panel_uv(pixels: Float64, panel: NDArray[np.int64], size: int) -> Float32:
    """(P, 2) texture coordinates of crop pixels (P, 2) in their panels (P,)."""
    half = size // 2
    scale = np.where(panel == PHOTO, 1.0, half / size)
    x = pixels[:, 0] * scale + np.where(panel == PHOTO, 0, size)
    y = pixels[:, 1] * scale + np.where(panel == INNER, half, 0)
    return np.stack([x / (2 * size), y / size], -1).astype(np.float32)


def sides_uv(at_px: Float64, size: int) -> Float32:
    """(P, 2) texture coordinates of points (P, 2) in the area to the right of the panels."""
    x = at_px[:, 0] + 2 * size - size // 2
    return np.stack([x / (2 * size), at_px[:, 1] / size], -1).astype(np.float32)
