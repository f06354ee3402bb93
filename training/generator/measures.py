"""How good is a generated object? Its occupancy of the cube's frustum, against truth and a
baseline.

The frustum's cells lie along the rays of S x S pixels, S slices in z from -0.5 to 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.raycast import cast_through
from scene.types import Bool, Float32, Float64, ObjectMesh
from stages.generate.lite.layered import camera_distance

MAX_CROSSINGS = 12
# Half the thickness of an inflated outline: the best shares of its profile on training shapes.
INFLATED = 1.1


@dataclass(frozen=True)
class Score:
    """Intersection over union; mean absolute errors of first and last surface, in cube sides, over
    the pixels that both occupy; iou_inflated: of the baseline."""

    iou: float
    front: float
    back: float
    iou_inflated: float


def rays_of(fov_rad: float, size: int) -> Float64:
    """(S*S, 3) rays of the cube's camera with z 1, rows first."""
    centre = (np.arange(size) + 0.5) / size - 0.5
    v, u = np.meshgrid(centre, centre, indexing="ij")
    across = np.stack([u, v], -1).reshape(-1, 2) / camera_distance(fov_rad)
    return np.concatenate([across, np.ones((size * size, 1))], 1)


def slices(size: int) -> Float64:
    """(S,) z of the slices' middles, near to far."""
    return (np.arange(size) + 0.5) / size - 0.5


def frustum_points(fov_rad: float, size: int) -> Float64:
    """(S, S, S, 3) the cells' middles in the object cube: slices, rows, columns."""
    z = slices(size)[:, None]
    k = (camera_distance(fov_rad) + z)[..., None]
    points = rays_of(fov_rad, size) * k
    points[..., 2] = z
    return points.reshape(size, size, size, 3)


def mesh_occupancy(mesh: ObjectMesh, fov_rad: float, size: int) -> Bool:
    """(S, S, S) bool: slices, rows, columns inside a closed mesh in the object cube."""
    distance = camera_distance(fov_rad)
    vertices = mesh.vertices.astype(np.float64) + [0, 0, distance]
    crossings = cast_through(vertices, mesh.faces, rays_of(fov_rad, size), MAX_CROSSINGS)
    return crossed_occupancy(crossings.distance - distance, crossings.entering, size)


def crossed_occupancy(z: Float64, entering: Bool, size: int) -> Bool:
    """(S, S, S) bool from the crossings (S*S, L) of every pixel's ray, NaN after the last: inside
    is where more surfaces were entered than left."""
    steps = np.where(np.isfinite(z), np.where(entering, 1, -1), 0)
    level = np.zeros(len(z), np.int64)
    inside = np.zeros((size, len(z)), bool)
    middles = slices(size)[:, None]
    for layer in range(z.shape[1]):
        level = np.maximum(level + steps[:, layer], 0)
        until = z[:, layer + 1] if layer + 1 < z.shape[1] else np.full(len(z), np.nan)
        here = (middles >= z[:, layer]) & (middles < until)  # NaN compares as false
        inside |= here & (level > 0)
    return inside.reshape(size, size, size)


def inflated_occupancy(alpha: Float32, size: int, fraction: float = INFLATED) -> Bool:
    """(S, S, S) bool: the outline blown up about the centre plane, as round as it is wide.

    The half thickness is a circle's height above its chord, of the radius of the widest part.
    """
    solid = (cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    rim = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / size
    half = fraction * np.sqrt(np.maximum(rim * (2 * rim.max() - rim), 0))
    return np.abs(slices(size))[:, None, None] < half


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two volumes."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def score(mesh: ObjectMesh, truth: Bool, alpha: Float32, fov_rad: float) -> Score:
    """A generated mesh and the baseline against the true occupancy."""
    size = len(truth)
    found = mesh_occupancy(mesh, fov_rad, size)
    both = found.any(0) & truth.any(0)
    first, last = (
        np.abs(_first(a) - _first(b))[both].mean() / size if both.any() else 1.0
        for a, b in ((found, truth), (found[::-1], truth[::-1]))
    )
    inflated = inflated_occupancy(alpha, size)
    return Score(iou(found, truth), float(first), float(last), iou(inflated, truth))


def _first(inside: Bool) -> Float64:
    """(S, S) index of the first occupied slice."""
    return inside.argmax(0).astype(np.float64)
