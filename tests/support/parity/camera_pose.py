"""Do cameras from UV cubes equal those of CUPID's released solvers?"""

from __future__ import annotations

import numpy as np
import torch

from cupid.pose import decropped, voxel_centres
from cupid.refinement import Known, refine
from cupid.resection import Float64, Pinhole, decompose, direct_linear_transform
from support.parity.fixture import Fixture

START = 0.8  # the focal length that OpenCV's calibration starts from there, as ours does here


def check_poses(fixture: Fixture) -> None:
    """Closed form and least squares with free intrinsics, for every cube of the batch."""
    coords, uv = fixture.input("coords").numpy(), fixture.input("uv").double().numpy()
    outputs: dict[str, list[Float64]] = {}
    for item in range(len(fixture.input("gt_intrinsic"))):
        chosen = coords[:, 0] == item
        points = voxel_centres(coords[chosen, 1:], fixture.sidecar["resolution"])
        for name, value in _cameras(points, uv[chosen], fixture.sidecar["crop"]).items():
            outputs.setdefault(name, []).append(value)
    for name, values in outputs.items():
        tolerance = fixture.sidecar["tolerance"][name.split("_")[0]]["rtol"]
        fixture.compare(name, torch.from_numpy(np.stack(values)), (tolerance, tolerance))
    _check_weighted(fixture, coords, uv)


def _cameras(points: Float64, uv: Float64, crop: list[float]) -> dict[str, Float64]:
    matrix = direct_linear_transform(points, uv)
    intrinsics, rotation, translation = decompose(matrix)
    rows = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    start = Pinhole(rotation, translation, np.array([START, START]), np.array([0.5, 0.5]))
    fit = refine(points, uv, Known(square_pixels=False), start, robust=False)
    full = decropped(intrinsics, crop[0], (crop[1], crop[2]))
    full[0, 1] = intrinsics[0, 1]  # the reference leaves the skew in sides of the crop
    return {
        "dlt_intrinsic": intrinsics,
        "dlt_extrinsic": _extrinsic(rotation, translation),
        "dlt_reproj": _distance(rows[:, :2] / rows[:, 2:], uv),
        "dlt_intrinsic_decropped": full,
        "epnp_intrinsic": _intrinsics(fit.camera),
        "epnp_extrinsic": _extrinsic(fit.camera.rotation, fit.camera.translation),
        "epnp_reproj": _distance(fit.camera.project(points), uv),
    }


def _check_weighted(fixture: Fixture, coords: np.ndarray, uv: Float64) -> None:
    chosen = coords[:, 0] == 0
    points = voxel_centres(coords[chosen, 1:], fixture.sidecar["resolution"])
    weights = fixture.input("weights_item0").double().numpy()
    matrix = direct_linear_transform(points, uv[chosen], weights)
    tolerance = fixture.sidecar["tolerance"]["dlt"]["rtol"]
    fixture.compare("dlt_weighted_P_item0", torch.from_numpy(matrix[None]), (tolerance, tolerance))


def _intrinsics(camera: Pinhole) -> Float64:
    (fx, fy), (x, y) = camera.focal, camera.principal_point
    return np.array([[fx, 0, x], [0, fy, y], [0, 0, 1]])


def _extrinsic(rotation: Float64, translation: Float64) -> Float64:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def _distance(pixels: Float64, uv: Float64) -> Float64:
    return np.asarray(np.linalg.norm(pixels - uv, axis=1).mean())


CHECKS = {"Cupid/CameraPoseDecoder": check_poses}
