"""Do drawn meshes have their outline, their colours, light from one side and a shadow below?"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from photoscene.views import studio
from photoscene.views.studio import Studio, over
from photoscene.views.viewpoints import Direction, around, photo_viewpoint
from scene.cameras import camera_from_fov
from scene.raycast import render, texture_colours
from scene.types import Material, ObjectMesh, Similarity, Uint8
from support.shapes import box_mesh, letter_f

AHEAD = Similarity(1.0, np.eye(3), np.array([0.0, 0.0, 3.0]))
CAMERA = camera_from_fov(96, 72, 0.6)
WHITE = np.full((8, 8, 3), 255, np.uint8)
BOX = replace(box_mesh((-0.4, -0.3, -0.4), (0.4, 0.3, 0.4)), texture=WHITE)


def image_of(mesh: ObjectMesh, direction: Direction, shadow: bool = True) -> Uint8:
    """(72, 96, 4) of a mesh ahead of the camera."""
    points = AHEAD.apply(mesh.vertices)
    return Studio([(mesh, AHEAD)], shadow=shadow).draw(around(points, [direction], (96, 72))[0])


def test_the_outline_is_that_of_the_ray_caster() -> None:
    mesh = letter_f()
    drawn = Studio([(mesh, AHEAD)], shadow=False).draw(photo_viewpoint(CAMERA, (96, 72)))
    index = render([(mesh, AHEAD.apply(mesh.vertices))], CAMERA)[1]
    inside = index >= 0
    assert (drawn[..., 3][_eroded(inside)] == 255).all()
    assert (drawn[..., 3][_eroded(~inside)] == 0).all()
    edge = ~_eroded(inside) & ~_eroded(~inside)
    assert ((drawn[..., 3][edge] > 0) & (drawn[..., 3][edge] < 255)).mean() > 0.2  # antialiased


def test_textures_are_sampled_as_the_ray_caster_samples_them() -> None:
    rng = np.random.default_rng(3)
    mesh = replace(BOX, texture=rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
    faces = rng.integers(0, len(mesh.faces), 200).astype(np.int32)
    weights = rng.dirichlet([1, 1, 1], 200)
    uv = (mesh.uv[mesh.faces[faces]] * weights[..., None]).sum(1).astype(np.float32)
    # Colours that differ by little: then the mean of linear values is nearly that of sRGB.
    flat = replace(mesh, texture=mesh.texture // 16 + 120)
    textures, full = studio._textures([flat]), np.ones(200, np.float32)
    linear = studio._sampled(textures, np.zeros(200, np.int32), uv, full)
    srgb = studio._encoded(linear)[:, :3]
    np.testing.assert_allclose(srgb, texture_colours(flat, faces, weights), atol=1.0)


def test_distant_textures_are_averaged() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    textures = studio._textures([replace(BOX, texture=stripes)])
    uv = np.random.default_rng(0).random((50, 2)).astype(np.float32) * 0.8 + 0.1
    far = studio._sampled(textures, np.zeros(50, np.int32), uv, np.full(50, 8, np.float32))
    assert np.ptp(far[:, 0]) < 0.02
    close = studio._sampled(textures, np.zeros(50, np.int32), uv, np.ones(50, np.float32))
    assert np.ptp(close[:, 0]) > 0.5


def test_tops_are_brightest_and_the_lamps_side_is_brighter_than_the_other() -> None:
    def brightness(azimuth: float, elevation: float) -> float:
        drawn = image_of(BOX, Direction(azimuth, elevation), shadow=False)
        return float(drawn[30:42, 40:56, :3].mean())

    top, left, right = brightness(0, 90), brightness(-90, 0), brightness(90, 0)
    assert top > left > right + 20 and top > 240 and right > 90


def test_the_shadow_is_soft_and_falls_away_from_the_lamp() -> None:
    drawn = image_of(BOX, Direction(0, 60))
    ground = (drawn[..., :3] == 0).all(-1)
    left, right = drawn[..., 3] * ground, drawn[:, ::-1, 3] * ground[:, ::-1]
    assert right[:, :40].sum() > 1.3 * left[:, :40].sum()
    steps = np.abs(np.diff(np.where(ground, drawn[..., 3], 0).astype(int), axis=1))
    assert steps[(ground & np.roll(ground, -1, 1))[:, :-1]].max() < 60
    assert 40 < drawn[..., 3][ground].max() < 255


def test_a_box_above_the_ground_has_a_fainter_shadow() -> None:
    points = AHEAD.apply(BOX.vertices)
    view = around(points, [Direction(0, 60)], (96, 72))[0]
    low = float(points[:, 1].max())
    darkest = [
        int(np.where((d[..., :3] == 0).all(-1), d[..., 3], 0).max())
        for d in (Studio([(BOX, AHEAD)], ground=low + gap).draw(view) for gap in (0.0, 1.0))
    ]
    assert darkest[1] < 0.8 * darkest[0]


def test_what_is_see_through_shows_what_is_behind_it() -> None:
    glass = Material(np.full((8, 8), 128, np.uint8), double_sided=True)
    pane = replace(box_mesh((-0.4, -0.4, -0.001), (0.4, 0.4, 0.001)), material=glass,
                   texture=np.zeros((8, 8, 3), np.uint8))  # fmt: skip
    behind = replace(BOX, texture=WHITE)
    places = [AHEAD, Similarity(1.0, np.eye(3), np.array([0.0, 0.0, 4.0]))]
    view = photo_viewpoint(CAMERA, (96, 72))
    by_itself = Studio([(pane, AHEAD)], shadow=False).draw(view)
    both = Studio(list(zip((pane, behind), places, strict=True)), shadow=False).draw(view)
    assert abs(int(by_itself[36, 48, 3]) - 191) <= 2  # two of its faces, half of the light each
    assert both[36, 48, 3] == 255 and both[36, 48, 0] > 60


def test_splitting_long_edges_keeps_the_surface_and_its_uv() -> None:
    part = studio._Part.of(BOX, AHEAD, np.eye(3), 0)
    split = part.split(0.2)
    assert len(split.faces) > 10 * len(part.faces)
    for values in ("vertices", "uv"):
        areas = [_area(getattr(p, values)[p.faces]) for p in (part, split)]
        np.testing.assert_allclose(areas[0], areas[1], rtol=1e-9)
    corners = split.vertices[split.faces]
    assert np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max() <= 0.2


def test_the_same_image_comes_out_twice_and_lies_over_a_background() -> None:
    first, second = (image_of(BOX, Direction(35, 25)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    before = over(first, (10, 200, 30))
    assert (before[first[..., 3] == 0] == [10, 200, 30]).all()
    opaque = first[..., 3] == 255
    np.testing.assert_array_equal(before[opaque], first[opaque][:, :3])


def _area(corners: np.ndarray) -> float:
    sides = np.concatenate([corners, np.zeros((*corners.shape[:2], 3 - corners.shape[2]))], 2)
    cross = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])
    return float(np.linalg.norm(cross, axis=1).sum())


def _eroded(mask: np.ndarray) -> np.ndarray:
    """Those pixels whose eight neighbours are in the mask, too."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
