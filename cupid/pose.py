"""The camera pose of a UV cube: where the image shows every voxel of the canonical object.

Source of the closed form: CUPID's released `calibrate_camera_dlt` (direct linear transform, then
RQ). It is the start here; robust least squares with square pixels follow (`cupid/refinement.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cupid.refinement import TUKEY, Known, Refined, noise_of, refine
from cupid.resection import (
    Float64,
    Pinhole,
    decompose,
    direct_linear_transform,
    fit_affine,
    weak_perspective,
)
from sparse3d.errors import NothingMade

BORDER = 0.01  # of the image's side: pixels this near to its border may have been clamped there
MIN_PAIRS = 100
MIN_EXTENT = 8  # voxels; a canonical object fills its cube, of 64
MIN_THICKNESS = 0.6  # voxels, rms about the best plane: a sheet of two voxels has 0.5
MIN_SPAN = 0.1  # of the image's side, that a cube's side spans in the image
MIN_ISOTROPY = 0.5  # smaller over larger scale of the two image axes; a camera has them equal
MAX_NOISE = 0.06  # of the image's side, per axis
MIN_INLIERS = 0.5
MAX_ROTATION_ERROR_RAD = np.radians(15)  # standard error
HALF_CONFIDENCE_RAD = np.radians(2)  # standard error of the rotation that halves the confidence
SEARCH_PAIRS = 800  # that the starts are compared with
START_INVERSE_DEPTH = 0.2  # over the cube's side; refinement finds its way from any
SAME_POSE_RAD = np.radians(3)
AMBIGUOUS = 20  # truncated squares in units of noise^2 that make the better of two poses certain
MAX_AFFINE_NOISE = 0.15  # what perspective and noise leave; arbitrary pixels leave 0.25
SECOND_POSE_OUTLIERS = 0.15  # fraction of all pairs from which on outliers may have a pose too


class PoseNotFound(NothingMade):
    """A UV cube that does not determine a camera pose; its text is the reason."""


@dataclass(frozen=True, eq=False)
class CubePose:
    """X = R x + t from the object cube [-0.5, 0.5]^3 to the camera: x right, y down, z forward.

    rotation (3, 3); translation (3,), in sides of the cube; focal and principal_point (2,): in
    sides of the image, square pixels without skew. residual: median distance between a voxel's
    pixel and its projection, noise: standard deviation per axis of the pixels that fit, both in
    sides of the image; inliers: fraction of the pairs whose residual is explained by that noise;
    rotation_error_rad: standard error of the rotation under independent noise; confidence in
    [0, 1]: inliers / (1 + (rotation_error / 2 degrees)^2).
    """

    rotation: Float64
    translation: Float64
    focal: float
    principal_point: Float64
    residual: float
    noise: float
    inliers: float
    rotation_error_rad: float

    @property
    def confidence(self) -> float:
        return self.inliers / (1 + (self.rotation_error_rad / HALF_CONFIDENCE_RAD) ** 2)

    @property
    def intrinsics(self) -> Float64:
        """K (3, 3) in sides of the image."""
        x, y = self.principal_point
        return np.array([[self.focal, 0, x], [0, self.focal, y], [0, 0, 1]])

    @property
    def extrinsic(self) -> Float64:
        """camera_from_object (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.translation
        return matrix

    def project(self, points: Float64) -> Float64:
        """(N, 2) pixels of points (N, 3) of the object cube, in sides of the image."""
        moved = points @ self.rotation.T + self.translation
        return self.principal_point + self.focal * moved[:, :2] / moved[:, 2:]


def pose_from_cube(
    coords: ArrayLike,
    uv: ArrayLike,
    side: int = 64,
    principal_point: tuple[float, float] | None = None,
    focal: float | None = None,
) -> CubePose:
    """The pose and intrinsics that explain the pixels of a UV cube's active voxels.

    coords (N, 3) int: active voxels of a grid with `side` voxels per axis; uv (N, 2) in [0, 1]:
    their pixels, (0, 0) the image's upper left corner and (1, 1) its lower right one. The principal
    point and the focal length, in sides of the image, are estimated where they are None. Up to
    about 40 % of the pixels may be arbitrary. Raises PoseNotFound with the reason for cubes that
    determine no pose: planar, tiny, symmetric ones, or ones whose voxels share a ray.
    """
    voxels, pixels = _checked(coords, uv, side)
    inside = np.all((pixels > BORDER) & (pixels < 1 - BORDER), axis=1)
    _check_voxels(voxels, inside, side)
    points, pixels = voxel_centres(voxels[inside], side), pixels[inside]
    affine, origin = fit_affine(points, pixels)
    _check_affine(affine)
    known = Known(principal_point, focal)
    candidates = _candidates(points, pixels, known, affine, origin)
    best = refine(points, pixels, known, candidates[0].camera)
    _check_fit(points, pixels, known, best, candidates)
    return _as_pose(best)


def voxel_centres(coords: NDArray[np.integer] | Float64, side: int) -> Float64:
    """(N, 3) centres of voxels in the cube [-0.5, 0.5]^3."""
    return (np.asarray(coords, np.float64) + 0.5) / side - 0.5


def decropped(intrinsics: Float64, scale: float, corner: tuple[float, float]) -> Float64:
    """K (3, 3) of the square image that a square crop was cut from, in sides of that image.

    scale: side of the crop over that of the image; corner: of the crop, in sides of the image.
    """
    x, y = corner
    return np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]]) @ intrinsics


