"""Does every limit of placing lie where it is said to? Values just within and just beyond it.

The numbers stand here once more, on purpose: a limit that moves moves placements and grades.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from alignment.baselines import layout_refine
from alignment.baselines.icp import solve_icp
from alignment.baselines.layout_refine import (
    COMPARE_SIDE_PX,
    MEASURE_SIDE_PX,
    _rigid_icp,
    _window,
    refine_layout,
)
from alignment.baselines.refit import fit_scale, refit
from alignment.baselines.scale_depth import fit_scale_depth, solve_scale_depth_readable
from alignment.baselines.similarity import umeyama
from alignment.contacts import PairContact, _pair, find_pair_contacts
from alignment.estimates import ScaleEstimates, SingleObjectFit, scale_estimates_of
from alignment.evidence import Contact, SceneEvidence, find_plane_contacts, support_graph
from alignment.fit import graded
from alignment.joint import WORLD, Residual, solve_scales
from alignment.occlusion import occluders
from alignment.perspective import check_perspective
from alignment.scene_terms import scene_residuals, supports
from alignment.support import (
    Background,
    Ground,
    SupportPlane,
    find_ground,
    find_support_plane,
    recedes_downwards,
)
from alignment.terms import TERMS, TermWeights
from alignment.visible import (
    DepthView,
    VisiblePoints,
    render_depth,
    render_placed_depth,
    visible_points,
)
from scene.cameras import camera_from_fov
from scene.errors import CannotPlace
from scene.types import Bool, CropCamera, FitReport, Float64, Similarity
from stages.generate.lite.columns import Columns, _thick_enough
from stages.generate.lite.layered import NetworkImages, camera_distance, network_input
from support.photographed import block, fit_of, photographed_table
from support.shapes import box_mesh

FINE = FitReport(1.0, 2.0, 0.01, 0.02, 1.0, 500, 0.97)
CAMERA = camera_from_fov(100, 100, 0.8)
RNG_SEED = 4


@pytest.mark.parametrize(
    ("figure", "value", "grade"),
    [
        ("silhouette_iou", 0.905, "good"), ("silhouette_iou", 0.895, "check"),
        ("silhouette_iou", 0.505, "check"), ("silhouette_iou", 0.495, "failed"),
        ("inlier_share", 0.705, "good"), ("inlier_share", 0.695, "check"),
        ("inlier_share", 0.305, "check"), ("inlier_share", 0.295, "failed"),
        ("residual_median", 0.0495, "good"), ("residual_median", 0.0505, "check"),
    ],
)  # fmt: skip
def test_grades(figure: str, value: float, grade: str) -> None:
    assert graded(replace(FINE, **{figure: value}), []).grade == grade


@pytest.mark.parametrize(("ratio", "told"), [(1.095, False), (1.105, True), (0.895, True)])
def test_a_field_of_view_is_doubted_from_a_tenth_on(ratio: float, told: bool) -> None:
    cube = np.random.default_rng(RNG_SEED).uniform(-0.5, 0.5, (400, 3))
    measured = cube + [0, 0, ratio * 2.0]
    scale = fit_scale(cube, measured, 2.0, 0.15).scale
    assert bool(check_perspective(cube, measured, 2.0, scale, 0.15)[1]) == told


@pytest.mark.parametrize(("noise", "told"), [(0.093, True), (0.098, False)])
def test_the_freer_fit_is_believed_when_it_is_a_fifth_better(noise: float, told: bool) -> None:
    """Under so much noise it lowers the median residual to 0.79 and 0.81 of what it was."""
    cube = np.random.default_rng(4).uniform(-0.5, 0.5, (400, 3))
    measured = (cube + [0, 0, 2.5]) * np.random.default_rng(5).normal(1, noise, (400, 1))
    scale = fit_scale(cube, measured, 2.0, 0.15).scale
    assert bool(check_perspective(cube, measured, 2.0, scale, 0.15)[1]) == told


@pytest.mark.parametrize(("deeper", "told"), [(1.0345, True), (1.032, False)])
def test_an_object_may_be_moved_by_three_percent_of_its_depth(deeper: float, told: bool) -> None:
    """The map has it below the plane, which hardly gives way: it moves by 0.031 and 0.029."""
    scene = photographed_table([block("sunk", (-0.05, -0.05, 0), (0.05, 0.05, 0.1))])
    depth = scene.point_map.depth.copy()
    depth[scene.masks[0]] *= deeper
    warnings = fit_of(scene.measured(depth).place()[0]).warnings
    assert any("rest of the scene" in words for words in warnings) == told


def _two_blocks(gap_px: int, height_px: int, farther: float) -> tuple[list[Bool], Float64]:
    """Two masks side by side with pixels between them, and depths that differ by a share."""
    left, right = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    left[10 : 10 + height_px, 5:30] = True
    right[10 : 10 + height_px, 30 + gap_px : 55] = True
    depth = np.where(right, 1.0 / (1 - farther), 1.0)
    return [left, right], depth


@pytest.mark.parametrize(
    ("gap_px", "height_px", "farther", "hides"),
    [
        (2, 40, 0.05, True), (3, 40, 0.05, False),
        (2, 40, 0.0104, True), (2, 40, 0.0096, False),
    ],
)  # fmt: skip
def test_a_neighbour_hides_what_it_touches_and_is_nearer_than(
    gap_px: int, height_px: int, farther: float, hides: bool
) -> None:
    masks, depth = _two_blocks(gap_px, height_px, farther)
    assert occluders(masks, depth.astype(np.float32)) == [[], [0] if hides else []]


@pytest.mark.parametrize(("side", "hides"), [(8, True), (7, False)])
def test_a_contact_of_few_pixels_is_none(side: int, hides: bool) -> None:
    left, right = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    left[10 : 10 + side, 14], right[10 : 10 + side, 15] = True, True
    depth = np.where(right, 2.0, 1.0).astype(np.float32)
    assert occluders([left, right], depth) == [[], [0] if hides else []]


def _floor(cells: int, on: float = 1.0, up: float = 0.6, off: float = 0.3) -> Background:
    """Cells of a plane one below the camera, some of which are off it by a relative depth."""
    rng = np.random.default_rng(RNG_SEED)
    normal = np.array([0, -up, -math.sqrt(1 - up**2)])
    rays = np.column_stack([rng.uniform(-0.4, 0.4, (cells, 2)), np.ones(cells)])
    depth = 1 / (rays @ -normal)
    wrong = np.arange(cells) >= round(on * cells)
    depth = np.where(wrong, depth * (1 + off * (1 + rng.random(cells))), depth)
    values = np.repeat(1 / depth[:, None], 4, axis=1)
    return Background(rays, np.zeros((cells, 2)), values, np.ones(cells, bool))


@pytest.mark.parametrize(
    ("background", "found"),
    [
        (_floor(30), True), (_floor(29), False),
        (_floor(400, on=0.31), True), (_floor(400, on=0.29), False),
        (_floor(400, up=0.255), True), (_floor(400, up=0.245), False),
    ],
)  # fmt: skip
def test_a_support_plane_needs_cells_a_share_of_them_and_to_face_up(
    background: Background, found: bool
) -> None:
    assert (find_support_plane(background) is not None) == found


def test_cells_within_two_percent_lie_on_the_plane() -> None:
    plane = find_support_plane(_layers(0.0197))
    assert isinstance(plane, SupportPlane) and plane.share == 1
    beyond = find_support_plane(_layers(0.0203))
    assert isinstance(beyond, SupportPlane) and beyond.share < 0.99


def _layers(off: float) -> Background:
    """A plane of 400 cells, of which eight lie off it to either side by exactly so much."""
    flat = _floor(400)
    factor = np.ones((400, 1))
    factor[:4], factor[4:8] = 1 / (1 + off), 1 / (1 - off)
    return replace(flat, values=flat.values * factor)


@pytest.mark.parametrize(
    ("gap", "doubt", "held"),
    [
        (0.0029, 0.0, True), (0.0031, 0.0, False),
        (0.0129, 0.005, True), (0.0131, 0.005, False),
        (0.0295, 0.1, True), (0.0305, 0.1, False),
    ],
)  # fmt: skip
def test_two_things_touch_where_the_map_sees_no_gap(gap: float, doubt: float, held: bool) -> None:
    found = Contact(0, 1, limit=0, gap=gap, doubt=doubt, overlap=1, sigma=0.002, hard=0.0005)
    assert [r.name for r in _residuals(found)] == ["contact"] * held


@pytest.mark.parametrize(("overlap", "parted"), [(0.0595, True), (0.0605, False)])
def test_bodies_in_one_place_are_parted_unless_deep_in_each_other(
    overlap: float, parted: bool
) -> None:
    found = Contact(0, 1, limit=0, gap=1, doubt=0, overlap=overlap, sigma=0.002, hard=0.0005)
    assert [r.name for r in _residuals(found)] == ["penetration"] * parted


def test_the_terms_weigh_what_they_are_said_to() -> None:
    """All weights are one: a term's sigma is that of its evidence."""
    for name, back in (("plane", WORLD), ("contact", 1)):
        found = Contact(0, back, limit=0.1, gap=0, doubt=0, overlap=0, sigma=0.002, hard=0.0005)
        held, parted = _residuals(found)
        assert (held.name, held.sigma, parted.sigma) == (name, 0.002, 0.0005)
    assert TermWeights() == TermWeights(plane=1, contact=1, penetration=1, order=1)


