"""The support plane: found in the map beside the objects, or not at all; the world it gives."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from alignment.objects import Placement
from alignment.support import (
    SupportPlane,
    background_of,
    find_ground,
    find_support_plane,
    recedes_downwards,
    world_from_camera,
)
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.types import Bool, Camera, FitReport, Float64, PointMap
from stages import place

SMALL, LARGE = camera_from_fov(320, 240, 0.9), camera_from_fov(640, 480, 0.9)
HEIGHT = 0.4
UPRIGHT_CASES = [(20, 0), (35, -8), (70, 5)]  # degrees that the camera looks down and is rolled by


def normal_for(down_deg: float, roll_deg: float) -> Float64:
    """(3,) the plane's normal in a camera that looks down and is rolled about its own axis."""
    down, roll = math.radians(down_deg), math.radians(roll_deg)
    level = math.cos(down)
    return np.array([math.sin(roll) * level, -math.cos(roll) * level, -math.sin(down)])


def plane_depth(normal: Float64, camera: Camera, height: float = HEIGHT) -> Float64:
    """(H, W) z of an endless plane; NaN towards and above the horizon."""
    slope = unproject(camera, pixel_centres(camera.width, camera.height)) @ -normal
    return height / np.where(slope > 0.1, slope, np.nan)


def an_object(camera: Camera) -> Bool:
    """(H, W) a mask in the lower middle of the picture."""
    mask = np.zeros((camera.height, camera.width), bool)
    mask[camera.height // 2 : camera.height * 3 // 4, camera.width // 3 : camera.width // 2] = True
    return mask


def found_in(depth: Float64, camera: Camera) -> SupportPlane | None:
    return find_support_plane(background_of(depth.astype(np.float32), camera, an_object(camera)))


def errors(plane: SupportPlane | None, normal: Float64) -> tuple[float, float]:
    """Degrees between the normals, and the relative error of the height."""
    assert plane is not None
    turn = math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(plane.normal - normal)) / 2)))
    return turn, abs(plane.height / HEIGHT - 1)


@pytest.mark.parametrize(("down_deg", "roll_deg"), UPRIGHT_CASES)
@pytest.mark.parametrize("camera", [SMALL, LARGE])
def test_an_exact_plane_is_found_exactly(camera: Camera, down_deg: float, roll_deg: float) -> None:
    """To 1e-6 in direction and height; all of the background lies on it."""
    normal = normal_for(down_deg, roll_deg)
    depth = plane_depth(normal, camera)
    assert np.isfinite(depth[an_object(camera)]).all()
    plane = found_in(np.where(an_object(camera), 0.5 * depth, depth), camera)
    assert plane is not None
    np.testing.assert_allclose(plane.normal, normal, atol=1e-6)
    assert plane.height == pytest.approx(HEIGHT, rel=1e-6)
    assert plane.share == 1 and plane.residual < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_noise_leaves_the_plane_where_it_is(seed: int) -> None:
    normal = normal_for(20, 3)
    depth = plane_depth(normal, LARGE)
    noise = np.random.default_rng(seed).normal(1, 0.1, depth.shape).clip(0.05)
    turn_deg, height = errors(found_in(depth * noise, LARGE), normal)
    assert turn_deg < 0.3 and height < 0.01


@pytest.mark.parametrize("factors", [(1.2, 2.5), (0.3, 0.8)])
@pytest.mark.parametrize("seed", range(2))
def test_outliers_that_all_lie_on_one_side_do_not_draw_the_plane(
    seed: int, factors: tuple[float, float]
) -> None:
    """35 % of the pixels far behind, or far before, and 2 % noise in all."""
    normal, rng = normal_for(20, 3), np.random.default_rng(seed)
    depth = plane_depth(normal, LARGE)
    lost = rng.random(depth.shape) < 0.35
    measured = depth * np.where(lost, rng.uniform(*factors, depth.shape), 1)
    turn_deg, height = errors(found_in(measured * rng.normal(1, 0.02, depth.shape), LARGE), normal)
    assert turn_deg < 0.2 and height < 0.01