def rotation_between_rad(a: Float64, b: Float64) -> float:
    """The angle between two rotations (3, 3)."""
    return float(2 * np.arcsin(min(np.linalg.norm(a - b) / np.sqrt(8), 1)))


def _checked(coords: ArrayLike, uv: ArrayLike, side: int) -> tuple[Float64, Float64]:
    voxels, pixels = np.asarray(coords, np.float64), np.asarray(uv, np.float64)
    if voxels.ndim != 2 or voxels.shape[1] != 3 or pixels.shape != (len(voxels), 2):
        raise ValueError(
            f"expected coords (N, 3) and uv (N, 2), got {voxels.shape}, {pixels.shape}"
        )
    if len(voxels) and (voxels.min() < 0 or voxels.max() >= side):
        raise ValueError(f"coords from {voxels.min():g} to {voxels.max():g} in a grid of {side}")
    if not np.isfinite(pixels).all():
        raise ValueError("uv: some pixels are not finite numbers")
    return voxels, pixels


def _check_voxels(voxels: Float64, inside: NDArray[np.bool_], side: int) -> None:
    """Raise PoseNotFound for too few, too small and flat sets of voxels."""
    number = int(inside.sum())
    if number < MIN_PAIRS:
        clamped = len(voxels) - number
        raise PoseNotFound(
            f"tiny: {number} voxels with a pixel inside the image, at least {MIN_PAIRS} are needed"
            + (f" ({clamped} more lie on its border)" if clamped else "")
        )
    used = voxels[inside]
    extent = int(np.ptp(used, axis=0).max()) + 1
    if extent * 64 < MIN_EXTENT * side:
        raise PoseNotFound(f"tiny: the object is {extent} voxels large in a cube of {side}")
    spread = np.linalg.svd(used - used.mean(0), compute_uv=False) / np.sqrt(number)
    if spread[1] < MIN_THICKNESS:
        raise PoseNotFound("one ray: the voxels lie on one line, about which the pose is free")
    if spread[2] < MIN_THICKNESS:
        raise PoseNotFound("planar: the voxels lie in one plane, which two poses show alike")


def _check_affine(affine: Float64) -> None:
    """Raise PoseNotFound where the image shows all of the cube in one spot or on one line."""
    large, small = np.linalg.svd(affine, compute_uv=False)
    if large < MIN_SPAN:
        raise PoseNotFound(
            f"one ray: the image shows the whole cube within {large:.1%} of its side"
        )
    if small < MIN_ISOTROPY * large:
        raise PoseNotFound(
            f"symmetric: one axis of the image is {small / large:.0%} as large as the other, as if "
            "voxels on opposite sides had the mean of two poses"
        )


def _candidates(
    points: Float64, uv: Float64, known: Known, affine: Float64, origin: Float64
) -> list[Refined]:
    """Refined poses of a part of the pairs, from several starts, the best first."""
    chosen = np.linspace(0, len(points) - 1, min(len(points), SEARCH_PAIRS)).round().astype(int)
    few, pixels = points[chosen], uv[chosen]
    fits = [refine(few, pixels, known, start) for start in _far_starts(few, affine, origin, known)]
    linear = _linear_start(few, pixels, min(fits, key=lambda fit: fit.noise))
    if linear is not None:
        fits.append(refine(few, pixels, known, linear))
    noise = min(fit.noise for fit in fits)
    return sorted(fits, key=lambda fit: _loss(fit, noise))


