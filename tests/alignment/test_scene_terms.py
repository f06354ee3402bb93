"""The scene's terms: objects that stand on a plane and on each other settle each other's scales."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from alignment.contacts import find_pair_contacts
from alignment.estimates import ScaleEstimates, SingleObjectFit, scale_estimates_of
from alignment.evidence import CONTACT_TOLERANCE, MAX_TOLERANCE, STANDING
from alignment.joint import Residual
from alignment.objects import Placement, PlacementInput
from alignment.scene_terms import scene_residuals
from alignment.support import find_ground
from alignment.terms import TermWeights
from alignment.terms.penetration import MAX_OVERLAP
from alignment.visible import VisiblePoints, render_depth, visible_points
from benchmarks.known_scenes import KnownObject
from scene.types import Float64
from support.photographed import (
    OFF,
    Photographed,
    block,
    fit_of,
    photographed_table,
    pose_of,
    table_world_from_camera,
)

LOW = block("low", (-0.1, -0.08, 0), (0.1, 0.08, 0.08), 0.3)
UP = block("up", (-0.06, -0.05, 0.08), (0.06, 0.05, 0.16), -0.2)
UP_HIGH = block("up high", (-0.06, -0.05, 0.12), (0.06, 0.05, 0.2), -0.2)
NAMES = ("plane", "contact", "penetration", "order")


def stack() -> Photographed:
    """A box on a box on the table."""
    return photographed_table([LOW, UP])


def off_by(scene: Photographed, factors: dict[int, float]) -> Photographed:
    """A local error of the map: some objects' depths are off by a factor, the table's is not."""
    depth = scene.point_map.depth.copy()
    for k, factor in factors.items():
        depth[scene.masks[k]] *= np.float32(factor)
    return scene.measured(depth)


def log_errors(scene: Photographed, settings: dict[str, float] | None = None) -> Float64:
    """(K,) log of the placed over the true scales."""
    placed = [pose_of(p).apply(o.mesh.vertices) for p, o in zip_placed(scene, settings)]
    pairs = zip(placed, scene.true, strict=True)
    return np.array([np.log(np.linalg.norm(p) / np.linalg.norm(t)) for p, t in pairs])


def zip_placed(
    scene: Photographed, settings: dict[str, float] | None
) -> Iterator[tuple[Placement, PlacementInput]]:
    """Every placement with its object."""
    return zip(scene.place(settings=settings), scene.objects, strict=True)


def terms_of(scene: Photographed) -> Callable[[TermWeights], list[Residual]]:
    """The terms that the default would solve, by their weights."""
    point_map, camera = scene.point_map, scene.point_map.camera
    views = [render_depth(o.mesh, o.crop, camera) for o in scene.objects]
    points = [
        visible_points(s, o.mask, o.occluder, point_map.depth)
        for s, o in zip(views, scene.objects, strict=True)
    ]
    scale_estimates = [scale_estimates_of(p) for p in points]
    alone = [
        SingleObjectFit(s, p, v, v.middle)
        for s, p, v in zip(views, points, scale_estimates, strict=True)
    ]
    scales = np.exp([v.middle for v in scale_estimates])
    ground = find_ground(point_map, scene.masks)
    contacts = find_pair_contacts(views, scene.masks, scales, camera)

    def terms(weights: TermWeights) -> list[Residual]:
        return scene_residuals(alone, contacts, ground, camera, weights)[1]

    return terms


def test_exact_data_stay_exact_and_supports_are_told() -> None:
    """C12.1 with all terms: to 1e-6, and the world stands on the table."""
    scene = photographed_table([LOW, UP, block("side", (0.16, -0.05, 0), (0.24, 0.03, 0.1), 0.1)])
    found = scene.run()
    assert scene.errors(found.placements).max() < 1e-6
    fits = [fit_of(p) for p in found.placements]
    assert [f.support for f in fits] == ["plane", "object 1", "plane"]
    assert [(f.grade, f.warnings) for f in fits] == [("good", ())] * 3
    assert found.world_from_camera is not None
    expected = table_world_from_camera()
    expected[1, 3] = 0  # the origin lies below the camera
    np.testing.assert_allclose(found.world_from_camera, expected, atol=1e-6)


def test_supports_are_counted_in_the_order_of_the_photos_objects() -> None:
    """One that cannot be placed keeps its number."""
    scene = stack()
    nan = np.full_like(scene.objects[0].mesh.vertices, np.nan)
    lost = replace(scene.objects[0], mesh=replace(scene.objects[0].mesh, vertices=nan))
    placements = replace(scene, objects=[lost, *scene.objects]).place()
    assert placements[0].failure is not None
    assert [fit_of(p).support for p in placements[1:]] == ["plane", "object 2"]


def test_supports_are_named_by_the_numbers_of_the_whole_scene() -> None:
    """Objects that were lost before placement are not in the list, and keep their numbers."""
    scene = stack()
    low, up = (replace(o, number=n) for o, n in zip(scene.objects, (3, 5), strict=True))
    supports = [fit_of(p).support for p in replace(scene, objects=[low, up]).place()]
    assert supports == ["plane", "object 3"]


@pytest.mark.parametrize("index", [0, 1])
def test_a_local_error_is_taken_back_by_the_neighbours(index: int) -> None:
    """One box's depth is off by 1 %, into what it stands on: half of that at least goes."""
    scene = off_by(stack(), {index: 1.01})
    alone, together = log_errors(scene, OFF), log_errors(scene)
    assert alone[index] == pytest.approx(np.log(1.01), abs=1e-5)
    assert abs(together[index]) < 0.5 * alone[index]
    assert np.abs(together).max() < 0.5 * alone[index]