def _residuals(contact: Contact) -> list[Residual]:
    """What all terms at weight 1 make of one contact."""
    ground = Ground(_floor(40), None)
    scene = SceneEvidence([], [], [contact], [], [], 0.0, [], ground, CAMERA)
    return [residual for term in TERMS for residual in term.residuals(scene, 1.0)]


def _card(left: float, depth: float) -> DepthView:
    """A square card 40 pixels wide before the camera, seen as if by rays."""
    columns = slice(int(left), int(left) + 40)
    box = (slice(30, 70), columns)
    rows, cols = np.mgrid[30:71:40, columns.start : columns.stop + 1 : 40]
    x = (cols - CAMERA.cx_px) / CAMERA.fx_px * depth
    y = (rows - CAMERA.cy_px) / CAMERA.fy_px * depth
    front = np.stack([x, y, np.full(x.shape, depth)], -1).reshape(-1, 3)
    vertices = np.concatenate([front, front * (1 + 0.01 / depth)])
    a, b, c, d = 0, 1, 3, 2
    quads = [(a, b, c, d), (a + 4, d + 4, c + 4, b + 4)]
    quads += [(i + 4, j + 4, j, i) for i, j in ((a, b), (b, c), (c, d), (d, a))]
    faces = np.array([t for p, q, r, s in quads for t in ((p, q, r), (p, r, s))], np.int32)
    return DepthView(vertices, faces[:, ::-1], box, np.full((40, 40), depth), np.ones((40, 40)))