def test_a_plane_behind_other_things_is_still_found() -> None:
    """A third of the background is a box with a level top that nobody made an object of."""
    normal = normal_for(25, 0)
    depth = plane_depth(normal, LARGE)
    depth[:, 480:] = plane_depth(normal, LARGE, height=0.8 * HEIGHT)[:, 480:]
    turn_deg, height = errors(found_in(depth, LARGE), normal)
    assert turn_deg < 0.05 and height < 1e-3


def test_a_wall_is_no_support() -> None:
    rng = np.random.default_rng(0)
    wall = np.full((SMALL.height, SMALL.width), 2.0)
    assert found_in(wall, SMALL) is None
    assert found_in(wall * rng.normal(1, 0.02, wall.shape), SMALL) is None
    sideways = plane_depth(np.array([-0.5, 0, -math.sqrt(0.75)]), SMALL, 2.0)
    assert found_in(sideways, SMALL) is None
    for down_deg, found in ((72, True), (80, False)):  # the cosine of 75.5 degrees is MIN_UP
        steep = plane_depth(normal_for(down_deg, 0), SMALL)
        assert (found_in(steep, SMALL) is not None) == found
    ceiling = plane_depth(normal_for(25, 0) * [1, -1, 1], SMALL)
    assert found_in(ceiling, SMALL) is None


def inverted(depth: Float64) -> dict[str, Float64]:
    """What people take for depth: disparity in several scales, and depth from the far end."""
    inverse = 1 / depth
    unit = (inverse - np.nanmin(inverse)) / np.ptp(inverse[np.isfinite(inverse)])
    return {"inverse": inverse, "0 to 1": unit, "0 to 255": np.rint(unit * 255),
            "of a stereo pair": 80 * inverse + 3, "from afar": np.nanmax(depth) - depth + 0.1,
            "16 bits": np.rint(unit * 65535)}  # fmt: skip


@pytest.mark.parametrize("name", inverted(np.ones((1, 2)) * [1, 2]))
@pytest.mark.parametrize("down_deg", [15, 40])
def test_disparity_is_doubted_and_depth_is_not(name: str, down_deg: float) -> None:
    depth = np.minimum(plane_depth(normal_for(down_deg, 2), LARGE), 3.0)
    noise = np.random.default_rng(0).normal(1, 0.01, depth.shape)
    assert not recedes_downwards(background_of(depth * noise, LARGE, an_object(LARGE)))
    false = inverted(depth)[name] * noise
    false = np.where(false > 0, false, np.nan)
    assert recedes_downwards(background_of(false, LARGE, an_object(LARGE)))
    assert found_in(false, LARGE) is None


class Placer:
    """Places every object anywhere, with a good fit."""

    def place(self, objects, point_map, ground) -> list[Placement]:
        fit = FitReport(1.0, 1.0, 0.0, 0.0, 1.0, 9, 1.0, 0.0, grade="good")
        return [Placement(None, fit), Placement(None, None, "lost")]


def test_fits_in_a_map_of_disparity_are_graded_check() -> None:
    depth = plane_depth(normal_for(30, 0), SMALL).astype(np.float32)
    for map_, guessed, grade in ((1 / depth, False, "check"), (1 / depth, True, "good"),
                                 (depth, False, "good")):  # fmt: skip
        point_map = PointMap(map_, SMALL, guessed=guessed)
        objects = [SimpleNamespace(pixel_aligned=True, canonical=None)] * 2
        placed = place.run(Placer(), objects, point_map, [an_object(SMALL)])  # type: ignore[list-item]
        fit = placed.placements[0].fit
        assert fit is not None and fit.grade == grade and placed.placements[1].fit is None
        assert ("disparity" in " ".join(fit.warnings)) == (grade == "check")


def test_a_wall_and_a_map_of_little_are_not_taken_for_disparity() -> None:
    wall = np.random.default_rng(0).normal(2, 0.01, (SMALL.height, SMALL.width))
    assert not recedes_downwards(background_of(wall, SMALL, an_object(SMALL)))
    wall[:, 3:] = np.nan
    assert not recedes_downwards(background_of(wall, SMALL, an_object(SMALL)))