@pytest.mark.parametrize("seed", range(2))
def test_a_local_error_under_noise_is_taken_back_as_well(seed: int) -> None:
    scene = off_by(stack(), {1: 1.01})
    noise = np.random.default_rng(seed).normal(1, 0.03, scene.point_map.depth.shape)
    scene = scene.measured(scene.point_map.depth * noise)
    alone, together = log_errors(scene, OFF), log_errors(scene)
    assert alone[1] > 0.007 and abs(together[1]) < 0.5 * alone[1]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_gap_that_passes_for_contact_is_closed(sign: int) -> None:
    """Within the tolerance and with nothing but contacts: the gap shrinks to half at most."""
    gap = sign * 0.7 * CONTACT_TOLERANCE
    scene = off_by(stack(), {1: float(np.exp(gap))})
    apart = np.diff(log_errors(scene, OFF))[0]
    left = np.diff(log_errors(scene, {**OFF, "contact": 1.0}))[0]
    assert apart == pytest.approx(gap, abs=1e-5)
    assert abs(left) < 0.5 * abs(gap)
    assert fit_of(scene.place()[1]).support == "object 1"


def test_an_object_that_hovers_over_the_plane_for_certain_is_not_pulled_down() -> None:
    """By 1 to 4 cm, seen from 0.85 m; 3 % noise or none. Up to STANDING it is said to stand."""
    for height in (0.01, 0.02, 0.04):
        scene = photographed_table(
            [block("hovering", (-0.05, -0.05, height), (0.05, 0.05, height + 0.1), 0.2)]
        )
        assert scene.errors(scene.place()).max() < 1e-6
        fit = fit_of(scene.place()[0])
        assert fit.support == ("plane" if height < STANDING * fit.distance else "")
    noise = np.random.default_rng(0).normal(1, 0.03, scene.point_map.depth.shape)
    noisy = scene.measured(scene.point_map.depth * noise)
    np.testing.assert_allclose(log_errors(noisy), log_errors(noisy, OFF), atol=2e-3)


def test_an_object_that_hovers_over_another_is_not_pulled_down() -> None:
    scene = photographed_table([LOW, UP_HIGH])
    assert scene.errors(scene.place()).max() < 1e-6
    assert [fit_of(p).support for p in scene.place()] == ["plane", ""]


