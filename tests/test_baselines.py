"""The baselines of place: known poses come back, outliers do not count, failures have reasons."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_placement import CAMERA, photographed_letter

from alignment.icp import solve_icp
from alignment.refit import relative_residual, zoom
from alignment.scale_depth import (
    fit_scale_depth,
    solve_scale_depth,
    solve_scale_depth_readable,
    truncated_cost,
)
from alignment.similarity import solve_similarity, turn_and_scale, umeyama
from scene.raycast import render
from scene.types import CropCamera, ObjectMesh, PointMap, Similarity
from stages import place
from stages.backends import find_backend, make_settings

TRUNCATION = 0.15
PARITY = Path(__file__).parents[2] / "shared" / "parity" / "cupid_align.safetensors"
BASELINES = ("scale_depth", "umeyama", "icp")


def _turn(rng: np.random.Generator, angle_rad: float) -> np.ndarray:
    """A rotation by an angle about a random axis (Rodrigues)."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def _pose(rng: np.random.Generator, angle_rad: float, distance: float) -> Similarity:
    """A similarity near M1: a depth off by up to 10 %, turned, beside the axis when turned."""
    scale = rng.uniform(0.3, 3)
    aside = rng.uniform(-0.1, 0.1, 2) * scale if angle_rad else np.zeros(2)
    translation = np.array([*aside, scale * distance * rng.uniform(0.9, 1.1)])
    return Similarity(scale, _turn(rng, angle_rad), translation)


def _assert_same(found: Similarity, true: Similarity, tolerance: float) -> None:
    np.testing.assert_allclose(found.matrix, true.matrix, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("outlier_share", [0.0, 0.3, 0.35])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("model", ["M1", "M2", "M7"])
def test_a_random_pose_comes_back(model: str, seed: int, outlier_share: float) -> None:
    """Exact points, and a share of them that lies up to 2.5 times as deep as it should."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(1.5, 4)
    cube = rng.uniform(-0.5, 0.5, (300, 3))
    true = _pose(rng, 0.2 if model == "M7" else 0.0, distance)
    if model == "M1":
        true = Similarity(true.scale, np.eye(3), np.array([0, 0, true.scale * distance]))
    measured = true.apply(cube)
    outliers = int(outlier_share * len(cube))
    measured[:outliers] *= rng.uniform(1.3, 2.5, (outliers, 1))
    solve = {"M1": zoom, "M2": solve_scale_depth, "M7": solve_similarity}[model]
    _assert_same(solve(cube, measured, distance, TRUNCATION), true, 1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_any_rotation_comes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = Similarity(rng.uniform(0.2, 2), _turn(rng, rng.uniform(0, np.pi)), np.array([0.3, 0, 9]))
    cube = rng.uniform(-0.5, 0.5, (40, 3))
    _assert_same(umeyama(cube, true.apply(cube), rng.uniform(0.1, 2, 40), None), true, 1e-9)
    _assert_same(solve_similarity(cube, true.apply(cube), 2.0, TRUNCATION), true, 1e-6)


def test_a_mirrored_cloud_gets_a_rotation_and_no_reflection() -> None:
    rng = np.random.default_rng(3)
    cube = rng.uniform(-0.5, 0.5, (60, 3))
    found = umeyama(cube, cube * [-1, 1, 1] + [0, 0, 3], np.ones(60))
    assert np.linalg.det(found.rotation) == pytest.approx(1, abs=1e-12)


def test_scale_depth_tells_a_wrong_field_of_view() -> None:
    """D / (s d) is the crop's true focal length over the generator's (facts C1, C12)."""
    rng = np.random.default_rng(7)
    cube = rng.uniform(-0.5, 0.5, (200, 3))
    generator_distance, focal_ratio = 4.483, 0.7
    true = Similarity(0.8, np.eye(3), np.array([0, 0, 0.8 * generator_distance * focal_ratio]))
    found = solve_scale_depth(cube, true.apply(cube), generator_distance, 0.1)
    diagnostic = found.translation[2] / (found.scale * generator_distance)
    assert diagnostic == pytest.approx(focal_ratio, rel=1e-6)


def test_plain_least_squares_is_biased_where_the_robust_fits_are_not() -> None:
    """35 % of the depths far behind, 1 % noise in all of them."""
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
    rng = np.random.default_rng(2)
    cube = rng.uniform(-0.5, 0.5, (200, 3))
    measured = (cube + [0, 0, 2]) * rng.normal(1, 0.02, (200, 1))
    for solve in (zoom, solve_scale_depth, solve_similarity):
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
@pytest.mark.parametrize("solve", [solve_scale_depth, solve_similarity, solve_icp])
def test_degenerate_points_are_refused_with_a_reason(solve, name: str, reason: str) -> None:
    if solve is solve_icp:
        pytest.importorskip("open3d", reason="Open3D is an extra")
    with pytest.raises(ValueError, match=reason):
        solve(*_bad(name), 2.0, TRUNCATION)


def test_points_on_a_line_tell_scale_and_depth_but_no_rotation() -> None:
    cube, measured = _bad("collinear")
    found = solve_scale_depth(cube, measured, 2.0, TRUNCATION)
    assert (found.scale, found.translation[2]) == pytest.approx((1, 2), rel=1e-9)
    with pytest.raises(ValueError, match="one line"):
        solve_similarity(cube, measured, 2.0, TRUNCATION)
    pytest.importorskip("open3d", reason="Open3D is an extra")
    with pytest.raises(ValueError, match="one line"):
        solve_icp(cube, measured, 2.0, TRUNCATION)


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


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """The float32 tensors of a safetensors file: length of the header, header (JSON), data."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    assert all(entry["dtype"] == "F32" for entry in header.values())
    tensors = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]).astype(float)
    return tensors


