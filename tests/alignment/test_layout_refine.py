"""Render and compare: an outline that is off comes back, one that fits stays, nothing is forced."""

from dataclasses import replace

import numpy as np
import pytest

from alignment.baselines.layout_refine import refine_layout
from scene.cameras import pixel_centres, unproject
from scene.raycast import Outline, cast, render
from scene.types import Similarity
from support.photographed import CAMERA, Photographed, fit_of, photographed_letter, pose_of

OFFSETS = [(0.0, 0.0, 2.0), (0.6, -0.4, 2.2), (-0.9, 0.5, 3.1)]


class Letter:
    """A photographed letter, its true pose and matches; moved and refined by one call each."""

    def __init__(self, offset: tuple[float, float, float]) -> None:
        self.scene = photographed_letter(offset)
        (o,) = self.scene.objects
        self.mesh, self.crop, self.mask, self.nothing = o.mesh, o.crop, o.mask, o.occluder
        in_photo = pose_of(self.scene.place()[0])
        translation = in_photo.translation @ self.crop.photo_from_crop
        self.true = Similarity(in_photo.scale, np.eye(3), translation)
        self.extent = self.true.scale * float(np.ptp(self.mesh.vertices, 0).max())

    def displaced(self, aside: float, size: float) -> Similarity:
        """The true pose moved sideways by a share of the object's size, and scaled."""
        aside_m = np.array([aside * self.extent, 0, 0])
        return Similarity(
            self.true.scale * size, self.true.rotation, self.true.translation + aside_m
        )

    def refine(self, start: Similarity, occluder: np.ndarray | None = None) -> Similarity:
        occluder = self.nothing if occluder is None else occluder
        cube = self.mesh.vertices.astype(np.float64)
        return refine_layout(
            start, self.mesh, self.crop, CAMERA, self.mask & ~occluder, occluder,
            cube, self.true.apply(cube),
        )  # fmt: skip

    def iou(self, pose: Similarity) -> float:
        """Agreement with the whole mask, the hidden part included."""
        vertices = pose.apply(self.mesh.vertices) @ self.crop.photo_from_crop.T
        seen = render([(self.mesh, vertices)], CAMERA)[1] == 0
        return float((seen & self.mask).sum() / (seen | self.mask).sum())


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_displaced_letter_gets_its_outline_back(offset: tuple[float, float, float]) -> None:
    """5 % aside and 5 % too large; where it stands in depth an outline can hardly tell (C8)."""
    letter = Letter(offset)
    start = letter.displaced(0.05, 1.05)
    found = letter.refine(start)
    assert letter.iou(start) < 0.85 and letter.iou(found) > 0.97
    moved = (found.translation - letter.true.translation) / found.translation[2]
    assert np.abs(moved[:2]).max() < 0.01
    np.testing.assert_array_equal(found.matrix, letter.refine(start).matrix)


@pytest.mark.parametrize("offset", OFFSETS)
def test_an_exact_placement_stays(offset: tuple[float, float, float]) -> None:
    letter = Letter(offset)
    assert letter.refine(letter.true) is letter.true


@pytest.mark.parametrize("side", ["left", "right", "bottom"])
def test_an_occluded_letter_is_not_pulled_towards_its_visible_half(side: str) -> None:
    letter = Letter((0.0, 0.0, 2.0))
    occluder = letter.nothing.copy()
    part = {"left": np.s_[:, :230], "right": np.s_[:, 240:], "bottom": np.s_[180:]}[side]
    occluder[part] = True
    hidden = (letter.mask & occluder).sum() / letter.mask.sum()
    assert 0.2 < hidden < 0.8
    assert letter.refine(letter.true, occluder) is letter.true
    found = letter.refine(letter.displaced(0.02, 1.0), occluder)
    assert letter.iou(found) > 0.93