@pytest.mark.parametrize(("rows", "met"), [(4, True), (3, False)])
def test_outlines_that_share_few_pixels_do_not_meet(rows: int, met: bool) -> None:
    """Two cards that overlap in one column, of which only some pixels are hit."""
    near, far = _card(20, 2.0), _card(59, 3.0)
    depth = far.depth.copy()
    depth[rows:, 0] = np.nan
    far = replace(far, depth=depth)
    masks = [np.zeros((100, 100), bool)] * 2
    found = find_pair_contacts([near, far], masks, np.ones(2), CAMERA)
    assert bool(found) == met


@pytest.mark.parametrize(("share", "told"), [(0.052, True), (0.048, False)])
def test_an_order_that_few_pixels_tell_is_none(share: float, told: bool) -> None:
    near, far = _card(30, 2.0), _card(30, 3.0)
    masks = [np.zeros((100, 100), bool), np.zeros((100, 100), bool)]
    count = round(share * 1600)
    rows, columns = np.unravel_index(np.arange(count), (40, 40))
    masks[0][rows + 30, columns + 30] = True
    found = find_pair_contacts([near, far], masks, np.ones(2), CAMERA)
    assert any(np.isfinite(m.order) for m in found) == told


@pytest.mark.parametrize(("disagree", "nearer"), [(0.048, True), (0.052, False)])
def test_an_order_holds_for_all_but_a_twentieth_of_the_pixels(
    disagree: float, nearer: bool
) -> None:
    """Part of the far card's surface comes before the near one: as outliers, or as its order."""
    near, far = _card(30, 2.0), _card(30, 3.0)
    depth = far.depth.copy()
    depth.flat[: round(disagree * 1600)] = 1.5
    masks = [np.zeros((100, 100), bool), np.zeros((100, 100), bool)]
    masks[0][30:70, 30:70] = True
    found = find_pair_contacts([near, replace(far, depth=depth)], masks, np.ones(2), CAMERA)
    (order,) = [m.order for m in found if np.isfinite(m.order)]
    assert (order > 0) == nearer