@pytest.mark.skipif(not PARITY.exists(), reason="no ../shared/parity beside the project")
@pytest.mark.parametrize("cloud", range(3))
def test_umeyama_equals_cupids_aligner(cloud: int) -> None:
    """CUPID's rows are s x R + T, its R our transpose; the last cloud is mirrored."""
    told = {name: tensor[cloud] for name, tensor in _tensors(PARITY).items()}
    x, y = told["inputs/X"], told["inputs/Y"]
    close = {"atol": 1e-4, "rtol": 0}
    for suffix, scale in (("", None), ("_noscale", 1.0)):
        found = umeyama(x, y, np.ones(len(x)), scale)
        np.testing.assert_allclose(found.rotation.T, told[f"outputs/R{suffix}"], **close)
        np.testing.assert_allclose(found.translation, told[f"outputs/T{suffix}"], **close)
    free = umeyama(x, y, np.ones(len(x)))
    np.testing.assert_allclose(free.scale, told["outputs/s"], **close)
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = free.rotation, free.translation
    source = told["inputs/src_extrinsic"].copy()
    source[:3, 3] *= free.scale
    np.testing.assert_allclose(view @ source, told["outputs/aligned_extrinsic"], **close)


@pytest.mark.skipif(not PARITY.exists(), reason="no ../shared/parity beside the project")
@pytest.mark.parametrize("cloud", range(3))
def test_weighted_turn_and_scale_equal_cupids_aligner(cloud: int) -> None:
    """CUPID weights both centred sets, so that its covariance has the weights squared."""
    told = {name: tensor[cloud] for name, tensor in _tensors(PARITY).items()}
    x, y, weight = told["inputs/X"], told["inputs/Y"], told["inputs/weights"]
    mean_x, mean_y = (np.average(points, axis=0, weights=weight) for points in (x, y))
    rotation, scale = turn_and_scale(x - mean_x, y - mean_y, weight**2)
    close = {"atol": 1e-4, "rtol": 0}
    np.testing.assert_allclose(rotation.T, told["outputs/R_weighted"], **close)
    np.testing.assert_allclose(scale, told["outputs/s_weighted"], **close)
    translation = mean_y - scale * rotation @ mean_x
    np.testing.assert_allclose(translation, told["outputs/T_weighted"], **close)


def test_icp_moves_an_offset_surface_back() -> None:
    """A rigid offset that the zoom cannot follow; the same bits in every run."""
    pytest.importorskip("open3d", reason="Open3D is an extra")
    rng = np.random.default_rng(4)
    flat = rng.uniform(-0.5, 0.5, (3000, 2))
    bumps = 0.1 * np.sin(7 * flat[:, 0]) * np.cos(5 * flat[:, 1])
    cube = np.c_[flat, bumps]
    true = Similarity(1.0, _turn(rng, 0.03), np.array([0.03, -0.02, 2.0]))
    measured = true.apply(cube)
    found = solve_icp(cube, measured, 2.0, 0.1)
    before = relative_residual(zoom(cube, measured, 2.0, 0.1), cube, measured)
    assert np.median(relative_residual(found, cube, measured)) < 0.2 * np.median(before)
    again = solve_icp(cube, measured, 2.0, 0.1)
    np.testing.assert_array_equal(found.matrix, again.matrix)


def test_icp_without_open3d_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[benchmark\]'"):
        find_backend("place", "icp").load(make_settings("place", "icp", {}), "cpu")


def _place(
    name: str,
    scene: tuple[ObjectMesh, CropCamera, np.ndarray, np.ndarray],
    occluder: np.ndarray | None = None,
    **settings: bool,
) -> place.Placement:
    if name == "icp":
        pytest.importorskip("open3d", reason="Open3D is an extra")
    mesh, crop, mask, depth = scene
    occluder = np.zeros_like(mask) if occluder is None else occluder
    placer = find_backend("place", name).load(make_settings("place", name, settings), "cpu")
    unplaced = place.Unplaced(mesh, crop, mask, occluder)
    (placement,) = place.run(placer, [unplaced], PointMap(depth, CAMERA))
    return placement


