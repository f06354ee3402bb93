"""A good scene passes every row; each kind of damage is reported in the row that is about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photoscene.quality.evidence import Evidence
from photoscene.quality.files import export_rows, scene_file_row
from photoscene.quality.judging import judge, object_rows
from photoscene.quality.rubric import CHECK, CRITERIA, FAIL, PASS, UNKNOWN, Row, measured
from scene.frames import GLTF_FROM_CAMERA
from scene.placed import PlacedMesh
from scene.types import Float64, ObjectMesh, Similarity
from support import ROOT
from support.quality_scenes import good_scene, scene_glb, with_first, with_mesh
from support.shapes import joined


@pytest.fixture(scope="module")
def good() -> Evidence:
    return good_scene()


def flagged(rows: list[Row]) -> dict[str, str]:
    """The verdicts of rows that do not pass, by name."""
    return {row.name: row.verdict for row in rows if row.verdict not in (PASS, UNKNOWN)}


def first_rows(evidence: Evidence) -> dict[str, str]:
    return flagged(object_rows(evidence.objects[0], evidence))


def moved(mesh: ObjectMesh, change: Callable[[Float64], Float64]) -> ObjectMesh:
    return replace(mesh, vertices=change(mesh.vertices.astype(np.float64)).astype(np.float32))


def opened(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=mesh.faces[6:])


def inside_out(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=mesh.faces[:, ::-1])


def with_floater(mesh: ObjectMesh) -> ObjectMesh:
    """A second, smaller one inside the outline, behind the object."""
    return joined([mesh, moved(mesh, lambda v: v * 0.2 + [0, 0, 0.6])])


def in_pieces(mesh: ObjectMesh) -> ObjectMesh:
    """Every face by itself, a hair apart."""
    corners = mesh.vertices[mesh.faces]
    apart = corners + 1e-4 * (corners - corners.mean(1, keepdims=True))
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    uv = mesh.uv[mesh.faces].reshape(-1, 2)
    return replace(mesh, vertices=apart.reshape(-1, 3).astype(np.float32), faces=faces, uv=uv)


def doubled_faces(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=np.concatenate([mesh.faces, mesh.faces[:20]]))


def stacked_islands(mesh: ObjectMesh) -> ObjectMesh:
    """All sides at one place of the texture."""
    return replace(mesh, uv=(mesh.uv * [3, 2] % 1 / [3, 2]).astype(np.float32))


def beyond_texture(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, uv=mesh.uv * np.float32(1.4))


def squeezed(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, uv=mesh.uv * np.array([1, 0.02], np.float32))


def small_texture(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, texture=np.ascontiguousarray(mesh.texture[:3, :3]))


def loud_islands(mesh: ObjectMesh) -> ObjectMesh:
    texture = mesh.texture.copy()
    texture[:, : texture.shape[1] // 3] = 0
    texture[: texture.shape[0] // 2, -texture.shape[1] // 3 :] = 255
    return replace(mesh, texture=texture)


def flattened_faces(mesh: ObjectMesh) -> ObjectMesh:
    """Slivers: the grid of each side drawn together along one axis, so its faces are long."""
    return moved(mesh, lambda v: np.where(np.abs(v) < 0.39, v * [1, 0.02, 1], v))


def own_uv_each(mesh: ObjectMesh) -> ObjectMesh:
    """Each face an island of its own, its corners still at their places."""
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    flat = mesh.faces.reshape(-1)
    return replace(mesh, vertices=mesh.vertices[flat], uv=mesh.uv[flat], faces=faces)


@pytest.mark.parametrize(
    ("damage", "rows"),
    [
        (opened, {"closed": FAIL}),
        (inside_out, {"normals": FAIL}),
        (with_floater, {"floaters": FAIL}),
        (in_pieces, {"pieces": FAIL, "closed": FAIL}),
        (doubled_faces, {"non-manifold": FAIL}),
        (stacked_islands, {"UV overlap": FAIL}),
        (beyond_texture, {"UV overlap": FAIL}),
        (squeezed, {"UV stretch": FAIL}),
        (small_texture, {"resolution": FAIL, "maps": CHECK}),
        (loud_islands, {"seams": FAIL}),
        (flattened_faces, {"slivers": CHECK}),
        (own_uv_each, {"UV islands": FAIL}),
    ],
)
def test_a_damaged_mesh_is_reported_in_its_row(
    good: Evidence, damage: Callable[[ObjectMesh], ObjectMesh], rows: dict[str, str]
) -> None:
    assert first_rows(good) == {}
    found = first_rows(with_mesh(good, damage))
    assert {name: found.get(name) for name in rows} == rows


def scaled_by_ten(o: PlacedMesh) -> PlacedMesh:
    """About the camera: the outline stays."""
    place = o.camera_from_object
    return replace(
        o, camera_from_object=Similarity(place.scale * 10, np.eye(3), place.translation * 10)
    )


def beside(o: PlacedMesh) -> PlacedMesh:
    place = o.camera_from_object
    return replace(
        o, camera_from_object=replace(place, translation=place.translation + [0.5, 0, 0])
    )


@pytest.mark.parametrize(
    ("damage", "rows"),
    [(scaled_by_ten, {"depth": FAIL}), (beside, {"outline": FAIL, "boundary": FAIL})],
)
def test_a_wrong_place_is_reported(
    good: Evidence, damage: Callable[[PlacedMesh], PlacedMesh], rows: dict[str, str]
) -> None:
    found = first_rows(with_first(good, damage))
    assert {name: found.get(name) for name in rows} == rows


def test_what_the_photo_hardly_shows_is_said_to_be_guessed(good: Evidence) -> None:
    subject = good.objects[0]
    rows, columns = np.nonzero(subject.mask)
    part = subject.mask & (np.arange(subject.mask.shape[1]) < columns.min() + 4)
    hidden = replace(subject, mask=part, occluder=subject.mask & ~part)
    assert flagged(object_rows(hidden, good))["seen"] == FAIL


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[:, [0, 2, 1]] * [1, 1, -1],
        lambda v: v * 10,
        lambda v: v @ GLTF_FROM_CAMERA,
    ],
)
def test_a_scene_file_with_other_axes_or_sizes_is_reported(
    good: Evidence, tmp_path: Path, change: Callable[[Float64], Float64]
) -> None:
    assert scene_file_row(good.source, scene_glb(good, tmp_path / "good.glb")).verdict == PASS
    row = scene_file_row(good.source, scene_glb(good, tmp_path / "scene.glb", change))
    assert row.verdict == FAIL and row.subject == "scene.glb"


def test_a_scene_file_that_lacks_an_object_or_is_damaged_is_reported(
    good: Evidence, tmp_path: Path
) -> None:
    source = replace(good.source, placed=good.source.placed[:1])
    row = scene_file_row(good.source, scene_glb(replace(good, source=source), tmp_path / "a.glb"))
    assert row.verdict == FAIL and "it lacks right" in row.note
    (tmp_path / "b.glb").write_bytes(b"no GLB")
    row = scene_file_row(good.source, tmp_path / "b.glb")
    assert row.verdict == FAIL and "cannot be read" in row.note
    assert scene_file_row(good.source, tmp_path / "none.glb").verdict == UNKNOWN


def test_formats_are_read_back_and_relative_sizes_are_to_check(good: Evidence) -> None:
    rows = {(r.subject, r.name): r for r in export_rows(good.source)}
    assert (
        rows["glb export", "read back"].verdict == rows["obj export", "read back"].verdict == PASS
    )
    assert rows["scene", "origin"].verdict == rows["scene", "scale"].verdict == PASS
    huge = with_first(good, scaled_by_ten).source
    scaled = replace(huge, placed=tuple(map(scaled_by_ten, huge.placed)))
    for source, verdict in ((replace(good.source, metric=False), CHECK), (scaled, FAIL)):
        found = {(r.subject, r.name): r for r in export_rows(source)}
        assert found["scene", "scale"].verdict == verdict


def test_lost_objects_fail_and_missing_libraries_do_not(
    good: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoscene.quality.stability.SIMULATION", {"no_mujoco": "install it"})
    lost = replace(good, source=replace(good.source, lost={"cup": "nothing is left of it"}))
    quality = judge(lost, scene_glb(good, tmp_path / "scene.glb"))
    assert flagged(list(quality.rows)) == {"made": FAIL} and quality.verdict == FAIL
    assert quality.of("cup", "made").note == "nothing is left of it"
    row = quality.of("left", "stands")
    assert row.verdict == UNKNOWN and row.text == "needs no_mujoco: install it"


@pytest.mark.extra("physics")
def test_a_floating_and_a_leaning_object_are_caught_and_the_good_scene_is_not(
    good: Evidence, tmp_path: Path
) -> None:
    file = scene_glb(good, tmp_path / "scene.glb")
    assert flagged(list(judge(good, file).rows)) == {}
    c, s = math.cos(0.3), math.sin(0.3)
    rolled = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    for rotation, at in ((np.eye(3), [-0.8, 0.9, 3]), (rolled, [-0.8, 1.5 - 0.4 * (c + s), 3])):
        place = Similarity(1.0, rotation, np.array(at))
        wrong = with_first(good, lambda o, place=place: replace(o, camera_from_object=place))
        quality = judge(wrong, file)
        assert quality.of("left", "stands").verdict == FAIL
        assert quality.of("right", "stands").verdict == PASS


def test_limits_work_both_ways_and_the_page_has_them() -> None:
    assert [measured("a", "outline", f).verdict for f in (0.95, 0.7, 0.4)] == [PASS, CHECK, FAIL]
    assert [measured("a", "seams", f).verdict for f in (1, 40, 80)] == [PASS, CHECK, FAIL]
    assert measured("a", "UV stretch", math.nan).verdict == FAIL
    page = (ROOT / "docs" / "quality.md").read_text("utf-8")
    for c in CRITERIA:
        assert f"| {c.name} | {c.shown(c.good)} | {c.shown(c.bad)} |" in page, c.name