def _far_starts(
    points: Float64, affine: Float64, origin: Float64, known: Known
) -> Iterator[Pinhole]:
    """The pose of a camera far away, and the one that shows a flat object alike."""
    rotation, scale = weak_perspective(affine)
    point = np.array(known.principal_point or (0.5, 0.5))
    depth = 1 / START_INVERSE_DEPTH if known.focal is None else known.focal / scale
    translation = np.array([*(origin - point) / scale, depth])
    normal = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][-1]
    mirrored = np.eye(3) - 2 * np.outer(normal, normal)
    for candidate in (rotation, np.diag([1.0, 1.0, -1.0]) @ rotation @ mirrored):
        yield Pinhole(candidate, translation, np.full(2, scale * depth), point)


def _linear_start(points: Float64, uv: Float64, fit: Refined) -> Pinhole | None:
    """The direct linear transform of what a fit explains; None unless it shows all in front."""
    kept = fit.weights > 0
    if kept.sum() < MIN_PAIRS / 2:
        return None
    matrix = direct_linear_transform(points[kept], uv[kept])
    if np.linalg.cond(matrix[:, :3]) > 1e8:
        return None
    intrinsics, rotation, translation = decompose(matrix)
    camera = Pinhole(rotation, translation, np.diag(intrinsics)[:2], intrinsics[:2, 2])
    depth = points @ rotation[2] + translation[2]
    return camera if depth.min() > 0 else None


def _loss(fit: Refined, noise: float) -> float:
    """The squared residuals over noise^2, each up to Tukey's bound."""
    return float(np.minimum((fit.residuals / noise) ** 2, TUKEY**2).sum())


def _check_fit(
    points: Float64, uv: Float64, known: Known, best: Refined, candidates: list[Refined]
) -> None:
    """Raise PoseNotFound for a fit that is bad, uncertain, or no better than another."""
    inliers = best.weights > 0
    if best.noise > MAX_NOISE or inliers.mean() < MIN_INLIERS:
        raise PoseNotFound(
            f"no pose explains the cube: {inliers.mean():.0%} of the pixels with noise of "
            f"{best.noise:.1%} of the image's side (a failed cube, or a symmetric object)"
        )
    error = _rotation_error(best)
    if error > MAX_ROTATION_ERROR_RAD:
        raise PoseNotFound(
            f"uncertain: the rotation is known to {np.degrees(error):.0f} degrees only"
        )
    rivals = [c for c in candidates[1:] if _differs(c, best)]
    if rivals:
        rival = refine(points, uv, known, rivals[0].camera)
        if _differs(rival, best) and _loss(rival, best.noise) - _loss(best, best.noise) < AMBIGUOUS:
            raise PoseNotFound("planar or too far away: two poses explain the cube equally well")
    if (~inliers).mean() > SECOND_POSE_OUTLIERS and (~inliers).sum() >= MIN_PAIRS:
        second = _second_pose(points[~inliers], uv[~inliers], known)
        if second is not None and second.noise < 2 * best.noise and _differs(second, best):
            raise PoseNotFound(
                f"symmetric: a second pose explains {(second.weights > 0).mean():.0%} of the "
                f"{(~inliers).mean():.0%} of the pixels that the first does not"
            )


def _second_pose(points: Float64, uv: Float64, known: Known) -> Refined | None:
    """The pose that explains at least half of these pairs."""
    affine, origin = fit_affine(points, uv)
    lengths = np.linalg.norm(points @ affine.T + origin - uv, axis=1)
    if (
        noise_of(lengths) > MAX_AFFINE_NOISE
        or np.linalg.svd(affine, compute_uv=False)[1] < MIN_SPAN
    ):
        return None
    found = _candidates(points, uv, known, affine, origin)[0]
    return found if (found.weights > 0).mean() >= MIN_INLIERS else None


def _differs(a: Refined, b: Refined) -> bool:
    return rotation_between_rad(a.camera.rotation, b.camera.rotation) > SAME_POSE_RAD


def _rotation_error(fit: Refined) -> float:
    return float(np.sqrt(np.trace(fit.covariance[:3, :3])))


def _as_pose(fit: Refined) -> CubePose:
    camera = fit.camera
    return CubePose(
        camera.rotation,
        camera.translation,
        float(camera.focal.mean()),
        camera.principal_point,
        float(np.median(fit.residuals)),
        fit.noise,
        float((fit.weights > 0).mean()),
        _rotation_error(fit),
    )
