"""A pinhole camera from points and their pixels (camera resection), in closed form.

Pixels are in units of the image's side, cameras as OpenCV has them: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

AFFINE_ROUNDS = 20
HUBER = 1.5  # lengths of residuals in standard deviations per axis


@dataclass(frozen=True, eq=False)
class Pinhole:
    """X = R x + t and intrinsics without skew, in units of the image's side.

    rotation (3, 3); translation (3,); focal (2,): f_x and f_y; principal_point (2,).
    """

    rotation: Float64
    translation: Float64
    focal: Float64
    principal_point: Float64

    def project(self, points: Float64) -> Float64:
        """(N, 2) pixels of points (N, 3)."""
        moved = points @ self.rotation.T + self.translation
        return self.principal_point + self.focal * moved[:, :2] / moved[:, 2:]


def direct_linear_transform(
    points: Float64, uv: Float64, weights: Float64 | None = None
) -> Float64:
    """P (3, 4) with (u, v, 1) ~ P (x, 1), of unit norm and with det P[:, :3] > 0.

    points (N, 3), uv (N, 2), N >= 6; weights (N,) multiply a pair's two rows. Without Hartley's
    normalisation: coordinates and pixels are of the order of 1 (Hartley & Zisserman, 7.1).
    """
    rows = np.concatenate([points, np.ones((len(points), 1))], 1)
    if weights is not None:
        rows = weights[:, None] * rows
    zero = np.zeros_like(rows)
    u_rows = np.concatenate([rows, zero, -uv[:, :1] * rows], 1)
    v_rows = np.concatenate([zero, rows, -uv[:, 1:] * rows], 1)
    triangular = np.linalg.qr(np.concatenate([u_rows, v_rows]), mode="r")
    matrix = np.linalg.svd(triangular)[2][-1].reshape(3, 4)
    return matrix if np.linalg.det(matrix[:, :3]) > 0 else -matrix


def decompose(matrix: Float64) -> tuple[Float64, Float64, Float64]:
    """K (3, 3), R (3, 3) and t (3,) of P ~ K [R | t], K upper triangular with K[2, 2] = 1.

    RQ by a QR of the inverse: (P[:, :3])^-1 = Q U gives K = U^-1 and R = Q^T, up to signs.
    """
    q, upper = np.linalg.qr(np.linalg.inv(matrix[:, :3]))
    intrinsics = np.linalg.inv(upper)
    signs = np.sign(np.diag(intrinsics))
    intrinsics = intrinsics * signs
    translation = np.linalg.solve(intrinsics, matrix[:, 3])
    rotation = np.asarray(signs[:, None] * q.T, np.float64)
    return intrinsics / intrinsics[2, 2], rotation, np.asarray(translation, np.float64)


def fit_affine(points: Float64, uv: Float64) -> tuple[Float64, Float64]:
    """A (2, 3) and b (2,) of uv = A x + b by Huber's loss: the camera from very far away.

    The loss is convex, so that outliers cannot lead it to a wrong minimum.
    """
    rows = np.concatenate([points, np.ones((len(points), 1))], 1)
    weights, solution = np.ones(len(points)), np.zeros((4, 2))
    for _ in range(AFFINE_ROUNDS):
        weighted = weights[:, None] * rows
        solution = np.asarray(np.linalg.lstsq(weighted.T @ rows, weighted.T @ uv)[0], np.float64)
        lengths = np.linalg.norm(rows @ solution - uv, axis=1)
        bound = HUBER * max(float(np.median(lengths)), 1e-12)
        weights = np.minimum(1, bound / np.maximum(lengths, 1e-12))
    return solution[:3].T, solution[3]


def weak_perspective(affine: Float64) -> tuple[Float64, float]:
    """The rotation (3, 3) and the scale whose scaled first two rows are nearest to A (2, 3)."""
    u, sizes, vt = np.linalg.svd(affine, full_matrices=False)
    x, y = u @ vt
    return np.stack([x, y, np.cross(x, y)]), float(sizes.mean())
