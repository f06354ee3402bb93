"""Do rendered scenes show what their depth, labels and gravity say?"""

from __future__ import annotations

import numpy as np
import pytest

from training.generator.shapes.grammar import TABLE
from training.scenes.bodies import grammar_body, split, standing
from training.scenes.layout import Drawn, draw_scene
from training.scenes.library import Library, load_bodies, save_bodies
from training.scenes.render import View, hidden_mask, render
from training.scenes.sky import HEIGHT, WIDTH, Sky
from training.scenes.textures import SIDE, drawn

SIZE = (64, 48)


@pytest.fixture(scope="module")
def library() -> Library:
    bodies = [grammar_body(family, 1) for family in TABLE[5:8]]
    sky = Sky("even", np.ones((HEIGHT, WIDTH, 3), np.float32))
    texture = drawn(np.random.default_rng(0))
    return Library(tuple(b for b in bodies if b is not None), {"drawn": texture}, (sky,))


@pytest.fixture(scope="module")
def scene(library: Library) -> Drawn:
    found = draw_scene(library, 3, "table", SIZE)
    assert found is not None
    return found


def points(view: View, depth: np.ndarray) -> np.ndarray:
    """(H, W, 3) in the camera's frame."""
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    rays = [(x - view.width / 2) / view.focal_px, (y - view.height / 2) / view.focal_px, 0 * x + 1]
    return np.stack(rays, -1) * depth[..., None]


def test_the_ground_is_level(scene: Drawn) -> None:
    shown = render(scene.world, scene.view, scene.lighting, 1, 0)
    height = points(scene.view, shown.depth) @ scene.view.up + scene.view.position[1]
    flat = (shown.labels == 0) & (np.abs(shown.normals @ scene.view.up) > 0.99)
    assert flat.sum() > 100
    table = np.abs(height[flat]) < 1e-3
    floor = np.abs(height[flat] - height[flat].min()) < 1e-3
    assert (table | floor).mean() > 0.98


def test_depth_and_normals_agree(scene: Drawn) -> None:
    shown = render(scene.world, scene.view, scene.lighting, 1, 0)
    p = points(scene.view, shown.depth)
    across = p[1:-1, 2:] - p[1:-1, :-2]
    along = p[2:, 1:-1] - p[:-2, 1:-1]
    normal = np.cross(along, across)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    agree = np.abs((normal * shown.normals[1:-1, 1:-1]).sum(-1))
    assert np.median(agree) > 0.99


def test_an_object_covers_at_least_what_is_seen_of_it(scene: Drawn) -> None:
    shown = render(scene.world, scene.view, scene.lighting, 1, 0)
    seen = np.unique(shown.labels[shown.labels > 0])
    assert len(seen)
    for number in seen:
        whole = hidden_mask(scene.world, scene.view, int(number))
        assert not ((shown.labels == number) & ~whole).any()
        alone = render(scene.world.with_object(int(number)), scene.view, scene.lighting, 1, 0)
        np.testing.assert_array_equal(alone.labels > 0, whole & (alone.labels > 0))


def test_the_same_seed_gives_the_same_picture(library: Library, scene: Drawn) -> None:
    again = draw_scene(library, 3, "table", SIZE)
    assert again is not None
    first, second = (render(s.world, s.view, s.lighting, 2, 3) for s in (scene, again))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth, second.depth)
    assert first.rgb.std() > 5


@pytest.mark.parametrize("kind", ["table", "above"])
def test_cameras_look_as_their_kind_says(library: Library, kind: str) -> None:
    downward = []
    for seed in range(12):
        found = draw_scene(library, seed, kind, SIZE)
        if found is not None:
            np.testing.assert_allclose(np.linalg.norm(found.view.up), 1)
            downward.append(np.degrees(np.arcsin(-found.view.up[2])))
    assert len(downward) > 6
    assert (np.median(downward) > 55) == (kind == "above")


def test_bodies_come_back_from_disk(library: Library, tmp_path) -> None:  # type: ignore[no-untyped-def]
    save_bodies(library.bodies, tmp_path / "bodies.npz")
    loaded = load_bodies(tmp_path / "bodies.npz")
    assert [b.name for b in loaded] == [b.name for b in library.bodies]
    for ours, theirs in zip(library.bodies, loaded, strict=True):
        np.testing.assert_array_equal(ours.corners, theirs.corners)
        assert theirs.paint is not None
        np.testing.assert_array_equal(ours.paint.colour, theirs.paint.colour)  # type: ignore[union-attr]


def test_bodies_stand_on_the_ground_with_side_one(library: Library) -> None:
    for body in library.bodies:
        np.testing.assert_allclose(body.corners.reshape(-1, 3).min(0)[1], 0, atol=1e-6)
        np.testing.assert_allclose(body.size.max(), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(body.normals, axis=-1), 1, atol=1e-3)
    shifted = standing(np.array([[[5.0, 5, 5], [7, 5, 5], [5, 9, 5]]]))
    np.testing.assert_allclose(shifted.reshape(-1, 3).max(0), [0.25, 1, 0])


def test_textures_repeat_without_a_seam_and_a_split_stays() -> None:
    texture = drawn(np.random.default_rng(5)).astype(int)
    assert texture.shape == (SIDE, SIDE, 3)
    assert split("drawn 1") == split("drawn 1")
    kept = [split(f"body {i}") for i in range(800)].count("kept")
    assert 60 < kept < 140
