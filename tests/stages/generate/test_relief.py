"""Relief: closed, outward, exact outline, true depth; and its outline triangulation."""

import numpy as np
import pytest
import trimesh

from alignment.visible import generator_distance
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.raycast import render
from scene.types import CropCamera, ObjectCrop, ObjectMesh
from stages import generate
from stages.generate.relief import Settings, bleed_colours, harmonic_fill, load
from stages.generate.shared.outline import triangulate_outline

CROP = CropCamera(camera_from_fov(256, 256, 0.3), np.eye(3))


def _crop(alpha: np.ndarray, depth: np.ndarray) -> ObjectCrop:
    rgba = np.zeros((256, 256, 4), np.uint8)
    rgba[..., :3] = (200, 120, 40)
    rgba[..., 3] = alpha
    seen = np.where(alpha > 127, depth, np.nan)
    return ObjectCrop(rgba, seen.astype(np.float32), CROP)


def _ball() -> ObjectCrop:
    rays = unproject(CROP.camera, pixel_centres(256, 256))
    centre, radius = np.array([0, 0, 10.0]), 1.3
    b, c = rays @ centre, (rays**2).sum(-1)
    inside = b**2 - c * (centre @ centre - radius**2)
    alpha = np.where(inside > 0, 255, 0).astype(np.uint8)
    return _crop(alpha, (b - np.sqrt(np.maximum(inside, 0))) / c)


def _ring_and_dot() -> ObjectCrop:
    v, u = np.mgrid[:256, :256] + 0.5
    radius = np.hypot(u - 128, v - 128)
    alpha = ((radius > 50) & (radius < 100) | (radius < 6)).astype(np.uint8) * 255
    return _crop(alpha, np.full((256, 256), 4.0) + 0.002 * u)


def _closed(mesh: ObjectMesh) -> trimesh.Trimesh:
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume > 0
    return solid


@pytest.mark.parametrize("make", [_ball, _ring_and_dot])
def test_relief_is_closed_pixel_aligned_and_keeps_the_depth(make) -> None:
    crop = make()
    mesh = generate.run(load(Settings(), "cpu"), crop, 0)
    _closed(mesh)
    world = mesh.vertices.astype(np.float64) + [0, 0, generator_distance(CROP)]
    rgba, index, depth = render([(mesh, world)], CROP.camera)
    alpha = crop.rgba[..., 3] > 127
    hit = index == 0
    assert (hit & alpha).sum() / (hit | alpha).sum() > 0.98
    both = hit & np.isfinite(crop.depth)
    ratio = depth[both] / crop.depth[both]
    assert np.abs(ratio / np.median(ratio) - 1).mean() < 0.003
    inner = rgba[hit & alpha][:, :3].astype(int)
    assert np.abs(inner - [200, 120, 40]).max() <= 2


def test_the_ball_gets_its_back() -> None:
    """A ball's front mirrored at its rim is nearly a ball: the rim's cells blunt it a little."""
    mesh = generate.run(load(Settings(), "cpu"), _ball(), 0)
    scale = 10.0 / generator_distance(CROP)
    volume = _closed(mesh).volume * scale**3
    assert 0.6 < volume / (4 / 3 * np.pi * 1.3**3) < 1.05


def test_unknown_depth_inside_the_outline_is_continued() -> None:
    crop = _ball()
    hole = crop.depth.copy()
    hole[100:160, 150:200] = np.nan
    mesh = load(Settings(), "cpu").generate(ObjectCrop(crop.rgba, hole, CROP), 0)
    _closed(mesh)


def test_no_depth_at_all_is_an_error_in_words() -> None:
    crop = _ball()
    nothing = np.full_like(crop.depth, np.nan)
    with pytest.raises(ValueError, match="no depth"):
        load(Settings(), "cpu").generate(ObjectCrop(crop.rgba, nothing, CROP), 0)


@pytest.mark.parametrize("seed", range(6))
def test_any_outline_triangulates_into_manifold_sheets(seed: int) -> None:
    """Random speckle has every marching-squares case, saddles included."""
    import cv2

    noise = np.random.default_rng(seed).random((64, 64)).astype(np.float32)
    alpha = (cv2.GaussianBlur(noise, (0, 0), 1.2) > 0.5).astype(np.uint8) * 255
    outline = triangulate_outline(alpha, 64)
    edges = np.sort(outline.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    interior = np.zeros(len(outline.points), bool)
    interior[outline.interior] = True
    border = unique[count == 1]
    assert count.max() == 2
    assert not interior[border].any()  # open edges run between crossings only
    both_rim = ~interior[unique].any(1)
    assert (count[both_rim] == 1).all()  # ... and every edge between crossings is open
    a, b, c = (outline.points[outline.triangles[:, i]] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area < 0).all()  # y is down: turned toward the viewer


def test_harmonic_fill_continues_a_plane() -> None:
    v, u = np.mgrid[:40, :50].astype(float)
    plane = 3 + 0.1 * u - 0.05 * v
    region = np.ones((40, 50), bool)
    known = np.zeros_like(region)
    known[[0, -1]] = True
    known[:, [0, -1]] = True
    np.testing.assert_allclose(harmonic_fill(plane * known, known, region), plane, atol=1e-9)


def test_colours_bleed_outward_only() -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:15, 5:15] = (9, 8, 7, 255)
    assert (bleed_colours(rgba) == (9, 8, 7)).all()