def test_a_wall_far_behind_does_not_hide_the_plane() -> None:
    """Only what is near the objects counts."""
    normal = normal_for(12, 0)
    depth = np.fmin(plane_depth(normal, LARGE), 1.6)
    turn_deg, height = errors(found_in(depth, LARGE), normal)
    assert turn_deg < 0.05 and height < 1e-3


def test_without_enough_background_there_is_no_plane() -> None:
    depth = plane_depth(normal_for(20, 0), SMALL)
    assert found_in(np.full_like(depth, np.nan), SMALL) is None
    little = np.where(np.arange(SMALL.width) < 12, depth, np.nan)
    assert found_in(little, SMALL) is None
    everywhere = np.ones(depth.shape, bool)
    ground = find_ground(PointMap(depth.astype(np.float32), SMALL), [everywhere])
    assert ground.plane is None and len(ground.background.rays) == 0
    nowhere = find_ground(PointMap(depth.astype(np.float32), SMALL), [])
    assert nowhere.plane is None  # nothing stands anywhere
    noise = np.random.default_rng(0).uniform(0.3, 3, depth.shape)
    assert found_in(noise, SMALL) is None


def test_pixels_of_all_objects_are_no_background() -> None:
    """A tilted board, larger than the floor beside it, is found only while it is no object."""
    normal, board_normal = normal_for(20, 0), normal_for(60, 0)
    depth, mask = plane_depth(normal, LARGE), an_object(LARGE)
    board = np.zeros_like(mask)
    board[60:440, 120:560] = True
    depth = np.where(board, plane_depth(board_normal, LARGE), depth)
    point_map = PointMap(depth.astype(np.float32), LARGE)
    with_board, without = (find_ground(point_map, m).plane for m in ([mask, board], [mask]))
    assert errors(with_board, normal)[0] < 0.05
    assert errors(without, board_normal)[0] < 0.05


@pytest.mark.parametrize(("down_deg", "roll_deg"), [*UPRIGHT_CASES, (0, 0), (90, 0)])
def test_the_world_is_upright_and_rigid(down_deg: float, roll_deg: float) -> None:
    """z up and 0 on the plane, the camera above the origin and looking ahead, along y; also for a
    camera that looks straight down, whose upper edge is ahead."""
    normal = normal_for(down_deg, roll_deg)
    world = world_from_camera(SupportPlane(normal, HEIGHT, 1.0, 0.0))
    turn, shift = world[:3, :3], world[:3, 3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_array_equal(world[3], [0, 0, 0, 1])
    np.testing.assert_allclose(shift, [0, 0, HEIGHT], atol=1e-12)
    np.testing.assert_allclose(turn @ normal, [0, 0, 1], atol=1e-12)
    depth = plane_depth(normal, SMALL).reshape(-1, 1)
    rays = unproject(SMALL, pixel_centres(SMALL.width, SMALL.height)).reshape(-1, 3)
    on_plane = (rays * depth)[np.isfinite(depth[:, 0])] @ turn.T + shift
    np.testing.assert_allclose(on_plane[:, 2], 0, atol=1e-12)
    looks = turn @ ([0, 0, 1] if down_deg < 90 else [0, -1, 0])
    assert looks[0] == pytest.approx(0, abs=1e-12) and looks[1] > 0
    assert looks[2] == pytest.approx(-math.sin(math.radians(down_deg)) if down_deg < 90 else 0)


def test_depths_along_rays_and_the_maps_errors_are_those_of_the_plane() -> None:
    normal = normal_for(20, 3)
    depth = plane_depth(normal, SMALL)
    plane = SupportPlane(normal, HEIGHT, 1.0, 0.0)
    rays = unproject(SMALL, pixel_centres(SMALL.width, SMALL.height))
    known = np.isfinite(depth)
    np.testing.assert_allclose(plane.depth_along(rays)[known], depth[known], rtol=1e-12)
    assert plane.depth_along(np.array([0, -1.0, 1])) == np.inf  # above the horizon
    background = background_of((1.005 * depth).astype(np.float32), SMALL, an_object(SMALL))
    close = background.pixels[:, 0] > 0.8 * SMALL.height  # far cells span more depth than that
    np.testing.assert_allclose(plane.errors(background)[close], math.log(1.005), atol=1e-6)
