"""Which point of a mesh lies under each texel of its texture?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64

REACH_PX = 1.5  # beyond a face's edges: over every texel that bilinear filtering may read


@dataclass(frozen=True, eq=False)
class Texels:
    """The covered texels of a texture (T, T): flat (N,) their numbers, row by row; face (N,) int32
    and barycentric (N, 3) float32 of the point under each."""

    side_px: int
    flat: NDArray[np.int64]
    face: NDArray[np.int32]
    barycentric: Float32

    def at(self, faces: NDArray[np.int32], values: NDArray[np.floating]) -> Float64:
        """Values (V, C) of the vertices of faces (M, 3) at the texels: (N, C)."""
        corners = np.asarray(values)[faces[self.face]]
        return np.einsum("nk,nkc->nc", self.barycentric.astype(np.float64), corners)


def covered_texels(uv: Float32, faces: NDArray[np.int32], side_px: int) -> Texels:
    """The texels of a mesh with uv (V, 2), faces (M, 3), in a texture side_px wide.

    A texel belongs to the face nearest to its centre in the texture, up to REACH_PX away; outside
    every face its point is the nearest one on that face's border.
    """
    face = np.full((side_px, side_px), -1, np.int32)
    barycentric = np.zeros((side_px, side_px, 3), np.float32)
    away = np.full((side_px, side_px), np.inf, np.float32)
    _rasterise(uv * np.float32(side_px), faces, REACH_PX, face, barycentric, away)
    flat = np.flatnonzero(face >= 0)
    return Texels(side_px, flat, face.reshape(-1)[flat], barycentric.reshape(-1, 3)[flat])


def spread(texels: Texels, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The texture (T, T, C) of values (N, C): texels without a face have the nearest one's.

    Mip maps and bilinear filtering read beyond the charts.
    """
    side = texels.side_px
    bare = np.ones(side * side, np.uint8)
    bare[texels.flat] = 0
    row = np.zeros(side * side, np.int64)
    row[texels.flat] = np.arange(len(texels.flat))
    _, labels = cv2.distanceTransformWithLabels(
        bare.reshape(side, side), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    covered: Bool = bare == 0
    labels = labels.reshape(-1).astype(np.int64)
    row_of_label = np.zeros(int(labels.max()) + 1, np.int64)
    row_of_label[labels[covered]] = row[covered]
    return values[row_of_label[labels]].reshape(side, side, -1)


@njit(cache=True, nogil=True)
def _rasterise(px, faces, reach, face, barycentric, away):  # pragma: no cover
    size = face.shape[0]
    for f in range(len(faces)):
        ax, ay = px[faces[f, 0], 0], px[faces[f, 0], 1]
        bx, by = px[faces[f, 1], 0], px[faces[f, 1], 1]
        cx, cy = px[faces[f, 2], 0], px[faces[f, 2], 1]
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - reach - 0.5)))
        x1 = min(size - 1, int(np.floor(max(ax, bx, cx) + reach - 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - reach - 0.5)))
        y1 = min(size - 1, int(np.floor(max(ay, by, cy) + reach - 0.5)))
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        for row in range(y0, y1 + 1):
            for column in range(x0, x1 + 1):
                x, y = column + 0.5, row + 0.5
                u, v, w, squared = 0.0, 0.0, 0.0, np.inf
                if abs(area) > 1e-9:
                    v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                    w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                    u = 1 - v - w
                    if u >= 0 and v >= 0 and w >= 0:
                        squared = 0.0
                if squared > 0:
                    t, d = _along(ax, ay, bx, by, x, y)
                    u, v, w, squared = 1 - t, t, 0.0, d
                    t, d = _along(bx, by, cx, cy, x, y)
                    if d < squared:
                        u, v, w, squared = 0.0, 1 - t, t, d
                    t, d = _along(cx, cy, ax, ay, x, y)
                    if d < squared:
                        u, v, w, squared = t, 0.0, 1 - t, d
                if squared <= reach * reach and squared < away[row, column]:
                    away[row, column], face[row, column] = squared, f
                    barycentric[row, column, 0] = u
                    barycentric[row, column, 1] = v
                    barycentric[row, column, 2] = w


@njit(cache=True, nogil=True)
def _along(ax, ay, bx, by, x, y):  # pragma: no cover
    """Where on an edge from a to b the point nearest to (x, y) is, and its squared distance."""
    dx, dy = bx - ax, by - ay
    t = ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12)
    t = min(1.0, max(0.0, t))
    ex, ey = ax + t * dx - x, ay + t * dy - y
    return t, ex * ex + ey * ey
