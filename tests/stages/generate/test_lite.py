"""Backend `lite`: closed, on its pixels, the measured front kept, the unseen side learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from alignment.visible import generator_distance
from photoscene.quality.texture import overlap
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.errors import BadWeights
from scene.raycast import render
from scene.types import CropCamera, Float32, ObjectCrop, ObjectMesh
from stages import generate
from stages.bundled import load_network
from stages.generate.lite import MAX_FACES, WEIGHTS_FILE, Lite, Settings, load
from stages.generate.lite.columns import Columns, surface_of
from stages.generate.lite.fusion import columns_of, network_images
from stages.generate.lite.layered import (
    ACROSS,
    INPUT_CHANNELS,
    Layers,
    relative_depth,
    with_flip_augmentation,
)
from stages.generate.lite.walls import behind_walls
from support import DATA
from training.generator.held_out import means, measure, read

SIDE_PX = 256
CROP = CropCamera(camera_from_fov(SIDE_PX, SIDE_PX, 0.3), np.eye(3))
HELD_OUT = DATA / "held_out.npz"
MIN_MARGIN = 0.12  # over an inflated outline, in IoU
RED, BLUE = (200, 60, 40), (40, 60, 200)


@pytest.fixture(scope="module")
def lite() -> Lite:
    return load(Settings(), "cpu")


def _crop(alpha: np.ndarray, depth: np.ndarray | None = None) -> ObjectCrop:
    rgba = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    rgba[..., :3] = np.where(np.arange(SIDE_PX)[None, :, None] < SIDE_PX / 2, RED, BLUE)
    rgba[..., 3] = alpha
    unknown = np.full(alpha.shape, np.nan)
    seen = np.where(alpha > 127, unknown if depth is None else depth, np.nan)
    return ObjectCrop(rgba, seen.astype(np.float32), CROP)


def _ball() -> ObjectCrop:
    rays = unproject(CROP.camera, pixel_centres(SIDE_PX, SIDE_PX))
    centre, radius = np.array([0, 0, 10.0]), 1.3
    b, c = rays @ centre, (rays**2).sum(-1)
    inside = b**2 - c * (centre @ centre - radius**2)
    alpha = np.where(inside > 0, 255, 0).astype(np.uint8)
    return _crop(alpha, (b - np.sqrt(np.maximum(inside, 0))) / c)


def _ring_and_dot() -> ObjectCrop:
    v, u = np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5
    radius = np.hypot(u - 128, v - 128)
    alpha = ((radius > 50) & (radius < 100) | (radius < 6)).astype(np.uint8) * 255
    return _crop(alpha, np.full(alpha.shape, 4.0) + 0.002 * u)


def _thin_cross() -> ObjectCrop:
    alpha = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    alpha[20:236, 124:132] = alpha[124:132, 20:236] = 255
    return _crop(alpha)


def _drawn(mesh: ObjectMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    world = mesh.vertices.astype(np.float64) + [0, 0, generator_distance(CROP)]
    return render([(mesh, world)], CROP.camera)


@pytest.mark.parametrize("make", [_ball, _ring_and_dot, _thin_cross])
@pytest.mark.parametrize("with_depth", [True, False])
def test_every_mesh_is_closed_and_exactly_as_wide_as_the_picture(
    make, with_depth: bool, lite: Lite
) -> None:
    crop = make()
    if not with_depth:
        crop = replace(crop, depth=np.full_like(crop.depth, np.nan))
    mesh = generate.run(lite, crop, 0)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    assert len(mesh.faces) <= MAX_FACES
    assert 0 <= mesh.uv.min() and mesh.uv.max() <= 1
    hit, alpha = _drawn(mesh)[1] == 0, crop.rgba[..., 3] > 127
    assert (hit & alpha).sum() / (hit | alpha).sum() > 0.97


def test_the_measured_front_is_kept(lite: Lite) -> None:
    crop = _ball()
    _, index, depth = _drawn(generate.run(lite, crop, 0))
    both = (index == 0) & np.isfinite(crop.depth)
    ratio = depth[both] / crop.depth[both]
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.003


def test_a_guessed_front_is_not_kept_unless_asked_for(lite: Lite) -> None:
    """A flat wall is what a ground plane says of a ball."""
    flat = replace(_ball(), measured=False)
    flat = replace(flat, depth=np.where(np.isfinite(flat.depth), 9.0, np.nan).astype(np.float32))
    reliefs = []
    for generator in (lite, Lite(Settings(depth="any"), lite.network)):
        _, index, depth = _drawn(generate.run(generator, flat, 0))
        seen = depth[index == 0]
        reliefs.append(np.percentile(seen, 90) - np.percentile(seen, 10))
    assert reliefs[1] < 0.25 * reliefs[0]


def test_the_photo_is_on_the_front_and_carried_over_the_rim(lite: Lite) -> None:
    crop = _ball()
    rgba, index, _ = _drawn(generate.run(lite, crop, 0))
    inner = (index == 0) & (np.abs(np.arange(SIDE_PX) - 128) > 4)[None]
    inner &= crop.rgba[..., 3] > 127
    off = np.abs(rgba[inner][:, :3].astype(int) - crop.rgba[inner][:, :3])
    assert np.percentile(off, 99) <= 2
    mesh = generate.run(lite, crop, 0)
    half = SIDE_PX // 2
    back = mesh.texture[:half, SIDE_PX : SIDE_PX + half]
    rim = back[half // 2, int(half * 0.06) : int(half * 0.08)].astype(int)
    assert np.abs(rim - RED).max() < 40


def _vessel() -> ObjectCrop:
    """A near wall below a rim, and the far inner wall seen above it."""
    v, u = np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5
    solid = (np.abs(u - 128) < 100) & (np.abs(v - 128) < 70)
    return _crop(np.where(solid, 255, 0).astype(np.uint8), np.where(v < 110, 3.4, 2.9))


@pytest.mark.parametrize("make", [_ball, _vessel, _ring_and_dot])
def test_every_face_has_texels_of_its_own(make, lite: Lite) -> None:
    """Walls along the rays have no area in the crop, and inner sides lie one behind another."""
    mesh = generate.run(lite, make(), 0)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    along, across = (corners[:, i] - corners[:, 0] for i in (1, 2))
    area = np.linalg.norm(np.cross(along, across), axis=1)
    px = (mesh.uv[mesh.faces] * mesh.texture.shape[1::-1]).astype(np.float64)
    one, other = (px[:, i] - px[:, 0] for i in (1, 2))
    density = np.sqrt(np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / area) / SIDE_PX
    assert area[density < 0.15].sum() < 0.002 * area.sum()
    assert overlap(mesh) < 0.01


def test_two_calls_and_two_loads_agree_to_the_last_bit(lite: Lite) -> None:
    first = generate.run(lite, _ball(), 0)
    second = generate.run(load(Settings(), "cpu"), _ball(), 1)
    for a, b in ((first.vertices, second.vertices), (first.faces, second.faces),
                 (first.uv, second.uv), (first.texture, second.texture)):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_an_object_takes_the_network_two_small_pictures(lite: Lite) -> None:
    """Seconds are measured by `make benchmark-lite`; the network is what they are spent on."""
    asked: list[tuple[int, ...]] = []

    def counted(pictures: Float32) -> Float32:
        asked.append(pictures.shape)
        return lite.network(pictures)

    generate.run(Lite(lite.settings, counted), _ball(), 0)
    side = lite.settings.picture_px
    assert asked == [(1, INPUT_CHANNELS, side, side)] * 2


@pytest.mark.slow
def test_held_out_shapes_beat_the_inflated_outline(lite: Lite) -> None:
    """A broken checkpoint, a flip or a wrong field of view would fall below the margin."""
    scores = [measure(lite, one) for one in read(HELD_OUT)]
    assert len(scores) == 32
    iou, _, _, inflated = means(scores)
    assert 0.3 < inflated < 0.5
    assert iou - inflated > MIN_MARGIN


def test_relative_depth_knows_no_unit() -> None:
    depth = np.array([[2.0, 2.2], [np.nan, 1.9]], np.float32)
    first, second = relative_depth(depth, 3.0), relative_depth(depth * 7, 3.0)
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.nanmedian(first) == pytest.approx(0, abs=1e-6)
    assert np.isnan(first[1, 0])


def test_a_mirrored_picture_gives_mirrored_layers(lite: Lite) -> None:
    pictures = np.random.default_rng(0).normal(size=(1, INPUT_CHANNELS, 64, 64)).astype(np.float32)
    mirrored = pictures[..., ::-1].copy()
    mirrored[:, ACROSS] = pictures[:, ACROSS]
    first, second = (with_flip_augmentation(lite.network, p) for p in (pictures, mirrored))
    np.testing.assert_array_equal(first, second[..., ::-1])
    assert np.abs(lite.network(pictures) - first).max() > 1e-3


def test_other_weights_are_refused() -> None:
    with pytest.raises(BadWeights, match="install the package again"):
        load_network(WEIGHTS_FILE, "0" * 64)


@pytest.mark.parametrize("values", [{"grid": 4}, {"picture_px": 70}, {"picture_px": 16}])
def test_settings_have_ranges(values: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Settings(**values)


def test_nothing_hangs_between_a_near_wall_and_the_inside_beside_it() -> None:
    """Two walls, the network's cells between them half-way, and a gap behind the near one."""
    half = 32
    near_wall = np.arange(half)[:, None] > half / 2
    front = np.where(near_wall, -0.3, 0.3).repeat(half, 1).astype(np.float32)
    front[half // 2] = 0.0
    gap = np.where(front < 0.2, 0.95, 0.05).astype(np.float32)
    back = np.full_like(front, 0.35)
    depths = np.stack([front, front + 0.03, np.full_like(front, 0.3), back]).astype(np.float32)
    colours = np.zeros((1, half, half, 3), np.float32)
    layers = Layers(depths[None], gap[None], np.ones_like(gap)[None], colours, colours)
    crop = _crop(np.full((SIDE_PX, SIDE_PX), 255, np.uint8))
    columns = columns_of(crop, layers, network_images(crop, 2 * half), 96)
    before_a_gap = columns.front[columns.inside & (columns.gap_level > 0)]
    assert (before_a_gap < -0.2).sum() > 0.2 * columns.front.size
    assert not ((before_a_gap > -0.2) & (before_a_gap < 0.2)).any()


def test_behind_a_measured_near_wall_the_inside_goes_on() -> None:
    """The inner side seen above a rim runs on behind the wall below it, whatever the blurred cells
    at the rim say; the depth that a smeared rim has is neither's."""
    side, rim = 65, 32
    row = np.arange(side, dtype=np.float64)[:, None].repeat(side, 1)
    front = np.where(row < rim, 0.3 - 0.002 * row, -0.3)
    front[rim] = -0.1
    far = np.where(np.abs(row - rim) < 4, 0.05, 0.3 - 0.002 * row)
    near = np.where(np.abs(row - rim) < 4, -0.05, -0.27)
    gap_level = np.where((row >= rim - 2) & (row < 60), 0.4, -0.5)
    alpha_level = np.full_like(front, 0.5)
    alpha_level[[0, -1]] = alpha_level[:, [0, -1]] = -0.5
    given = Columns(front, np.full_like(front, 0.1), near, far, gap_level, alpha_level)
    found = behind_walls(given, 5)
    inner = (slice(4, 58), slice(4, 61))
    opened = (found.gap_level > 0)[inner]
    assert (opened == (found.front < 0)[inner]).all() and 0.4 < opened.mean() < 0.6
    true = (0.3 - 0.002 * row)[inner]
    assert np.abs(found.far[inner] - true)[opened].max() < 0.01
    assert np.abs(found.near[inner] + 0.27)[opened].max() < 0.01
    assert (found.back[inner] > true)[opened].all()
    assert not (np.abs(found.front[inner]) < 0.15).any()
    points, triangles = surface_of(found).points, surface_of(found).triangles
    assert trimesh.Trimesh(points, triangles).is_watertight
    assert trimesh.Trimesh(points, triangles).body_count == 1


@pytest.mark.parametrize(
    "settings", [{"grid": 7}, {"grid": 257}, {"picture_px": 16}, {"picture_px": 72}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Settings(**settings)
    assert Settings(grid=8, picture_px=32) and Settings(grid=256, picture_px=256)