def test_outlines_never_change() -> None:
    """Whatever the terms do to the depths; to the last bit."""
    scene = off_by(stack(), {0: 0.97, 1: 1.04})
    together, alone = scene.place(), scene.place(settings=OFF)
    assert pose_of(together[1]).scale != pose_of(alone[1]).scale
    for one, other in zip(together, alone, strict=True):
        assert fit_of(one).silhouette_iou == fit_of(other).silhouette_iou == 1
        np.testing.assert_array_equal(pose_of(one).rotation, pose_of(other).rotation)
        ratio = pose_of(one).scale / pose_of(other).scale
        moved = ratio * pose_of(other).translation
        np.testing.assert_allclose(pose_of(one).translation, moved, rtol=1e-12)


def test_a_weight_of_zero_switches_its_term_off() -> None:
    terms = terms_of(stack())

    def names(weights: TermWeights) -> set[str]:
        return {t.name for t in terms(weights)}

    everything = {"points", *NAMES}
    assert names(TermWeights()) == everything
    assert names(TermWeights(**OFF)) == {"points"}
    for name in NAMES:
        assert names(replace(TermWeights(), **{name: 0.0})) == everything - {name}
        assert names(TermWeights(**{**OFF, name: 1.0})) == {"points", name}


def test_without_weights_every_object_is_placed_by_itself() -> None:
    scene = off_by(stack(), {0: 0.95, 1: 1.05})
    np.testing.assert_allclose(log_errors(scene, OFF), np.log([0.95, 1.05]), atol=1e-5)
    assert [fit_of(p).support for p in scene.place(settings=OFF)] == ["", ""]


def test_a_larger_weight_holds_faster() -> None:
    gap = 0.7 * CONTACT_TOLERANCE
    scene = off_by(stack(), {1: float(np.exp(-gap))})
    left = [abs(np.diff(log_errors(scene, {**OFF, "contact": w}))[0]) for w in (0.0, 0.3, 1.0, 5.0)]
    assert left[0] > left[1] > left[2] > left[3]


@pytest.mark.parametrize("by", [0.01, 0.03])
def test_two_bodies_do_not_stay_in_one_place(by: float) -> None:
    """The upper box pushed into the lower one: a tenth of that is left at most."""
    scene = off_by(stack(), {1: 1 + by})
    inside = np.diff(log_errors(scene, OFF))[0]
    left = np.diff(log_errors(scene, {**OFF, "penetration": 1.0}))[0]
    assert inside == pytest.approx(np.log(1 + by), abs=1e-5)
    assert abs(left) < 0.1 * inside


@pytest.mark.parametrize("right", [(-0.05, 0.05), (0.0, 0.15)])
def test_a_thin_overlap_sideways_pushes_nobody_away(right: tuple[float, float]) -> None:
    """2 mm of two boxes side by side: to part them along the view would take up to 10 %."""
    near, far = right
    scene = photographed_table([
        block("left", (-0.1, -0.05, 0), (0.001, 0.05, 0.1)),
        block("right", (-0.001, near, 0), (0.1, far, 0.08)),
    ])  # fmt: skip
    assert np.abs(log_errors(scene)).max() < 1e-6


def test_bodies_deep_in_each_other_are_left_where_they_were_measured() -> None:
    scene = off_by(stack(), {1: 1 + 2 * MAX_OVERLAP})
    alone, left = log_errors(scene, OFF), log_errors(scene, {**OFF, "penetration": 1.0})
    assert np.diff(alone)[0] > MAX_OVERLAP
    np.testing.assert_allclose(left, alone, atol=1e-6)


def test_an_object_does_not_stay_below_the_plane() -> None:
    standing = photographed_table([block("sunk", (-0.05, -0.05, 0), (0.05, 0.05, 0.1))])
    scene = off_by(standing, {0: 1.03})
    assert log_errors(scene, OFF)[0] == pytest.approx(np.log(1.03), abs=1e-5)
    assert abs(log_errors(scene)[0]) < 0.1 * np.log(1.03)