def test_an_occluder_that_nobody_told_of_pulls_the_letter() -> None:
    """The counterpart: a fifth of the letter hidden; only the one that knows leaves it in place."""
    letter = Letter((0.0, 0.0, 2.0))
    hidden = letter.nothing.copy()
    hidden[200:] = True
    start, cube = letter.displaced(0.02, 1.0), letter.mesh.vertices.astype(np.float64)
    pulled = refine_layout(
        start, letter.mesh, letter.crop, CAMERA, letter.mask & ~hidden, letter.nothing,
        cube, letter.true.apply(cube),
    )  # fmt: skip
    assert letter.iou(pulled) < 0.9 < 0.97 < letter.iou(letter.refine(start, hidden))


def test_what_cannot_be_improved_is_returned_as_it_was() -> None:
    """Not accepted below an IoU of 0.5, be it better than before; nothing to see, nothing done."""
    letter = Letter((0.0, 0.0, 2.0))
    for aside in (-2.0, 0.9):
        start = letter.displaced(aside, 1.0)
        assert letter.iou(start) < 0.5
        assert letter.refine(start) is start
    everywhere = ~letter.nothing
    everywhere[180, 240] = False  # one pixel of the mask is left
    assert letter.refine(letter.true, everywhere) is letter.true
    letter.mesh = replace(letter.mesh, vertices=np.zeros_like(letter.mesh.vertices))
    assert letter.refine(letter.true) is letter.true  # all of the mesh in one spot


def test_the_size_of_the_scene_does_not_matter() -> None:
    letter = Letter((0.3, 0.1, 2.0))
    start, cube = letter.displaced(0.05, 1.05), letter.mesh.vertices.astype(np.float64)
    far = Similarity(1000 * start.scale, start.rotation, 1000 * start.translation)
    one = letter.refine(start)
    big = refine_layout(
        far, letter.mesh, letter.crop, CAMERA, letter.mask, letter.nothing,
        cube, 1000 * letter.true.apply(cube),
    )  # fmt: skip
    np.testing.assert_allclose(big.translation, 1000 * one.translation, rtol=0.01)
    assert letter.iou(big) > 0.97


def test_inputs_without_an_outline_have_a_reason() -> None:
    letter = Letter((0.0, 0.0, 2.0))
    cube = letter.mesh.vertices.astype(np.float64)
    rest = (letter.nothing, cube, letter.true.apply(cube))
    with pytest.raises(ValueError, match="empty mask"):
        refine_layout(letter.true, letter.mesh, letter.crop, CAMERA, letter.nothing, *rest)
    behind = Similarity(letter.true.scale, np.eye(3), -letter.true.translation)
    with pytest.raises(ValueError, match="before the camera"):
        refine_layout(behind, letter.mesh, letter.crop, CAMERA, letter.mask, *rest)
    none = (letter.nothing, cube[:0], cube[:0])
    with pytest.raises(ValueError, match="at least two points"):
        refine_layout(letter.true, letter.mesh, letter.crop, CAMERA, letter.mask, *none)


def test_placing_starts_from_the_depth_and_corrects_a_mesh_beside_its_crop() -> None:
    """A mesh 4 % off in its own cube: M1 keeps that offset, the outline takes it away."""
    scene = photographed_letter((0.3, 0.1, 2.0))
    o = scene.objects[0]
    off = replace(o.mesh, vertices=o.mesh.vertices + np.array([0.04, 0, 0], np.float32))
    beside: Photographed = replace(scene, objects=[replace(o, mesh=off)])
    before, after = (fit_of(beside.place(n)[0]) for n in ("pixel_aligned", "layout_refine"))
    assert before.silhouette_iou < 0.9 and after.silhouette_iou > 0.97
    assert before.grade == "check" and after.grade == "good"


def test_an_outline_seen_from_elsewhere_is_that_of_a_cast() -> None:
    letter = Letter((0.0, 0.0, 2.0))
    mesh, origin = letter.mesh, np.array([0.3, -0.2, -2.5])
    rays = unproject(CAMERA, pixel_centres(CAMERA.width, CAMERA.height)).reshape(-1, 3)
    hit = cast([(mesh.vertices, mesh.faces)], origin, rays).hit
    assert 0.01 < hit.mean() < 0.9
    np.testing.assert_array_equal(Outline(mesh.vertices, mesh.faces).hit_by(origin, rays), hit)
