"""The store: what goes in comes out, damage is found, keys depend on everything that matters."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from scene.cameras import camera_from_fov, rotation_to
from scene.keys import object_seed, stage_key
from scene.manifests import Manifest, artifact_name, result_name
from scene.store import DamagedArtifact, Store, copy_artifact
from scene.types import (
    Artifact,
    CropCamera,
    Cutout,
    Mask,
    ObjectMesh,
    Photo,
    PointMap,
)
from support.places import PLACES, new_places
from support.shapes import letter_f

RNG = np.random.default_rng(0)
CAMERA = camera_from_fov(40, 30, 0.8)
VALUES = [
    Photo(RNG.integers(0, 255, (30, 40, 3), dtype=np.uint8)),
    Mask(RNG.random((30, 40)) > 0.5),
    Cutout(RNG.integers(0, 255, (16, 16, 4), dtype=np.uint8)),
    PointMap(np.where(RNG.random((30, 40)) > 0.1, 2.5, np.nan).astype(np.float32), CAMERA, True,
             ("a note",)),
    PointMap(np.full((30, 40), 2.5, np.float32), CAMERA, normals=np.full((30, 40, 3), (0, 0, -1),
             np.float32)),
    CropCamera(CAMERA, rotation_to(np.array([0.2, 0.1, 1]))),
    {"any": ["plain", 1.5, None]},
]  # fmt: skip


@pytest.fixture(params=PLACES)
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one empty store, as another machine would at every call."""
    with new_places(request.param, tmp_path) as open_place:
        yield open_place


def _manifest(store: Store, output: Artifact) -> Manifest:
    key = stage_key("segment", "masks", "1", {}, "", {}, 0)
    return Manifest(
        key, "segment", "scene", "masks", "1", {"a": 1}, "", 0, {}, {"mask": output}, 0.5
    )


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_values_round_trip_and_have_one_name(tmp_path: Path, value: object) -> None:
    store = Store(tmp_path)
    artifact = store.save(value)
    assert store.save(value) == artifact
    assert store.path(artifact).suffix == artifact.suffix
    back = store.load(artifact, type(value))
    if isinstance(value, dict):
        assert back == value
        return
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        np.testing.assert_equal(getattr(back, field.name), getattr(value, field.name))


def test_mesh_round_trip(tmp_path: Path) -> None:
    store, mesh = Store(tmp_path), letter_f()
    back = store.load(store.save(mesh), ObjectMesh)
    np.testing.assert_array_equal(back.vertices, mesh.vertices)


def test_loading_as_another_type_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError, match="mask"):
        store.load(store.save(VALUES[1]), Photo)
    with pytest.raises(TypeError, match="file format"):
        store.save(object())


def test_damage_is_found_and_mended(open_it: Callable[[], Store]) -> None:
    store = open_it()
    artifact = store.save(VALUES[0])
    manifest = _manifest(store, artifact)
    store.publish(manifest)
    assert open_it().lookup(manifest.key) == manifest and store.verify() == []
    name = artifact_name(artifact)
    data = bytearray(store.blobs.read(name))
    data[-20] ^= 1
    store.blobs.write(name, bytes(data))
    store = open_it()
    assert store.lookup(manifest.key) is None
    assert len(store.verify()) == 1
    with pytest.raises(DamagedArtifact, match="damaged"):
        store.load(artifact, Photo)
    store.save(VALUES[0])
    assert open_it().lookup(manifest.key) == manifest
    store.blobs.remove(name)
    store = open_it()
    assert store.lookup(manifest.key) is None
    with pytest.raises(DamagedArtifact, match="missing"):
        store.read(artifact)
    store.save(VALUES[0])
    assert open_it().lookup_all([manifest.key, "0" * 64]) == {
        manifest.key: manifest,
        "0" * 64: None,
    }


def test_the_first_result_stays_unless_it_is_replaced(open_it: Callable[[], Store]) -> None:
    store, other = open_it(), open_it()
    first = _manifest(store, store.save(VALUES[1]))
    second = dataclasses.replace(first, outputs={"mask": other.save(VALUES[0])}, seconds=2.0)
    assert store.publish(first) == first
    assert other.publish(second) == first == open_it().lookup(first.key)
    assert other.publish(second, replace=True) == second == open_it().lookup(first.key)
    store.blobs.remove(artifact_name(second.outputs["mask"]))  # what is not whole does not stay
    assert store.publish(first) == first == open_it().lookup(first.key)


def test_a_flipped_byte_in_a_result_is_found(open_it: Callable[[], Store]) -> None:
    store = open_it()
    manifest = _manifest(store, store.save(VALUES[0]))
    store.publish(manifest)
    name = result_name(manifest.key)
    whole = store.blobs.read(name)
    for position in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[position] ^= 1
        store.blobs.write(name, bytes(broken))
        found = store.lookup(manifest.key)
        assert found is None or found == manifest  # a changed blank changes nothing
    store.blobs.write(name, b"")
    assert store.lookup(manifest.key) is None


def test_a_moved_store_still_answers(tmp_path: Path) -> None:
    store = Store(tmp_path / "here")
    manifest = _manifest(store, store.save(VALUES[0]))
    store.publish(manifest)
    (tmp_path / "here").rename(tmp_path / "there")
    assert Store(tmp_path / "there").lookup(manifest.key) == manifest


def test_copies_outside_are_renewed_when_they_differ(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    artifact = store.save(VALUES[0])
    target = tmp_path / "run" / "photo.png"
    copy_artifact(store, artifact, target)
    written = target.stat().st_mtime_ns
    copy_artifact(store, artifact, target)
    assert target.stat().st_mtime_ns == written
    target.write_bytes(b"scribble")
    copy_artifact(store, artifact, target)
    assert target.read_bytes() == store.read(artifact)


def test_every_part_of_a_call_changes_its_key() -> None:
    one, two = Artifact("mask", "1" * 64, ".png"), Artifact("mask", "2" * 64, ".png")
    base = ("segment", "grabcut", "1", {"a": 1}, "", {"photo": one}, 0)
    variants = [
        base,
        ("complete", *base[1:]),
        ("segment", "lite", *base[2:]),
        ("segment", "grabcut", "2", *base[3:]),
        (*base[:3], {"a": 2}, *base[4:]),
        (*base[:4], "weights", *base[5:]),
        (*base[:5], {"photo": two}, 0),
        (*base[:5], {"other": one}, 0),
        (*base[:6], 1),
    ]
    keys = [stage_key(*v) for v in variants]
    assert len(set(keys)) == len(keys)
    assert keys[0] == stage_key(*base)


def test_object_seeds_depend_on_run_and_object() -> None:
    assert object_seed(0, "a") == object_seed(0, "a")
    assert len({object_seed(s, o) for s in range(3) for o in "abc"}) == 9
    assert 0 <= object_seed(7, "x") < 2**31
