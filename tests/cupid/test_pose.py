"""Poses of UV cubes: exact and noisy ones come back, what determines no pose is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cupid.pose import PoseNotFound, pose_from_cube, rotation_between_rad, voxel_centres
from cupid.refinement import Known, refine
from cupid.resection import Float64, Pinhole
from support.photographed import spun

SIDE = 64
CENTRE = (0.5, 0.5)


def voxels(rng: np.random.Generator, shape: tuple[int, int, int], number: int) -> np.ndarray:
    """Distinct voxels of a block in the middle of the cube."""
    at = np.stack(np.unravel_index(rng.permutation(np.prod(shape))[:number], shape), 1)
    return at + (SIDE - np.array(shape)) // 2


def camera(rng: np.random.Generator, focal: float, point: tuple[float, float] = CENTRE) -> Pinhole:
    """Any orientation, as far away as makes the cube 0.8 times as large as the crop."""
    rotation = spun(rng, rng.uniform(0, np.pi))
    depth = 1.2 * focal
    lateral = (0.5 - np.array(point)) * depth / focal
    return Pinhole(rotation, np.array([*lateral, depth]), np.full(2, focal), np.array(point))


def observed(
    rng: np.random.Generator, coords: np.ndarray, true: Pinhole, noise: float, outliers: float
) -> Float64:
    uv = true.project(voxel_centres(coords, SIDE))
    uv = uv + noise * rng.standard_normal(uv.shape)
    lost = rng.random(len(uv)) < outliers
    return np.where(lost[:, None], rng.random(uv.shape), uv).clip(0, 1)


@pytest.mark.parametrize("point", [CENTRE, (0.9, -0.4)])
@pytest.mark.parametrize("focal", [0.8, 2.0, 6.0])
def test_exact_cubes_give_their_camera(focal: float, point: tuple[float, float]) -> None:
    """To 1e-6, with all intrinsics free and with known ones."""
    rng = np.random.default_rng(int(10 * focal))
    coords, true = voxels(rng, (40, 30, 20), 500), camera(rng, focal, point)
    uv = true.project(voxel_centres(coords, SIDE))
    for known_point, known_focal in ((None, None), (point, None), (point, focal), (None, focal)):
        found = pose_from_cube(coords, uv, SIDE, known_point, known_focal)
        np.testing.assert_allclose(found.rotation, true.rotation, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.translation, true.translation, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.principal_point, point, rtol=0, atol=1e-6)
        assert found.focal == pytest.approx(focal, rel=1e-6)
        assert found.inliers == 1 and found.confidence == pytest.approx(1)


def test_noise_and_outliers_leave_the_rotation_within_a_degree() -> None:
    """2 % noise, 20 % outliers, 2,000 voxels: `benchmarks/pose.py` has the statistics."""
    errors = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        coords, true = voxels(rng, (48, 40, 24), 2000), camera(rng, float(rng.uniform(0.8, 5)))
        found = pose_from_cube(coords, observed(rng, coords, true, 0.02, 0.2), SIDE, CENTRE)
        errors.append(np.degrees(rotation_between_rad(found.rotation, true.rotation)))
        assert 0.75 < found.inliers < 0.87 and 0.018 < found.noise < 0.022
        assert errors[-1] < 4 * np.degrees(found.rotation_error_rad)
    assert np.median(errors) < 0.4 and max(errors) < 1


def test_pixels_clamped_to_the_border_do_not_bend_the_pose() -> None:
    rng = np.random.default_rng(3)
    coords, true = voxels(rng, (50, 50, 50), 1500), camera(rng, 1.2)
    closer = Pinhole(
        true.rotation, true.translation * [1, 1, 0.8], true.focal, true.principal_point
    )
    uv = closer.project(voxel_centres(coords, SIDE))
    assert 0.02 < (uv != uv.clip(0, 1)).any(1).mean() < 0.8
    found = pose_from_cube(coords, uv.clip(0, 1), SIDE)
    np.testing.assert_allclose(found.extrinsic[:3, 3], closer.translation, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.project(voxel_centres(coords, SIDE)), uv, rtol=0, atol=1e-6)


def degenerate(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, Float64]:
    """Coordinates and exact pixels of a cube that determines no pose."""
    true = camera(rng, 2.0)
    shape = {
        "planar: the voxels": (40, 1, 40),
        "one ray: the voxels": (1, 1, 64),
        "tiny: the object": (5, 5, 5),
    }.get(kind, (40, 30, 20))
    coords = voxels(rng, shape, 40 if kind == "tiny: 40" else 1000)
    if kind == "one ray: the voxels":
        coords = np.repeat(coords, 3, 0)
    uv = true.project(voxel_centres(coords, SIDE))
    half_turn = Pinhole(
        true.rotation @ np.diag([-1.0, -1.0, 1.0]),
        true.translation,
        true.focal,
        true.principal_point,
    )
    other = half_turn.project(voxel_centres(coords, SIDE))
    if kind == "one ray: the image":
        uv = 0.5 + 1e-4 * (uv - 0.5)
    if kind == "symmetric: one axis":
        uv = (uv + other) / 2
    if kind == "symmetric: a second":
        uv = np.where(rng.random((len(uv), 1)) < 0.35, other, uv)
    if kind == "no pose":
        uv = rng.random(uv.shape)
    return coords, uv


KINDS = (
    "planar: the voxels", "one ray: the voxels", "one ray: the image", "tiny: 40",
    "tiny: the object", "symmetric: one axis", "symmetric: a second",
)  # fmt: skip


@pytest.mark.parametrize("point", [CENTRE, None])
@pytest.mark.parametrize("kind", KINDS)
def test_cubes_without_a_pose_are_refused_with_the_reason(
    kind: str, point: tuple[float, float] | None
) -> None:
    coords, uv = degenerate(kind, np.random.default_rng(5))
    with pytest.raises(PoseNotFound, match=kind):
        pose_from_cube(coords, uv, SIDE, point)


def test_arbitrary_pixels_have_no_pose() -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(PoseNotFound):
        pose_from_cube(voxels(rng, (40, 30, 20), 1000), rng.random((1000, 2)), SIDE, CENTRE)


@pytest.mark.parametrize("point", [CENTRE, None])
def test_least_squares_equal_opencvs_calibration(point: tuple[float, float] | None) -> None:
    """The twin: the same minimum of the reprojection error, from the same noisy pixels."""
    rng = np.random.default_rng(8)
    coords, true = voxels(rng, (40, 30, 20), 400), camera(rng, 1.5)
    points = voxel_centres(coords, SIDE)
    uv = true.project(points) + 0.003 * rng.standard_normal((len(points), 2))
    ours = refine(points, uv, Known(point), true, robust=False).camera
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_ZERO_TANGENT_DIST
    flags |= cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    flags |= 0 if point is None else cv2.CALIB_FIX_PRINCIPAL_POINT
    _, K, _, rotations, translations = cv2.calibrateCamera(
        [points.astype(np.float32)], [(1000 * uv).astype(np.float32)], (1001, 1001),
        np.array([[1500.0, 0, 500], [0, 1500, 500], [0, 0, 1]]), np.zeros(5), flags=flags,
        criteria=(cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 1000, 1e-14),
    )  # fmt: skip
    np.testing.assert_allclose(ours.rotation, cv2.Rodrigues(rotations[0])[0], rtol=0, atol=2e-4)
    np.testing.assert_allclose(ours.translation, translations[0][:, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(1000 * ours.focal, K.diagonal()[:2], rtol=1e-3)
    np.testing.assert_allclose(1000 * ours.principal_point, K[:2, 2], rtol=1e-3)


def test_wrong_shapes_are_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="expected coords"):
        pose_from_cube(np.zeros((5, 4)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="in a grid of 64"):
        pose_from_cube(np.full((5, 3), 64), np.zeros((5, 2)))


def test_fixtures_of_the_released_solvers(pytestconfig: pytest.Config) -> None:
    pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")
    from support.parity.camera_pose import CHECKS
    from support.parity.fixture import read_fixture

    folder = Path(str(pytestconfig.getoption("--parity")))
    fixtures = [read_fixture(sidecar) for sidecar in sorted(folder.glob("cupid_*.json"))]
    fixtures = [fixture for fixture in fixtures if fixture.kind in CHECKS]
    if not fixtures:
        pytest.skip(f"no golden fixtures in {folder.name}: see --parity")
    for fixture in fixtures:
        CHECKS[fixture.kind](fixture)
        assert set(fixture.outputs) == fixture.checked