@pytest.mark.parametrize(
    ("make", "kept"), [(lambda n: n, 800), (lambda n: replace(n, depth=n.depth[:37]), 1480)]
)
def test_a_pair_of_objects_is_compared_on_so_many_rays(
    make: Callable[[DepthView], DepthView], kept: int
) -> None:
    """1600 shared pixels are too many, 1480 are not."""
    near, far = (make(_card(30, depth)) for depth in (2.0, 3.0))
    near, far = (replace(s, box=(slice(30, 30 + len(s.depth)), s.box[1])) for s in (near, far))
    pair = _pair(0, 1, [near, far], CAMERA)
    assert pair is not None and len(pair.pixel_rays) == kept


@pytest.mark.parametrize(("count", "kept"), [(500, 500), (520, 260)])
def test_so_many_vertices_of_an_object_are_rays_too(count: int, kept: int) -> None:
    near, far = _card(30, 2.0), _card(30, 3.0)
    inner = np.column_stack([np.linspace(-0.1, 0.1, count), np.zeros(count), np.full(count, 2.0)])
    pair = _pair(0, 1, [replace(near, vertices=inner), far], CAMERA)
    assert pair is not None and len(pair.vertices_i) == kept


def _estimates(log: Float64, columns: Float64) -> ScaleEstimates:
    pixels = np.stack([np.full(len(columns), 50), columns.astype(int)], 1)
    return scale_estimates_of(VisiblePoints(np.ones(len(log)), np.exp(log), pixels, False))


def test_near_is_within_a_quarter_of_the_objects_size() -> None:
    columns = np.arange(2000) / 10
    leaning = _estimates(0.001 * columns, columns)
    local, _ = leaning.local_estimate(np.array([50.0, 0.0]))
    assert local == pytest.approx(0.001 * 25, rel=0.03)


@pytest.mark.parametrize(("points", "told"), [(12, True), (11, False)])
def test_a_part_of_few_points_tells_nothing(points: int, told: bool) -> None:
    columns = np.concatenate([np.arange(points), 100 + np.arange(points)]).astype(float)
    log = np.where(columns < 50, 0.0, 0.1)
    assert (_estimates(log, columns).spread > 0) == told


@pytest.mark.parametrize(
    ("touched_at", "reaches_down", "carries"),
    [(0.245, 0.5, True), (0.255, 0.5, False), (0.1, 0.083, True), (0.1, 0.077, False)],
)
def test_what_is_touched_by_the_foot_and_stands_lower_carries(
    touched_at: float, reaches_down: float, carries: bool
) -> None:
    """Both figures in heights of what is carried."""
    plane = SupportPlane(np.array([0.0, -1, 0]), 5.0, 1.0, 0.0)
    sides = {"upper": (-1.0, 0.0), "lower": (-0.5, reaches_down)}  # y from top to bottom
    objects = []
    for top, bottom in sides.values():
        vertices = np.array([[0, top, 3.0], [0, bottom, 3.0], [0.1, bottom, 3.0]])
        view = replace(_card(30, 3.0), vertices=vertices)
        points = VisiblePoints(np.ones(1), np.ones(1), np.zeros((1, 2), int), False)
        objects.append(
            SingleObjectFit(view, points, _estimates(np.zeros(30), np.arange(30.0)), 0.0)
        )
    meeting = PairContact(0, 1, 0.0, np.array([0, -touched_at, 3.0]), np.inf)
    ground = Ground(_floor(40), plane)
    assert support_graph([meeting], objects, ground) == [1 if carries else None, None]


