"""Where objects meet: limits of scale ratios against geometry that can be written down."""

import math

import numpy as np
import pytest
import trimesh

from alignment.contacts import MIN_ORDER_FRACTION, PairContact, find_pair_contacts, spans_of
from alignment.visible import DepthView, render_placed_depth
from scene.cameras import camera_from_fov, pixel_centres, rotation_to, unproject
from scene.raycast import Crossings, cast_through
from scene.types import Bool, Float64
from support.shapes import box_mesh

CAMERA = camera_from_fov(320, 240, 0.8)
Solid = tuple[Float64, np.ndarray]  # vertices (N, 3) in the camera's frame, faces


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Solid:
    mesh = box_mesh(low, high)
    corners = np.round(mesh.vertices.astype(np.float64), 6)  # what float32 makes of 0.1
    return corners, mesh.faces


def ball(depth: float, radius: float, aside: float = 0.0) -> Solid:
    mesh = trimesh.creation.icosphere(4, radius)
    return np.array(mesh.vertices) + [aside, 0, depth], mesh.faces.astype(np.int32)


def bowl(depth: float, inner: float, outer: float) -> Solid:
    """Half a spherical shell, its opening up (y is down): a wall before its middle, one behind."""
    angles = np.linspace(-math.pi / 2, 0, 40)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    profile = np.concatenate([outer * ring, inner * ring[::-1], outer * ring[:1]])
    mesh = trimesh.creation.revolve(profile, sections=128)
    mesh.fix_normals()
    assert mesh.is_watertight and mesh.volume > 0
    upright = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # the profile's z is up, -y here
    vertices = np.array(mesh.vertices) @ upright.T + [0, 0, depth]
    return vertices, mesh.faces.astype(np.int32)


def contacts(solids: list[Solid], scales: tuple[float, ...] | None = None) -> list[PairContact]:
    """The limits, with the masks that the camera would see at these scales."""
    views = [render_placed_depth(*solid, CAMERA) for solid in solids]
    factors = np.ones(len(solids)) if scales is None else np.array(scales)
    depth = np.full((len(solids), CAMERA.height, CAMERA.width), np.inf)
    for k, (view, factor) in enumerate(zip(views, factors, strict=True)):
        depth[k][view.box] = np.where(view.silhouette, factor * view.depth, np.inf)
    nearest = depth.argmin(0)
    masks = [(nearest == k) & np.isfinite(depth[k]) for k in range(len(solids))]
    return find_pair_contacts(views, masks, factors, CAMERA)


def first_hits(view: DepthView) -> Bool:
    """(H, W) the pixels that see a solid standing alone."""
    seen = np.zeros((CAMERA.height, CAMERA.width), bool)
    seen[view.box] = view.silhouette
    return seen


@pytest.mark.parametrize("gap", [0.0, 0.002, 0.1])
def test_a_box_on_a_box_is_limited_by_the_gap_between_them(gap: float) -> None:
    """Seen from above: its underside at 2, the other's top below it."""
    upper = box((-0.2, -0.2, 1.8), (0.2, 0.2, 2.0))
    lower = box((-0.3, -0.3, 2.0 + gap), (0.3, 0.3, 2.4))
    (found,) = contacts([upper, lower])
    assert (found.front, found.back) == (0, 1)
    assert found.limit == pytest.approx(math.log((2.0 + gap) / 2.0), abs=1e-6)
    assert found.point[2] == pytest.approx(2.0, abs=1e-6)
    assert np.abs(found.point[:2]).max() <= 0.2 + 1e-6
    assert found.order == pytest.approx(math.log((2.0 + gap) / 1.8), abs=1e-6)


@pytest.mark.parametrize("down", [True, False])
def test_a_corner_that_no_pixel_hits_still_sets_the_limit(down: bool) -> None:
    """A cube on its corner, between the rays of four pixels; it points either way."""
    corners, faces = box((-0.1, -0.1, -0.1), (0.1, 0.1, 0.1))
    turn = rotation_to(np.array([1.0, 1.0, 1.0])).T  # its diagonal onto the optical axis
    reach, slab_half = 0.1 * math.sqrt(3), 0.02
    cube = (corners @ turn.T + [0, 0, 2.0], faces)
    if down:
        plate = box((-0.3, -0.3, 2.3), (0.3, 0.3, 2.3 + 2 * slab_half))
        (found,) = contacts([cube, plate])
        expected = 2.3 / (2.0 + reach)
    else:
        plate = box((-0.3, -0.3, 1.7 - 2 * slab_half), (0.3, 0.3, 1.7))
        (found,) = contacts([plate, cube])
        expected = (2.0 - reach) / 1.7
    assert (found.front, found.back) == (0, 1)
    assert found.limit == pytest.approx(math.log(expected), abs=1e-6)