def test_what_the_photo_shows_in_front_stays_in_front() -> None:
    """The order term alone, on a box before another whose depth is wrong by 80 %."""
    before = block("before", (-0.03, -0.2, 0), (0.03, -0.17, 0.1))
    behind = block("behind", (-0.1, 0.0, 0), (0.1, 0.05, 0.12))
    true = photographed_table([before, behind])
    terms = terms_of(true)(TermWeights(**{**OFF, "order": 1.0}))
    (order,) = (t for t in terms if t.name == "order")
    own = {t.front: t.target for t in terms if t.name == "points"}
    assert (order.front, order.back) == (0, 1)
    room = order.target - (own[0] - own[1])  # by which it may move back until it is hidden
    scene = off_by(true, {0: 1.8})

    def violation(weight: float) -> float:
        errors = log_errors(scene, {**OFF, "order": weight})
        return float(errors[0] - errors[1] - room)

    assert 0 < room < 0.5 * np.log(1.8)
    assert violation(0) == pytest.approx(np.log(1.8) - room, abs=1e-4)
    assert violation(1) < 0.5 * violation(0) and violation(20) < 0.02 * violation(0)


def test_terms_of_a_scene_do_not_reach_those_who_touch_nobody() -> None:
    """A second stack beside the first is placed as if the first, which is wrong, were not there."""
    beside = [shifted_right(piece, 0.3) for piece in (LOW, UP)]
    scene = photographed_table([LOW, UP, *beside])
    right, wrong = scene.place(), off_by(scene, {1: 1.04}).place()
    assert pose_of(wrong[1]).scale != pytest.approx(pose_of(right[1]).scale, rel=1e-4)
    for k in (2, 3):
        assert pose_of(wrong[k]).scale == pytest.approx(pose_of(right[k]).scale, rel=1e-7)


def shifted_right(piece: KnownObject, by: float) -> KnownObject:
    return replace(piece, vertices=piece.vertices + [by, 0, 0])


def scale_estimates(log: Float64, columns: Float64) -> ScaleEstimates:
    """ScaleEstimates of points along a row of pixels."""
    pixels = np.stack([np.full(len(columns), 50), columns.astype(int)], 1)
    return scale_estimates_of(VisiblePoints(np.ones(len(log)), np.exp(log), pixels, False))


def test_votes_tell_noise_of_pixels_from_what_varies_over_the_object() -> None:
    rng, columns = np.random.default_rng(0), np.linspace(0, 200, 4000)
    noisy = scale_estimates(rng.normal(0.1, 0.03, 4000), columns)
    assert noisy.middle == pytest.approx(0.1, abs=2e-3)
    assert noisy.sigma == pytest.approx(0.03, rel=0.1) and noisy.spread < 0.002
    assert noisy.noise == pytest.approx(1.25 * 0.03 / np.sqrt(4000), rel=0.1)
    leaning = scale_estimates(0.1 + 0.0005 * (columns - 100), columns)
    assert leaning.spread > 0.02 and leaning.middle == pytest.approx(0.1, abs=1e-3)


def test_votes_near_a_pixel_follow_the_object_and_not_its_noise() -> None:
    rng, columns = np.random.default_rng(0), np.linspace(0, 200, 4000)
    leaning = scale_estimates(0.1 + 0.0005 * (columns - 100), columns)
    local, _ = leaning.local_estimate(np.array([50.0, 190.0]))
    assert local == pytest.approx(0.1 + 0.0005 * 80, abs=0.01)
    few = scale_estimates(rng.normal(0.1, 0.03, 60), np.linspace(0, 200, 60))
    local, error = few.local_estimate(np.array([50.0, 190.0]))
    assert abs(local - few.middle) < 0.01 and error > 0.5 * few.noise
    far, doubt = leaning.local_estimate(
        np.array([500.0, 500.0])
    )  # none are near: the middle, and its doubt
    assert far == leaning.middle and doubt >= leaning.spread


def test_tolerances_stay_within_what_a_map_can_tell() -> None:
    """The other tests of this file stand on these being of this size."""
    assert 0.001 < CONTACT_TOLERANCE < 0.01 < MAX_TOLERANCE < 0.1