def test_a_plane_is_believed_to_half_a_thousandth() -> None:
    scene = photographed_table([block("alone", (-0.06, -0.05, 0), (0.06, 0.05, 0.1))])
    (o,), camera = scene.objects, scene.point_map.camera
    view = render_depth(o.mesh, o.crop, camera)
    points = visible_points(view, o.mask, o.occluder, scene.point_map.depth)
    alone = SingleObjectFit(
        view,
        points,
        replace(scale_estimates_of(points), spread=0.0),
        scale_estimates_of(points).middle,
    )
    ground = find_ground(scene.point_map, scene.masks)
    known, residuals = scene_residuals([alone], [], ground, camera, TermWeights())
    (held,) = [r for r in residuals if r.name == "plane"]
    assert held.sigma == pytest.approx(0.0005, rel=0.05)
    assert supports(known, residuals) == [WORLD]


@pytest.mark.parametrize(("spread", "solved"), [(1.05e-12, True), (0.95e-12, False)])
def test_points_in_one_spot_tell_no_scale(spread: float, solved: bool) -> None:
    cube = np.array([[1.0, 0, 0], [-1, 0, 0]]) * math.sqrt(spread)
    with contextlib.nullcontext() if solved else pytest.raises(CannotPlace):
        fit_scale_depth(cube, cube + [0, 0, 2], np.ones(2))


@pytest.mark.parametrize(("ratio", "solved"), [(1.05e-10, True), (0.95e-10, False)])
def test_points_on_one_line_tell_no_rotation(ratio: float, solved: bool) -> None:
    across = math.sqrt(ratio)
    cube = np.array([[1.0, 0, 0], [-1, 0, 0], [0, across, 0], [0, -across, 0]])
    with contextlib.nullcontext() if solved else pytest.raises(CannotPlace):
        umeyama(cube, cube + [0, 0, 2], np.ones(4))