@pytest.mark.parametrize(("rows", "told"), [(2, False), (8, True)])
def test_an_order_of_few_pixels_is_that_of_edges(rows: int, told: bool) -> None:
    """The photo shows the lower box in a few of the rows that both cover."""
    upper, lower = box((-0.2, -0.2, 1.8), (0.2, 0.2, 2.0)), box((-0.3, -0.3, 2.1), (0.3, 0.3, 2.4))
    views = [render_placed_depth(*solid, CAMERA) for solid in (upper, lower)]
    both = first_hits(views[0]) & first_hits(views[1])
    top = int(np.nonzero(both.any(1))[0][0])
    swapped = both & (np.arange(CAMERA.height)[:, None] < top + rows)
    assert (swapped.sum() / both.sum() > MIN_ORDER_FRACTION) == told
    found = find_pair_contacts(views, [both & ~swapped, swapped], np.ones(2), CAMERA)
    orders = {(m.front, m.back): m.order for m in found}
    assert np.isfinite(orders[0, 1])
    assert ((1, 0) in orders and np.isfinite(orders[1, 0])) == told


@pytest.mark.parametrize(("spill_px", "told"), [(1, False), (6, True)])
def test_an_outline_that_spills_over_tells_no_order(spill_px: int, told: bool) -> None:
    """Side by side in the photo; the nearer box's mesh is wider than its mask."""
    left, right = box((-0.3, -0.2, 1.9), (0.05, 0.2, 2.0)), box((0, -0.2, 2.1), (0.3, 0.2, 2.2))
    views = [render_placed_depth(*solid, CAMERA) for solid in (left, right)]
    near, far = first_hits(views[0]), first_hits(views[1])
    edge = int(np.nonzero(near.any(0))[0][-1]) + 1 - spill_px
    mine = near & (np.arange(CAMERA.width)[None] < edge)
    found = find_pair_contacts(views, [mine, far & ~mine], np.ones(2), CAMERA)
    orders = {(m.front, m.back): m.order for m in found}
    assert np.isfinite(orders.get((1, 0), np.inf)) == told


def test_the_order_of_the_list_does_not_matter() -> None:
    upper, lower = box((-0.2, -0.2, 1.8), (0.2, 0.2, 2.0)), box((-0.3, -0.3, 2.1), (0.3, 0.3, 2.4))
    (one,), (other,) = contacts([upper, lower]), contacts([lower, upper])
    assert (one.front, one.back, other.front, other.back) == (0, 1, 1, 0)
    assert (one.limit, one.order) == (other.limit, other.order)


def test_a_ball_before_a_ball_touches_it_on_the_axis() -> None:
    """Facets of the spheres lie within 4e-4 of them."""
    (found,) = contacts([ball(2.0, 0.3), ball(3.0, 0.4)])
    assert found.limit == pytest.approx(math.log(2.6 / 2.3), abs=5e-4)
    assert np.hypot(*found.point[:2]) < 0.05
    assert found.point[2] == pytest.approx(2.3, abs=1e-3)


def test_limits_are_ratios_of_scales() -> None:
    """The guess tells what is before what, not where the limit is."""
    solids = [ball(2.0, 0.3), ball(3.0, 0.4)]
    (one,), (other,) = contacts(solids), contacts(solids, (3.0, 2.9))
    assert one.limit == other.limit