def _true_vertices(mesh: ObjectMesh, scene: tuple) -> np.ndarray:
    placement = _place("pixel_aligned", scene)
    assert placement.camera_from_object is not None
    return placement.camera_from_object.apply(mesh.vertices)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("offset", [(0.0, 0.0, 2.0), (-0.9, 0.5, 3.1)])
def test_each_backend_places_a_photographed_letter(
    name: str, offset: tuple[float, float, float]
) -> None:
    scene = photographed_letter(offset)
    placement = _place(name, scene)
    assert placement.failure is None
    assert placement.camera_from_object is not None and placement.fit is not None
    placed = placement.camera_from_object.apply(scene[0].vertices)
    np.testing.assert_allclose(placed, _true_vertices(scene[0], scene), atol=2e-4)
    assert placement.fit.silhouette_iou > 0.99 and placement.fit.residual_median < 1e-4
    distance = float(np.linalg.norm(placement.camera_from_object.translation))
    assert placement.fit.distance == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_the_outline_in_the_report_is_that_of_the_mesh_as_placed(name: str) -> None:
    """A depth that leans away moves the outline of every free model; the report must see it."""
    mesh, crop, mask, depth = photographed_letter((0.3, 0.1, 2.0))
    lean = np.linspace(0.8, 1.25, CAMERA.width, dtype=np.float32)
    placement = _place(name, (mesh, crop, mask, depth * lean))
    assert placement.camera_from_object is not None and placement.fit is not None
    vertices = placement.camera_from_object.apply(mesh.vertices)
    seen = render([(mesh, vertices)], CAMERA)[1] == 0
    iou = (seen & mask).sum() / (seen | mask).sum()
    assert placement.fit.silhouette_iou == pytest.approx(iou, abs=1e-12)
    assert placement.fit.silhouette_iou < 0.985


def test_without_its_mask_the_occluder_pulls_the_object() -> None:
    """The lower half of the letter hidden by a plane just before it, within the truncation."""
    mesh, crop, whole, depth = photographed_letter((0.0, 0.0, 2.0))
    occluder = np.zeros_like(whole)
    occluder[170:] = True
    depth = np.where(occluder, np.float32(1.8), depth)
    scene = (mesh, crop, whole & ~occluder, depth)
    known = _place("umeyama", scene, occluder)
    unknown = _place("umeyama", scene, occluder, mask_known=False)
    true = _true_vertices(mesh, photographed_letter((0.0, 0.0, 2.0)))

    def error(placement: place.Placement) -> float:
        assert placement.camera_from_object is not None
        placed = placement.camera_from_object.apply(mesh.vertices)
        return float(np.linalg.norm(placed - true, axis=1).max())

    assert error(known) < 1e-3 < 0.02 < error(unknown)


@pytest.mark.parametrize("name", BASELINES)
def test_what_cannot_be_placed_has_a_reason_and_stops_nobody(name: str) -> None:
    mesh, crop, mask, depth = photographed_letter((0.0, 0.0, 2.0))
    nothing, one_pixel = np.zeros_like(mask), np.zeros_like(mask)
    one_pixel.reshape(-1)[np.flatnonzero(mask)[1000]] = True
    broken = ObjectMesh(np.full_like(mesh.vertices, np.nan), mesh.faces, mesh.uv, mesh.texture)
    if name == "icp":
        pytest.importorskip("open3d", reason="Open3D is an extra")
    placer = find_backend("place", name).load(make_settings("place", name, {}), "cpu")
    found = place.run(
        placer,
        [
            place.Unplaced(mesh, crop, nothing, nothing),
            place.Unplaced(mesh, crop, one_pixel, nothing),
            place.Unplaced(broken, crop, mask, nothing),
            place.Unplaced(mesh, crop, mask, nothing),
        ],
        PointMap(depth, CAMERA),
    )
    assert [p.failure is None for p in found] == [False, False, False, True]
    reasons = ("known depth", "at least two", "not finite")
    assert all(r in str(p.failure) for r, p in zip(reasons, found, strict=False))


@pytest.mark.parametrize("name", BASELINES)
def test_a_depth_behind_the_camera_is_a_reason(name: str) -> None:
    mesh, crop, mask, depth = photographed_letter((0.0, 0.0, 2.0))
    placement = _place(name, (mesh, crop, mask, -depth))
    assert placement.camera_from_object is None and "behind the camera" in str(placement.failure)


def test_settings_out_of_range_are_refused() -> None:
    for name in BASELINES:
        with pytest.raises(ValueError, match="place.truncation: expected between 0 and 1"):
            make_settings("place", name, {"truncation": 1.5})
