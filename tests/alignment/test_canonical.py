"""Meshes of generators with a canonical frame: turned into the crop by a pose, or registered."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alignment.canonical import NO_POSE
from alignment.visible import generator_distance
from photoscene.inputs.request import build_request
from scene.scene_json import scene_from_json, scene_to_json
from scene.store import Store
from scene.types import CanonicalPose, Float64, ObjectMesh, Similarity
from stages.devices import ModelPool
from stages.generate.shared.canonical import FRONT, posed_by_camera
from support import ROOT
from support.inline import reconstruct_inline
from support.photographed import (
    Photographed,
    angle_rad,
    block,
    fit_of,
    photographed_letter,
    photographed_table,
    pose_of,
    spun,
)
from support.shapes import letter_f
from support.small_photo import SmallPhoto

TRUE = Similarity(0.5, np.eye(3), np.array([-0.3, 0.2, 2.0]))  # of `photographed_letter`

UNPOSED = CanonicalPose(Similarity(1.0, FRONT, np.zeros(3)), False, 0.0)


def canonical_letter() -> ObjectMesh:
    letter = letter_f()
    return replace(letter, vertices=(letter.vertices @ FRONT).astype(np.float32))


def attitude(degrees_about_y: float, degrees_about_x: float) -> Float64:
    """(3, 3) about the upright, then towards the camera."""
    (a, b) = np.radians([degrees_about_y, degrees_about_x])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]) @ about_y


def posed(scene: Photographed, rotation: Float64, focal: float) -> ObjectMesh:
    """The canonical letter by the pose that the camera of a crop with this focal length has."""
    crop = scene.objects[0].crop
    camera_from_canonical = Similarity(0.5, rotation @ FRONT, TRUE.translation)
    turned = crop.photo_from_crop.T @ camera_from_canonical.rotation
    way = crop.photo_from_crop.T @ camera_from_canonical.translation / 0.5
    way = way * [1, 1, focal / generator_distance(crop)]
    return posed_by_camera(canonical_letter(), turned, way, focal, 1.0, crop)


@pytest.mark.parametrize("backend", ["pixel_aligned", "umeyama"])
def test_a_posed_mesh_is_placed_exactly_by_either_method(backend: str) -> None:
    rotation = spun(np.random.default_rng(1), 0.7)
    scene = photographed_letter((-0.3, 0.2, 2.0), rotation=rotation)
    mesh = posed(scene, rotation, generator_distance(scene.objects[0].crop))
    moved = replace(scene, objects=[replace(scene.objects[0], mesh=mesh)])
    (placement,) = moved.place(backend)
    assert moved.errors([placement]).max() < 1e-4 and fit_of(placement).grade == "good"
    assert mesh.canonical is not None
    found = pose_of(placement).after(mesh.canonical.object_from_canonical)
    np.testing.assert_allclose(found.rotation, rotation @ FRONT, atol=1e-4)
    np.testing.assert_allclose(found.translation, TRUE.translation, atol=1e-3)
    assert found.scale == pytest.approx(0.5, rel=1e-3)


def test_a_pose_of_another_focal_length_keeps_the_outline() -> None:
    scene = photographed_letter((-0.3, 0.2, 2.0))
    mesh = posed(scene, np.eye(3), 1.3 * generator_distance(scene.objects[0].crop))
    moved = replace(scene, objects=[replace(scene.objects[0], mesh=mesh)])
    assert fit_of(moved.place()[0]).silhouette_iou > 0.9


def test_an_uncertain_pose_is_graded_check() -> None:
    scene = photographed_letter((-0.3, 0.2, 2.0))
    fits = []
    for confidence in (0.8, 0.2):
        pose = CanonicalPose(Similarity(1.0, FRONT, np.zeros(3)), True, confidence)
        objects = [replace(scene.objects[0], canonical=pose)]
        fits.append(fit_of(replace(scene, objects=objects).place()[0]))
    assert [fit.grade for fit in fits] == ["good", "check"]
    assert "uncertain (confidence 0.20)" in fits[1].warnings[-1]


def test_a_mesh_without_a_pose_is_registered_by_its_shape_and_graded_check() -> None:
    """From the front's 130 degrees and 20 of elevation, none of which is a start."""
    rotation = attitude(130, 20)
    scene = photographed_letter((-0.3, 0.2, 2.0), rotation=rotation)
    o = replace(scene.objects[0], mesh=letter_f(), canonical=UNPOSED)
    (placement,) = replace(scene, objects=[o]).place()
    assert np.degrees(angle_rad(pose_of(placement).rotation @ rotation.T)) < 10
    assert pose_of(placement).scale == pytest.approx(0.5, rel=0.1)
    fit = fit_of(placement)
    assert fit.grade == "check" and fit.warnings[-1] == NO_POSE and fit.silhouette_iou > 0.8


def test_what_is_registered_leaves_the_others_as_they_were() -> None:
    scene = photographed_table([
        block("left", (-0.22, -0.05, 0), (-0.1, 0.05, 0.1), 0.4),
        block("right", (0.08, -0.05, 0), (0.22, 0.05, 0.06), -0.2),
    ])  # fmt: skip
    left, right = scene.objects
    (expected,) = replace(scene, objects=[right]).place()
    placements = replace(scene, objects=[replace(left, canonical=UNPOSED), right]).place()
    np.testing.assert_allclose(pose_of(placements[1]).matrix, pose_of(expected).matrix, atol=1e-8)
    nothing = replace(left, mesh=replace(left.mesh, faces=left.mesh.faces[:0]), canonical=UNPOSED)
    lost, kept = replace(scene, objects=[nothing, right]).place()
    assert lost.failure and "no surface" in lost.failure and kept.failure is None


@pytest.mark.parametrize("posed", [True, False])
def test_a_scene_reports_every_canonical_pose(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, posed: bool
) -> None:
    package = importlib.import_module("stages.generate")
    backends = str(ROOT / "tests" / "support" / "backends")
    monkeypatch.setattr(package, "__path__", [*package.__path__, backends])
    settings = ("complete.backend=passthrough", "generate.backend=canonical")
    arguments = replace(
        small_photo.arguments(),
        settings=(*settings, f"generate.posed={str(posed).lower()}"),
    )
    store = Store(tmp_path)
    scene, _ = reconstruct_inline(build_request(arguments, store), store, ModelPool("cpu"))
    for o in scene_from_json(scene_to_json(scene)).objects:
        assert o.camera_from_object is not None and o.camera_from_canonical is not None, o.failure
        assert o.fit is not None and (posed or o.fit.grade != "good")
        assert (NO_POSE in o.fit.warnings) is not posed
        np.testing.assert_allclose(
            o.camera_from_canonical.rotation, o.camera_from_object.rotation @ FRONT, atol=1e-9
        )