@pytest.mark.parametrize(("side_px", "most"), [(COMPARE_SIDE_PX, 144), (MEASURE_SIDE_PX, 512)])
def test_outlines_are_compared_and_measured_at_these_sizes(side_px: int, most: int) -> None:
    camera = camera_from_fov(2000, 2000, 0.8)
    nothing = np.zeros((2000, 2000), bool)
    box = (slice(100, 1700), slice(200, 1000))
    window = _window(box, side_px, CropCamera(camera, np.eye(3)), camera, nothing, nothing)
    assert window.mask.shape in ((most, most // 2), (most + 1, most // 2))


def _registered(count: int, moved: Bool, by: float) -> float:
    """How far ICP moves points of extent 1, of which some were measured beside where they are."""
    line = np.linspace(0, 1, 11)
    grid = np.stack(np.meshgrid(line, line, np.linspace(0, 1, 10)), -1).reshape(-1, 3)[:count]
    measured = grid + [0, 0, 3.0] + moved[:count, None] * [0, 0, by]
    pose = _rigid_icp(Similarity(1.0, np.eye(3), np.array([0, 0, 3.0])), grid, measured)
    return float(np.abs(pose.translation - [0, 0, 3]).max())


@pytest.mark.parametrize(("by", "matched"), [(0.048, True), (0.052, False)])
def test_points_correspond_within_a_twentieth_of_the_object(by: float, matched: bool) -> None:
    moved = np.arange(1210) // 10 % 2 == 0
    assert (_registered(1000, moved, by) > 1e-6) == matched


@pytest.mark.parametrize(("count", "all_of_them"), [(1024, True), (1026, False)])
def test_more_points_than_needed_are_thinned(count: int, all_of_them: bool) -> None:
    """Every second point was measured beside where it is: alone, the others say so."""
    assert (_registered(count, np.arange(1210) % 2 == 1, 0.03) > 1e-6) == all_of_them


@pytest.mark.parametrize(("hole", "moved"), [(54, True), (56, False)])
def test_an_outline_that_covers_half_of_the_mask_is_believed(hole: int, moved: bool) -> None:
    """A plate of 78 pixels a side whose mask has a hole: the outlines agree by 0.52 or 0.48."""
    camera = camera_from_fov(160, 160, 0.8)
    mesh = box_mesh((-0.4, -0.4, -0.05), (0.4, 0.4, 0.05))
    placed = Similarity(1.0, np.eye(3), np.array([0, 0, 2.0]))
    view = render_placed_depth(placed.apply(mesh.vertices), mesh.faces, camera)
    mask = np.zeros((160, 160), bool)
    mask[view.box] = view.silhouette
    mask[80 - hole // 2 : 80 + hole // 2, 80 - hole // 2 : 80 + hole // 2] = False
    start = replace(placed, translation=np.array([0.04, 0, 2.0]))
    points = mesh.vertices.astype(np.float64)
    found = refine_layout(start, mesh, CropCamera(camera, np.eye(3)), camera, mask,
                          np.zeros_like(mask), points, start.apply(points))  # fmt: skip
    assert (abs(found.translation[0]) < 0.01) == moved


def test_a_registration_of_an_outline_that_never_settles_ends_after_30_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = itertools.count()

    def restless(cube: Float64, measured: Float64, weight: Float64, scale: float) -> Similarity:
        """In every other round each point is where its neighbour was."""
        shift = np.array([0.1 * (1 - next(rounds) % 2), 0, 3])
        return Similarity(scale, np.eye(3), shift)

    monkeypatch.setattr(layout_refine, "umeyama", restless)
    _registered(1000, np.zeros(1000, bool), 0)
    assert next(rounds) == 30


@pytest.mark.parametrize(("change", "rounds"), [(1.05e-12, 100), (0.95e-12, 1)])
def test_a_fit_goes_on_for_100_rounds_or_until_it_settles(change: float, rounds: int) -> None:
    cube = np.array([[0.0, 0, 0], [0, 0, 0]])
    taken = itertools.count(1)

    def creeping(cube: Float64, measured: Float64, weight: Float64) -> Similarity:
        return Similarity(1.0, np.eye(3), np.array([next(taken) * change, 0, 1]))

    refit(creeping, Similarity(1.0, np.eye(3), np.array([0, 0, 1.0])), cube, cube + [0, 0, 1], 1.0)
    assert next(taken) == rounds + 1


@pytest.mark.extra("open3d")
@pytest.mark.parametrize(("by", "matched"), [(0.097, True), (0.103, False)])
def test_icp_looks_for_neighbours_within_a_tenth_of_the_object(by: float, matched: bool) -> None:
    line = np.linspace(-0.5, 0.5, 4)
    cube = np.stack(np.meshgrid(line, line, [0.0]), -1).reshape(-1, 3)
    with contextlib.nullcontext() if matched else pytest.raises(CannotPlace):
        found = solve_icp(cube, cube + [by, 0, 2], 2.0, 0.1)
        np.testing.assert_allclose(found.translation, [by, 0, 2], atol=1e-6)


def test_the_readable_twin_samples_128_anchors() -> None:
    rng = np.random.default_rng(0)
    cube = rng.uniform(-0.5, 0.5, (135, 3))
    measured = (cube + [0, 0, 2]) * rng.normal(1, 0.05, (135, 1))
    sample = np.random.default_rng(0).choice(135, 128, replace=False)
    found = solve_scale_depth_readable(cube, measured, 0.1)
    expected = solve_scale_depth_readable(cube[sample], measured[sample], 0.1)
    np.testing.assert_array_equal(found.matrix, expected.matrix)


@pytest.mark.parametrize(
    ("cells", "height", "believed"),
    [(4, 1.0, True), (3, 1.0, False), (4, 0.105, True), (4, 0.095, False)],
)
def test_a_warp_of_the_map_is_told_by_four_cells_about_the_foot(
    cells: int, height: float, believed: bool
) -> None:
    """One percent of depth where an object stands; far aside it has a vertex at a height, in
    heights of its own, which is its foot below a tenth."""
    floor = _floor(400)
    plane = find_support_plane(floor)
    assert plane is not None
    factor, pixels = np.ones((400, 1)), np.full((400, 2), 1e4)
    factor[:cells], pixels[:cells] = 1 / 1.01, 50
    background = replace(floor, values=floor.values * factor, pixels=pixels)
    stands = np.array([0, 0, plane.height / -plane.normal[2]])
    beside = np.array([5.0, 0, 0]) + stands + 0.3 * height * plane.normal
    foot = np.stack([stands, stands + 0.3 * plane.normal, beside])
    points = VisiblePoints(np.ones(1), np.ones(1), np.zeros((1, 2), int), False)
    scale_estimates = _estimates(np.zeros(40), np.arange(40.0) + 30)
    one = SingleObjectFit(replace(_card(30, 3.0), vertices=foot), points, scale_estimates, 0.0)
    (rest,), _ = find_plane_contacts([one], Ground(background, plane), CAMERA)
    assert (abs(rest.gap + rest.limit) > 5e-3) == believed


def test_fifty_rounds_settle_a_row_of_fifty() -> None:
    """Each round finds the next of a row that the one before it pushes."""
    terms = [
        Residual("points", k, WORLD, float(k == 0), 1e-3 if k == 0 else 10.0) for k in range(60)
    ]
    terms += [Residual("order", k, k + 1, 0.0, 1e-3, one_sided=True) for k in range(59)]
    moved = solve_scales(terms, np.zeros(60)) > 0.1
    assert moved[:48].all() and not moved[52:].any()


@pytest.mark.parametrize(("relative", "known"), [(-0.89, 1), (-0.91, 0), (0.89, 1), (0.91, 0)])
def test_the_lite_network_is_told_depths_near_the_object_only(relative: float, known: int) -> None:
    fov_rad = np.array([0.5], np.float32)
    distance = camera_distance(0.5)
    depth = np.full((1, 32, 32), distance, np.float32)
    depth[0, 16, 16] = distance + relative
    seen = NetworkImages(np.ones((1, 32, 32, 3), np.float32), np.ones((1, 32, 32), np.float32),
                np.zeros((1, 32, 32), bool), depth, fov_rad)  # fmt: skip
    assert network_input(seen)[0, 9, 16, 16] == known


@pytest.mark.parametrize(("step", "joined"), [(0.118, True), (0.122, False)])
def test_walls_of_one_vessel_hang_together_up_to_a_step(step: float, joined: bool) -> None:
    front = np.zeros((4, 4))
    front[:, 2:] = step
    full = np.ones((4, 4))
    columns = Columns(front, full, front + 0.01, full * 0.9, full, full)
    near = _thick_enough(columns, 0.01).near
    assert (near[1, 1] > step) == joined


@pytest.mark.parametrize(("gap", "kept"), [(0.0205, True), (0.0195, False)])
def test_a_gap_is_at_least_two_walls_wide(gap: float, kept: bool) -> None:
    front, full = np.zeros((4, 4)), np.ones((4, 4))
    columns = Columns(front, full, front + 0.5, full * 0.5 + gap, full, full)
    assert (_thick_enough(columns, 0.01).gap_level > 0).all() == kept


@pytest.mark.parametrize(
    ("rise", "rising", "told"),
    [(0.0021, 1.0, True), (0.0019, 1.0, False), (0.01, 0.76, True), (0.01, 0.74, False)],
)
def test_a_floor_recedes_downwards_from_two_thousandths_in_three_quarters_on(
    rise: float, rising: float, told: bool
) -> None:
    """rise: of the depth over two rows of cells, in the columns that rise at all."""
    rows, columns = (v.ravel() for v in np.mgrid[:20, :50])
    slope = np.where(columns < rising * 50, rise / 2, -rise / 2)
    inverse = np.repeat(np.exp(-slope * rows)[:, None], 4, 1)
    pixels = np.stack([rows, columns], 1) * 2.0 + 1
    rays, near = np.ones((1000, 3)), np.ones(1000, bool)
    assert recedes_downwards(Background(rays, pixels, inverse, near)) == told