def test_a_ball_in_a_bowl_is_limited_both_ways() -> None:
    """The wall before it and the wall behind it, both on the rays through their common middle."""
    depth, inner, radius = 2.0, 0.4, 0.3
    found = contacts([ball(depth, radius), bowl(depth, inner, 0.45)])
    limits = {(m.front, m.back): m.limit for m in found}
    assert set(limits) == {(0, 1), (1, 0)}
    behind, before = (depth + inner) / (depth + radius), (depth - radius) / (depth - inner)
    assert limits[0, 1] == pytest.approx(math.log(behind), abs=2e-3)
    assert limits[1, 0] == pytest.approx(math.log(before), abs=2e-3)


@pytest.mark.parametrize("deep", [0.01, 0.05])
def test_a_box_in_a_box_is_parted_the_near_way(deep: float) -> None:
    """Pushed in by its underside, it is drawn back by as much and not to the other's far side."""
    upper = box((-0.2, -0.2, 1.8), (0.2, 0.2, 2.0 + deep))
    lower = box((-0.3, -0.3, 2.0), (0.3, 0.3, 2.4))
    (found,) = contacts([upper, lower])
    assert (found.front, found.back) == (0, 1)
    assert found.limit == pytest.approx(math.log(2.0 / (2.0 + deep)), abs=1e-6)


def test_a_box_in_the_back_of_a_plate_is_parted_backwards() -> None:
    """Pushed in from behind by a tenth of the plate: out at its back, not through it."""
    plate = box((-0.3, -0.3, 2.0), (0.3, 0.3, 2.1))
    behind = box((-0.2, -0.2, 2.09), (0.2, 0.2, 2.5))
    found = {(m.front, m.back): m.limit for m in contacts([plate, behind])}
    assert found[0, 1] == pytest.approx(math.log(2.09 / 2.1), abs=1e-6)
    assert (1, 0) not in found or not np.isfinite(found[1, 0])


def test_outlines_that_do_not_overlap_give_nothing() -> None:
    assert contacts([ball(2.0, 0.2, -0.5), ball(2.0, 0.2, 0.5)]) == []
    assert contacts([ball(2.0, 0.2)]) == []
    assert find_pair_contacts([], [], np.zeros(0), CAMERA) == []
    # Boxes of pixels overlap, outlines do not: two balls on a diagonal.
    corner = ball(2.0, 0.2)[0] + [0.3, 0.3, 0]
    views = [
        render_placed_depth(*ball(2.0, 0.2), CAMERA),
        render_placed_depth(corner, ball(2.0, 0.2)[1], CAMERA),
    ]
    overlap = [
        max(a.start, b.start) < min(a.stop, b.stop)
        for a, b in zip(views[0].box, views[1].box, strict=True)
    ]
    assert all(overlap)
    masks = [first_hits(s) for s in views]
    assert not (masks[0] & masks[1]).any()
    assert find_pair_contacts(views, masks, np.ones(2), CAMERA) == []


def test_an_object_outside_the_picture_meets_nobody() -> None:
    assert contacts([ball(2.0, 0.2), ball(2.0, 0.2, 50.0)]) == []


def test_three_in_a_row_have_a_limit_for_every_pair() -> None:
    solids = [ball(2.0, 0.1), ball(3.0, 0.3), ball(5.0, 0.5)]
    limits = {(m.front, m.back): m.limit for m in contacts(solids)}
    ends = [(1.9, 2.1), (2.7, 3.3), (4.5, 5.5)]
    assert set(limits) == {(0, 1), (0, 2), (1, 2)}
    for (front, back), limit in limits.items():
        assert limit == pytest.approx(math.log(ends[back][0] / ends[front][1]), abs=1e-3)


def crossings(*layers: tuple[float, bool]) -> Crossings:
    """One ray's crossings: distance, and whether it goes in there."""
    distance, entering = zip(*layers, strict=True)
    return Crossings(np.array([distance]), np.array([entering]))


@pytest.mark.parametrize(
    ("layers", "start", "end"),
    [
        ([(1, True), (2, False), (3, True), (4, False)], [1, 3], [2, 4]),
        ([(1, True), (2, True), (3, False), (4, False)], [1], [4]),  # two solids in one mesh
        ([(1, False), (2, True), (3, False)], [2], [3]),  # a way out of nothing: a hole in front
        ([(1, True), (2, False), (3, True), (np.nan, False)], [1, 3], [2, 3]),  # a hole behind
        ([(1, True), (np.nan, False)], [1], [1]),  # a sheet, seen from its front
        ([(1, False), (np.nan, False)], [], []),  # and from behind
        ([(np.nan, False), (np.nan, False)], [], []),
    ],
)
def test_spans_lie_between_going_in_and_coming_out(
    layers: list[tuple[float, bool]], start: list[float], end: list[float]
) -> None:
    spans = spans_of(crossings(*layers))
    known = np.isfinite(spans.start[0])
    np.testing.assert_array_equal(known, np.isfinite(spans.end[0]))
    np.testing.assert_array_equal(spans.start[0][known], start)
    np.testing.assert_array_equal(spans.end[0][known], end)


