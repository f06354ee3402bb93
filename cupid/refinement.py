"""Robust Levenberg-Marquardt refinement of a pinhole camera on the reprojection error.

With (X, Y, Z) = R x the pixel of an object's point x is

    (u, v) = (o + s (X, Y) + r c Z) / (1 + r Z),     s = f r,  r = 1 / t_z,

o the pixel of the object's centre, c the principal point. The unknowns are R, o, ln s,
ln(r - 0.01) and r c: unlike f and t they are well determined even where the camera is so far away
that only f / t_z shows. A known c or f removes its unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from cupid.resection import HUBER, Float64, Pinhole

MIN_INVERSE_DEPTH = 0.01  # 1 / t_z: nothing tells cameras farther away than this from each other
MAX_LOG_STEP = 10.0  # keeps exp() finite where Levenberg-Marquardt tries too much
MIN_DEPTH = 0.05  # over the centre's depth; nearer points count as this near
MIN_NOISE = 1e-8  # of the image's side: of an exact fit
NORMAL_MEDIAN = 1.17741  # median length of a 2-D residual with unit standard deviation per axis
# Mean square length over 2 s^2 of normal 2-D residuals within 3 s: (1 - 5.5 e^-4.5)/(1 - e^-4.5)
WITHIN_THREE = 0.94945
TUKEY = 5.0  # lengths of residuals in standard deviations per axis: beyond, a pixel is an outlier
ROUNDS = 60  # of reweighting, at most, per loss
START_DAMPING, MAX_DAMPING = 1e-3, 1e8
SETTLED = 1e-5  # gain of squared residuals over noise^2 below which another step is pointless


@dataclass(frozen=True)
class Known:
    """What is known of the intrinsics, in units of the image's side; None is free.

    square_pixels: f_x = f_y.
    """

    principal_point: tuple[float, float] | None = None
    focal: float | None = None
    square_pixels: bool = True


@dataclass(frozen=True, eq=False)
class Refined:
    """A camera and its fit to N pixels.

    residuals (N,): lengths of the reprojection errors; weights (N,) in [0, 1]; noise: standard
    deviation per axis of the pixels that fit; covariance (K, K) of the unknowns, the rotation in
    radians first.
    """

    camera: Pinhole
    residuals: Float64
    weights: Float64
    noise: float
    covariance: Float64


@dataclass(frozen=True)
class Loss:
    """A loss of residuals' lengths in standard deviations: squares for small ones.

    weights: of the least squares that have its gradient, (N,) -> (N,); cost: its sum.
    """

    weights: Callable[[Float64], Float64]
    cost: Callable[[Float64], float]


def _huber_cost(lengths: Float64) -> float:
    beyond = np.maximum(lengths - HUBER, 0)
    return float((lengths**2 - beyond**2).sum())


def _tukey_cost(lengths: Float64) -> float:
    inside = np.minimum(lengths / TUKEY, 1) ** 2
    return float(TUKEY**2 / 3 * (1 - (1 - inside) ** 3).sum())


SQUARES = Loss(np.ones_like, lambda lengths: float((lengths**2).sum()))
HUBER_LOSS = Loss(lambda lengths: np.minimum(1, HUBER / np.maximum(lengths, HUBER)), _huber_cost)
TUKEY_LOSS = Loss(lambda lengths: np.maximum(1 - (lengths / TUKEY) ** 2, 0) ** 2, _tukey_cost)


@dataclass(frozen=True, eq=False)
class _State:
    """The unknowns: R (3, 3), o (2,), s (2,), r, and r c (2,)."""

    rotation: Float64
    centre: Float64
    scale: Float64
    inverse_depth: float
    shear: Float64


def refine(
    points: Float64, uv: Float64, known: Known, start: Pinhole, robust: bool = True
) -> Refined:
    """The camera nearest to a start that minimises Tukey's loss, or squares, of the residuals.

    points (N, 3), uv (N, 2). Robust: Huber's loss first, then Tukey's, both of the residuals'
    lengths, by reweighting; their scale is re-estimated from the residuals in every round.
    """
    state = _state(start, known)
    if robust:
        state = _descend(state, points, uv, known, HUBER_LOSS)
    loss = TUKEY_LOSS if robust else SQUARES
    state = _descend(state, points, uv, known, loss)
    lengths = np.linalg.norm(_residuals(state, points, uv), axis=1)
    noise = noise_of(lengths) if robust else float(np.sqrt(np.mean(lengths**2) / 2))
    weights = loss.weights(lengths / noise)
    inverse = _inverse(_normal_equations(state, points, uv, known, weights)[0])
    return Refined(_camera(state), lengths, weights, noise, noise**2 * inverse)


def noise_of(lengths: Float64) -> float:
    """The standard deviation per axis of residuals of these lengths, outliers left out."""
    noise = float(np.median(lengths)) / NORMAL_MEDIAN
    for _ in range(10):
        inside = lengths[lengths <= 3 * noise]
        noise = float(np.sqrt(np.mean(inside**2) / (2 * WITHIN_THREE))) if len(inside) else noise
    return max(noise, MIN_NOISE)


def covariance_bound(camera: Pinhole, points: Float64, known: Known, noise: float) -> Float64:
    """Cramer-Rao bound (K, K) of the unknowns, R in radians first, for normal noise per axis."""
    jacobian = _jacobian(_state(camera, known), points, known).reshape(2 * len(points), -1)
    return noise**2 * _inverse(jacobian.T @ jacobian)


def _inverse(matrix: Float64) -> Float64:
    return np.asarray(np.linalg.pinv(matrix, hermitian=True), np.float64)


def _descend(state: _State, points: Float64, uv: Float64, known: Known, loss: Loss) -> _State:
    """Levenberg-Marquardt, scaled as Marquardt does; every step has new weights and noise."""
    damping = START_DAMPING
    lengths = np.linalg.norm(_residuals(state, points, uv), axis=1)
    for _ in range(ROUNDS):
        noise = noise_of(lengths)
        cost = loss.cost(lengths / noise)
        information, gradient = _normal_equations(
            state, points, uv, known, loss.weights(lengths / noise)
        )
        diagonal = np.diag(information.diagonal() + 1e-12 * information.diagonal().max())
        gain = 0.0
        while damping < MAX_DAMPING:
            step = -np.asarray(
                np.linalg.solve(information + damping * diagonal, gradient), np.float64
            )
            moved = _moved(state, step, known)
            lengths_there = np.linalg.norm(_residuals(moved, points, uv), axis=1)
            gain = cost - loss.cost(lengths_there / noise)
            if gain > 0:
                state, lengths, damping = moved, lengths_there, damping / 10
                break
            damping *= 10
        if gain < SETTLED:
            break
    return state


def _unknowns(known: Known) -> int:
    scales = 0 if known.focal is not None else 1 if known.square_pixels else 2
    return 6 + scales + (2 if known.principal_point is None else 0)


def _moved(state: _State, step: Float64, known: Known) -> _State:
    """The state after a step in (rotation, o, ln(r - min), ln s, r c), as far as they are free."""
    logs = np.clip(step[5:8], -MAX_LOG_STEP, MAX_LOG_STEP)
    beyond = (state.inverse_depth - MIN_INVERSE_DEPTH) * float(np.exp(logs[0]))
    inverse_depth = MIN_INVERSE_DEPTH + beyond
    scale, shear, rest = state.scale, state.shear, step[6:]
    if known.focal is not None:
        scale = np.full(2, known.focal * inverse_depth)
    elif known.square_pixels:
        scale, rest = scale * np.exp(logs[1]), rest[1:]
    else:
        scale, rest = scale * np.exp(logs[1:]), rest[2:]
    if known.principal_point is None:
        shear = shear + rest
    else:
        shear = inverse_depth * np.asarray(known.principal_point)
    rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ state.rotation
    return _State(rotation, state.centre + step[3:5], scale, inverse_depth, shear)


def _project(state: _State, points: Float64) -> tuple[Float64, Float64, Float64]:
    """R x (N, 3), the denominators (N, 1), and the pixels (N, 2)."""
    moved = points @ state.rotation.T
    depth = np.maximum(1 + state.inverse_depth * moved[:, 2:], MIN_DEPTH)
    return (
        moved,
        depth,
        (state.centre + state.scale * moved[:, :2] + moved[:, 2:] * state.shear) / depth,
    )


def _residuals(state: _State, points: Float64, uv: Float64) -> Float64:
    return _project(state, points)[2] - uv


def _jacobian(state: _State, points: Float64, known: Known) -> Float64:
    """(N, 2, K) derivatives of the pixels by a small step."""
    moved, depth, uv = _project(state, points)
    x, y, z = moved.T
    by_z = state.shear - state.inverse_depth * uv
    columns = np.zeros((len(points), 2, _unknowns(known)))
    # By a further small rotation w: d(X, Y, Z) = w x (X, Y, Z).
    rotation = columns[..., :3]
    rotation[..., 0], rotation[..., 1] = by_z * y[:, None], -by_z * x[:, None]
    rotation[:, 0, 1] += state.scale[0] * z
    rotation[:, 1, 0] -= state.scale[1] * z
    rotation[:, 0, 2], rotation[:, 1, 2] = -state.scale[0] * y, state.scale[1] * x
    columns[:, 0, 3] = columns[:, 1, 4] = 1
    by_inverse = -uv * z[:, None]
    if known.principal_point is not None:
        by_inverse += z[:, None] * np.asarray(known.principal_point)
    else:
        columns[:, 0, -2] = columns[:, 1, -1] = z
    if known.focal is not None:
        by_inverse += known.focal * moved[:, :2]
    elif known.square_pixels:
        columns[..., 6] = state.scale * moved[:, :2]
    else:
        columns[:, 0, 6], columns[:, 1, 7] = state.scale[0] * x, state.scale[1] * y
    columns[..., 5] = (state.inverse_depth - MIN_INVERSE_DEPTH) * by_inverse
    columns /= depth[..., None]
    return columns


def _normal_equations(
    state: _State, points: Float64, uv: Float64, known: Known, weights: Float64
) -> tuple[Float64, Float64]:
    """J^T W J (K, K) and J^T W r (K,)."""
    jacobian = _jacobian(state, points, known).reshape(2 * len(points), -1)
    weighted = jacobian * np.repeat(weights, 2)[:, None]
    return weighted.T @ jacobian, weighted.T @ _residuals(state, points, uv).ravel()


def _state(camera: Pinhole, known: Known) -> _State:
    inverse_depth = max(1 / float(camera.translation[2]), 1.01 * MIN_INVERSE_DEPTH)
    point = camera.principal_point if known.principal_point is None else known.principal_point
    scale = camera.focal * inverse_depth
    if known.focal is not None:
        inverse_depth = max(float(scale.mean()) / known.focal, 1.01 * MIN_INVERSE_DEPTH)
        scale = np.full(2, known.focal * inverse_depth)
    elif known.square_pixels:
        scale = np.full(2, scale.mean())
    centre = camera.project(np.zeros((1, 3)))[0]
    return _State(camera.rotation, centre, scale, inverse_depth, inverse_depth * np.asarray(point))


def _camera(state: _State) -> Pinhole:
    point = state.shear / state.inverse_depth
    lateral = (state.centre - point) / state.scale
    translation = np.array([*lateral, 1 / state.inverse_depth])
    return Pinhole(state.rotation, translation, state.scale / state.inverse_depth, point)
