"""Ground-truth scenes: analytic depth, real contacts, and rotated cameras that move no point."""

import math

import numpy as np
import pytest

from benchmarks.known_scenes import (
    GROUND_TRUTH,
    KnownObject,
    KnownScene,
    contacts,
    load_scene,
    outline_of,
    photograph,
    rotated,
    surface_gap,
    true_cube,
)
from benchmarks.piles import (
    BACK,
    DOWN,
    GAP_M,
    LEFT,
    at,
    ball,
    clearance,
    cuboid,
    cylinder,
    piles,
    pushed,
    rolled,
    stacked,
)
from benchmarks.surfaces import surface_of
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.types import Float64

pytestmark = pytest.mark.extra("open3d")  # it measures contacts
CAMERA = camera_from_fov(320, 240, 0.9)
HEIGHT_M, DISTANCE_M = 0.3, 1.0  # of the camera over the plane, and from the origin


def looking_level() -> Float64:
    """world_from_camera of a camera before the origin that looks along world y."""
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
    world_from_camera[:3, 3] = [0, -DISTANCE_M, HEIGHT_M]
    return world_from_camera


def table() -> KnownScene:
    """A block with a can on it and a ball beside them, all before the level camera."""
    block = at(cuboid("block", 0.3, 0.2, 0.1), (0.1, 0.1))
    can = stacked(at(cylinder("can", 0.04, 0.12), (0.1, 0.1)), [block])
    return photograph(
        "table", CAMERA, looking_level(), [block, can, at(ball("ball", 0.08), (-0.2, 0))]
    )


def world_points(known: KnownScene) -> Float64:
    """(H, W, 3) what every pixel sees, in the world's frame."""
    camera, turn = known.camera, known.world_from_camera
    rays = unproject(camera, pixel_centres(camera.width, camera.height))
    return rays * known.depth[..., None] @ turn[:3, :3].T + turn[:3, 3]


def test_a_photograph_has_the_depth_of_geometry() -> None:
    known = table()
    points = world_points(known)
    block, can, round_one = known.masks
    assert block.sum() > 500 and can.sum() > 500 and round_one.sum() > 500
    front = block & (points[..., 2] < 0.1 - 1e-4)
    np.testing.assert_allclose(known.depth[front], DISTANCE_M, rtol=1e-6)
    away = np.linalg.norm(points[round_one] - [-0.2, 0, 0.08], axis=1)
    assert away.max() < 0.08 + 1e-6 and away.min() > 0.08 - 2e-4  # chords of the sphere
    empty = ~np.any(known.masks, 0)
    ray_y = unproject(CAMERA, pixel_centres(CAMERA.width, CAMERA.height))[..., 1]
    plane = empty & (points[..., 2] < 1e-6)
    np.testing.assert_allclose(known.depth[plane], HEIGHT_M / ray_y[plane], rtol=1e-6)
    assert plane.sum() > 5000 and (points[empty & ~plane][:, 2] > 0).all()


def test_contacts_come_from_the_surfaces() -> None:
    known = table()
    assert known.touching == {(0, 1)} and known.standing == {0, 2}
    here, there = cuboid("here", 1, 1, 1), cuboid("there", 1, 1, 1)
    there = rolled(rolled(there, "z", 45), "x", 45)
    reach = 0.5 + float(there.vertices[:, 0].max())
    for gap in (0.4e-3, 0.6e-3):
        moved = np.eye(4)
        moved[0, 3] = reach + gap
        beside = there.moved(moved)
        assert surface_gap(here, beside, 1e-3) == pytest.approx(gap, abs=2e-7)
        touching, _ = contacts([here, beside], np.eye(4))
        assert touching == ({(0, 1)} if gap < 0.5e-3 else frozenset())


def test_the_gap_between_crossed_edges_is_exact() -> None:
    bar = rolled(cuboid("bar", 1, 0.1, 0.1), "x", 45)
    above = np.eye(4)
    above[2, 3] = 0.1 * math.sqrt(2) + 0.3e-3
    assert surface_gap(rolled(bar, "z", 60).moved(above), bar, 1e-3) == pytest.approx(0.3e-3)
    assert surface_gap(rolled(bar, "z", 60).moved(above), bar, 0.2e-3) == math.inf


def test_a_push_stops_at_the_analytic_contact() -> None:
    block = at(cuboid("block", 0.2, 0.2, 0.2), (0, 0))
    for piece, direction, expected in [
        (at(cuboid("face on face", 0.1, 0.05, 0.1), (1, 0.02)), LEFT, 0.1 + 0.05),
        (at(cuboid("edge on face", 0.1, 0.1, 0.1), (1, 0.03), 45), LEFT, 0.1 + 0.1 / math.sqrt(2)),
        (at(ball("sphere", 0.05), (0.013, -1)), BACK, -0.1 - 0.05),
    ]:
        moved = pushed(piece, direction, [block]).vertices
        axis = int(np.abs(direction).argmax())
        middle = (moved.min(0) + moved.max(0))[axis] / 2
        assert middle + GAP_M * direction[axis] == pytest.approx(expected, abs=2e-5)