def hollow_box() -> Solid:
    """Outer walls at x, y = +-0.5 and z = 2, 3; inner ones 0.1 within, their faces turned in."""
    outer, inner = box((-0.5, -0.5, 2), (0.5, 0.5, 3)), box((-0.4, -0.4, 2.1), (0.4, 0.4, 2.9))
    faces = np.concatenate([outer[1], inner[1][:, ::-1] + len(outer[0])])
    return np.concatenate([outer[0], inner[0]]), faces.astype(np.int32)


def slab(rays: Float64, half: float, near: float, far: float) -> tuple[Float64, Float64, Bool]:
    """Where rays with z = 1 enter and leave a box about the axis, and which do."""
    side = half / np.maximum(np.abs(rays[:, :2]).max(1), 1e-12)  # |x| or |y| reaches the wall here
    entry, leave = np.full(len(rays), near), np.minimum(side, far)
    return entry, leave, leave > entry


def test_rays_through_a_hollow_box_cross_it_where_geometry_says() -> None:
    rays = unproject(CAMERA, np.random.default_rng(0).uniform(0, 1, (2000, 2)) * [320, 240])
    found = cast_through(*hollow_box(), rays)
    outer_in, outer_out, hit = slab(rays, 0.5, 2, 3)
    inner_in, inner_out, hollow = slab(rays, 0.4, 2.1, 2.9)
    assert hit.sum() > 500 and hollow.sum() > 200 and (hit & ~hollow).sum() > 50
    edge = np.abs(outer_out - outer_in) + np.abs(inner_out - inner_in) < 1e-4
    four = hit & hollow & ~edge
    expected = np.stack([outer_in, inner_in, inner_out, outer_out], 1)
    np.testing.assert_allclose(found.distance[four, :4], expected[four], rtol=1e-9)
    np.testing.assert_array_equal(
        found.entering[four, :4], [[True, False, True, False]] * sum(four)
    )
    two = hit & ~hollow & (outer_out - outer_in > 1e-3)
    np.testing.assert_allclose(
        found.distance[two, :2], np.stack([outer_in, outer_out], 1)[two], rtol=1e-9
    )
    assert np.isnan(found.distance[four, 4:]).all() and np.isnan(found.distance[two, 2:]).all()
    assert np.isnan(found.distance[~hit]).all()


def test_rays_through_a_torus_cross_it_up_to_four_times() -> None:
    """Its axis lies across the view: in, out, in, out where its own equation is zero."""
    mesh = trimesh.creation.torus(0.5, 0.15, major_sections=256, minor_sections=128)
    turn = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    vertices = np.array(mesh.vertices) @ turn.T + [0, 0, 2]
    rays = unproject(CAMERA, pixel_centres(320, 240)[::7, ::7].reshape(-1, 2))
    found = cast_through(vertices, mesh.faces.astype(np.int32), rays)
    row, layer = np.nonzero(np.isfinite(found.distance))
    points = (rays[row] * found.distance[row, layer, None] - [0, 0, 2]) @ turn
    off = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.5, points[:, 2]) - 0.15
    assert np.abs(off).max() < 2e-4
    counts = np.isfinite(found.distance).sum(1)
    assert set(counts) == {0, 2, 4} and (counts == 4).sum() > 20
    np.testing.assert_array_equal(found.entering[row, layer], layer % 2 == 0)


def test_no_more_crossings_are_told_than_asked_for() -> None:
    rays = np.array([[0.01, 0.02, 1.0]])
    found = cast_through(*hollow_box(), rays, max_crossings=3)
    np.testing.assert_allclose(found.distance, [[2, 2.1, 2.9]], rtol=1e-9)
