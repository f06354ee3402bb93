"""The solvers of the baselines: known poses come back, outliers do not count, reasons are told."""

import numpy as np
import pytest

from alignment.baselines.icp import solve_icp
from alignment.baselines.refit import fit_scale, relative_residual
from alignment.baselines.scale_depth import (
    fit_scale_depth,
    solve_scale_depth,
    solve_scale_depth_readable,
    truncated_cost,
)
from alignment.baselines.similarity import solve_similarity
from scene.types import Similarity
from support.photographed import spun

TRUNCATION = 0.15


def _pose(rng: np.random.Generator, angle_rad: float, distance: float) -> Similarity:
    """A similarity near M1: a depth off by up to 10 %, turned, beside the axis when turned."""
    scale = rng.uniform(0.3, 3)
    aside = rng.uniform(-0.1, 0.1, 2) * scale if angle_rad else np.zeros(2)
    translation = np.array([*aside, scale * distance * rng.uniform(0.9, 1.1)])
    return Similarity(scale, spun(rng, angle_rad), translation)


def _assert_same(found: Similarity, true: Similarity, tolerance: float) -> None:
    np.testing.assert_allclose(found.matrix, true.matrix, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("outlier_share", [0.0, 0.3, 0.35])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("model", ["M1", "M2", "M7"])
def test_a_random_pose_comes_back(model: str, seed: int, outlier_share: float) -> None:
    """C12.1 and 4: exact points, and a share of them up to 2.5 times as deep as they should be."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(1.5, 4)
    cube = rng.uniform(-0.5, 0.5, (300, 3))
    true = _pose(rng, 0.2 if model == "M7" else 0.0, distance)
    if model == "M1":
        true = Similarity(true.scale, np.eye(3), np.array([0, 0, true.scale * distance]))
    measured = true.apply(cube)
    outliers = int(outlier_share * len(cube))
    measured[:outliers] *= rng.uniform(1.3, 2.5, (outliers, 1))
    solve = {"M1": fit_scale, "M2": solve_scale_depth, "M7": solve_similarity}[model]
    _assert_same(solve(cube, measured, distance, TRUNCATION), true, 1e-6)


def test_scale_depth_tells_a_wrong_field_of_view() -> None:
    """C12.1: D / (s d) is the crop's true focal length over the generator's."""
    rng = np.random.default_rng(7)
    cube = rng.uniform(-0.5, 0.5, (200, 3))
    generator_distance, focal_ratio = 4.483, 0.7
    true = Similarity(0.8, np.eye(3), np.array([0, 0, 0.8 * generator_distance * focal_ratio]))
    found = solve_scale_depth(cube, true.apply(cube), generator_distance, 0.1)
    diagnostic = found.translation[2] / (found.scale * generator_distance)
    assert diagnostic == pytest.approx(focal_ratio, rel=1e-6)


def test_plain_least_squares_is_biased_where_the_robust_fits_are_not() -> None:
    """C12.4 for M2 and M7: 35 % of the depths far behind, 1 % noise in all of them."""
    rng = np.random.default_rng(11)
    cube = rng.uniform(-0.5, 0.5, (300, 3))
    true = Similarity(1.3, np.eye(3), np.array([0, 0, 2.6]))
    measured = true.apply(cube) * rng.normal(1, 0.01, (300, 1))
    measured[:105] *= rng.uniform(1.3, 2.5, (105, 1))
    plain = fit_scale_depth(cube, measured, 1 / measured[:, 2] ** 2)
    assert abs(plain.translation[2] / 2.6 - 1) > 0.1
    for solve in (solve_scale_depth, solve_similarity):
        found = solve(cube, measured, 2.0, TRUNCATION)
        assert abs(found.translation[2] / 2.6 - 1) < 0.005
        assert abs(found.scale / 1.3 - 1) < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_closed_form_equals_a_general_least_squares_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cube, weight = rng.uniform(-0.5, 0.5, (50, 3)), rng.uniform(0, 2, 50)
    measured = 0.7 * cube + [0, 0, 2] + rng.normal(0, 0.05, (50, 3))
    rows = np.stack([cube.reshape(-1), np.tile([0, 0, 1.0], 50)], 1)
    root = np.sqrt(np.repeat(weight, 3))
    scale, depth = np.linalg.lstsq(rows * root[:, None], measured.reshape(-1) * root)[0]
    found = fit_scale_depth(cube, measured, weight)
    assert (found.scale, found.translation[2]) == pytest.approx((scale, depth), rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_anchor_solver_finds_the_best_of_all_vertices(seed: int) -> None:
    """Brute force: every depth row with every other row fixes both numbers; none is better."""
    rng = np.random.default_rng(seed)
    cube = rng.uniform(-0.5, 0.5, (12, 3))
    measured = 0.7 * cube + [0, 0, 2] + rng.normal(0, 0.1, (12, 3))
    measured[:4] *= rng.uniform(1.3, 2.5, (4, 1))
    found = solve_scale_depth_readable(cube, measured, TRUNCATION)
    costs = []
    for anchor in range(12):
        for point in range(12):
            for row in range(3):
                lift = (cube[anchor, 2], measured[anchor, 2]) if row == 2 else (0.0, 0.0)
                below = cube[point, row] - lift[0]
                if below == 0 or (scale := (measured[point, row] - lift[1]) / below) <= 0:
                    continue
                depth = measured[anchor, 2] - scale * cube[anchor, 2]
                candidate = Similarity(scale, np.eye(3), np.array([0, 0, depth]))
                costs.append(truncated_cost(candidate, cube, measured, TRUNCATION))
    cost = truncated_cost(found, cube, measured, TRUNCATION)
    assert cost == pytest.approx(min(costs), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_twins_of_scale_depth_agree(seed: int) -> None:
    """Exact inliers: to rounding. With 1 % noise: both losses within that of each other."""
    rng = np.random.default_rng(seed)
    cube = rng.uniform(-0.5, 0.5, (128, 3))
    exact = _pose(rng, 0.0, 2.0).apply(cube)
    exact[:40] *= rng.uniform(1.3, 2.5, (40, 1))
    for noise, tolerance in ((0.0, 1e-6), (0.01, 0.01)):
        measured = exact * rng.normal(1, noise, (128, 1))
        fast = solve_scale_depth(cube, measured, 2.0, TRUNCATION)
        slow = solve_scale_depth_readable(cube, measured, TRUNCATION)
        assert fast.translation[2] == pytest.approx(slow.translation[2], rel=tolerance)
        assert fast.scale == pytest.approx(slow.scale, rel=3 * tolerance)


def test_scaling_the_measured_points_scales_every_pose() -> None:
    """C12.8 for the solvers alone."""
    rng = np.random.default_rng(2)
    cube = rng.uniform(-0.5, 0.5, (200, 3))
    measured = (cube + [0, 0, 2]) * rng.normal(1, 0.02, (200, 1))
    for solve in (fit_scale, solve_scale_depth, solve_similarity):
        one, big = (solve(cube, measured * c, 2.0, TRUNCATION) for c in (1.0, 2.5))
        _assert_same(big, Similarity(2.5 * one.scale, one.rotation, 2.5 * one.translation), 1e-9)


def _bad(name: str) -> tuple[np.ndarray, np.ndarray]:
    cube = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    measured = cube + [0, 0, 2]
    if name == "one point":
        return cube[:1], measured[:1]
    if name == "collinear":
        line = np.linspace(-0.4, 0.4, 50)[:, None] * [1.0, 0.5, 0.3]
        return line, line + [0, 0, 2]
    if name == "one spot":
        return np.zeros((50, 3)), np.zeros((50, 3)) + [0, 0, 2]
    if name == "nan":
        measured[3, 1] = np.nan
        return cube, measured
    return cube, measured * -1.0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one point", "1 of the at least two"),
        ("one spot", "one spot"),
        ("nan", "not finite"),
        ("behind", "behind the camera"),
    ],
)
@pytest.mark.parametrize(
    "solve",
    [
        solve_scale_depth,
        solve_similarity,
        pytest.param(solve_icp, marks=pytest.mark.extra("open3d")),
    ],
)
def test_degenerate_points_are_refused_with_a_reason(solve, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        solve(*_bad(name), 2.0, TRUNCATION)


def test_points_on_a_line_tell_scale_and_depth_but_no_rotation() -> None:
    cube, measured = _bad("collinear")
    found = solve_scale_depth(cube, measured, 2.0, TRUNCATION)
    assert (found.scale, found.translation[2]) == pytest.approx((1, 2), rel=1e-9)
    with pytest.raises(ValueError, match="one line"):
        solve_similarity(cube, measured, 2.0, TRUNCATION)


@pytest.mark.extra("open3d")
def test_points_on_a_line_tell_icp_no_rotation() -> None:
    with pytest.raises(ValueError, match="one line"):
        solve_icp(*_bad("collinear"), 2.0, TRUNCATION)


def test_a_scale_of_zero_or_less_is_refused() -> None:
    """Points mirrored through their centre ask for a negative size."""
    cube = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 3))
    with pytest.raises(ValueError, match="more than 0"):
        fit_scale_depth(cube, -cube + [0, 0, 2], np.ones(50))
    with pytest.raises(ValueError, match="more than 0"):
        solve_scale_depth(cube, -cube + [0, 0, 2], 2.0, 0.5)
    behind = np.array([[0.0, 0, 0.2], [0.0, 0, -0.2]])
    with pytest.raises(ValueError, match="zero or less"):
        solve_scale_depth_readable(behind, [[0, 0, 1.0], [0, 0, 3.0]] * np.ones((2, 3)), 0.1)


@pytest.mark.extra("open3d")
def test_icp_moves_an_offset_surface_back() -> None:
    """A rigid offset that a scale cannot follow; the same bits in every run."""
    rng = np.random.default_rng(4)
    flat = rng.uniform(-0.5, 0.5, (3000, 2))
    bumps = 0.1 * np.sin(7 * flat[:, 0]) * np.cos(5 * flat[:, 1])
    cube = np.c_[flat, bumps]
    true = Similarity(1.0, spun(rng, 0.03), np.array([0.03, -0.02, 2.0]))
    measured = true.apply(cube)
    found = solve_icp(cube, measured, 2.0, 0.1)
    before = relative_residual(fit_scale(cube, measured, 2.0, 0.1), cube, measured)
    assert np.median(relative_residual(found, cube, measured)) < 0.2 * np.median(before)
    again = solve_icp(cube, measured, 2.0, 0.1)
    np.testing.assert_array_equal(found.matrix, again.matrix)