def test_crossing_edges_stop_a_push() -> None:
    """Two bars, both standing on an edge, cross where neither has a vertex."""
    bar = rolled(cuboid("bar", 1, 0.1, 0.1), "x", 45)
    upper = rolled(bar, "z", 60)
    upper = upper.moved(np.block([[np.eye(3), np.array([[0], [0], [1]])], [np.zeros(3), 1]]))
    assert clearance(upper, bar, DOWN) == pytest.approx(1 - 0.1 * math.sqrt(2), abs=1e-9)
    assert clearance(upper, bar, LEFT) == math.inf
    with pytest.raises(ValueError, match="meets nothing"):
        pushed(upper, LEFT, [bar])


@pytest.mark.parametrize("angle_deg", [0, 20, -30])
def test_a_turn_of_the_camera_leaves_the_scene_where_it_is(angle_deg: float) -> None:
    known = table()
    after = rotated(known, math.radians(angle_deg))
    points = np.concatenate([o.vertices for o in after.objects])
    azimuth = np.degrees(np.arctan2(points[:, 0], points[:, 2]))
    assert (azimuth.min() + azimuth.max()) / 2 == pytest.approx(angle_deg, abs=1e-6)
    seen = world_points(after)
    for k, (mask, mine) in enumerate(zip(after.masks, after.objects, strict=True)):
        before = known.objects[k].moved(known.world_from_camera)
        np.testing.assert_allclose(
            mine.moved(after.world_from_camera).vertices, before.vertices, atol=1e-12
        )
        off = surface_of((before.vertices, before.faces)).compute_distance(
            seen[mask].astype(np.float32)
        )
        assert mask.sum() > 400 and off.numpy().max() < 2e-6
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
        if before.axis is not None:
            assert mine.axis is not None
            np.testing.assert_allclose(after.world_from_camera[:3, :3] @ mine.axis, [0, 0, 1])


def test_the_true_cube_lies_on_the_rays_of_the_true_mesh() -> None:
    known = table()
    for o in known.objects:
        mesh, crop, outline = true_cube(o, known.camera)
        distance = crop.camera.fx_px / crop.camera.width
        in_photo = (mesh.vertices + [0, 0, distance]) @ crop.photo_from_crop.T
        ratio = o.vertices / in_photo
        np.testing.assert_allclose(ratio, np.full_like(ratio, ratio[0, 2]), rtol=1e-9)
        assert np.abs(mesh.vertices).max() < 0.75
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert low[2] + high[2] == pytest.approx(0, abs=1e-12)
        assert outline.sum() >= known.masks[known.objects.index(o)].sum()


@pytest.fixture(scope="module")
def built() -> list[KnownScene]:
    """The piles of the scanned objects."""
    return piles(GROUND_TRUTH / "objects")


def test_a_scene_from_a_folder_is_what_casting_sees() -> None:
    known = load_scene(GROUND_TRUTH / "scenes" / "scene_03")
    assert known.touching == frozenset() and known.standing == set(range(len(known.objects)))
    again = photograph(
        known.name,
        known.camera,
        known.world_from_camera,
        [o.moved(known.world_from_camera) for o in known.objects],
    )
    np.testing.assert_array_equal(np.stack(again.masks), np.stack(known.masks))
    seen = np.any(known.masks, 0)
    np.testing.assert_allclose(again.depth[seen], known.depth[seen], rtol=1e-5)


def test_things_in_a_pile_touch_and_do_not_cut_each_other(built: list[KnownScene]) -> None:
    assert [(s.name, len(s.touching)) for s in built] == [
        ("stack", 6), ("nested", 7), ("leaning", 4), ("touching", 8), ("slender", 0),
    ]  # fmt: skip
    for known in built:
        for k, one in enumerate(known.objects):
            for other_index, other in enumerate(known.objects[:k]):
                assert not cuts(one, other) and not cuts(other, one), (one.name, other.name)
                if (other_index, k) in known.touching:
                    assert surface_gap(one, other, 1e-3) < 0.2e-3, (one.name, other.name)


def test_everything_in_a_pile_is_held_and_seen(built: list[KnownScene]) -> None:
    for known in built:
        held = known.standing | {k for pair in known.touching for k in pair}
        assert held == set(range(len(known.objects)))
        for o, mask in zip(known.objects, known.masks, strict=True):
            outline = outline_of(o, known.camera)
            assert mask.sum() > 0.3 * outline.sum(), o.name
            assert not outline[[0, -1]].any() and not outline[:, [0, -1]].any(), o.name
            assert o.moved(known.world_from_camera).vertices[:, 2].min() > -1e-12


def cuts(one: KnownObject, other: KnownObject) -> bool:
    """Whether an edge of one goes through a face of the other; needs no closed mesh."""
    ends = one.vertices[np.concatenate([one.faces[:, [i, (i + 1) % 3]] for i in range(3)])]
    ways = ends[:, 1] - ends[:, 0]
    surface = surface_of((other.vertices, other.faces))
    rays = np.concatenate([ends[:, 0], ways], 1).astype(np.float32)
    share = surface.cast_rays(rays)["t_hit"].numpy()
    through = share <= 1
    points = ends[through, 0] + share[through, None] * ways[through]
    # A ray in the plane of a face may be said to hit it far outside: such a point is on no face.
    return bool((surface.compute_distance(points.astype(np.float32)).numpy() < 1e-5).any())
