"""A good scene passes every row; each kind of damage is reported in the row that is about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.rubric_scenes import (
    FLAWS,
    good_scene,
    public_scene,
    scene_glb,
    with_first,
    with_mesh,
)
from benchmarks.spoiled import SPOILED_MESHES, SPOILED_PLACES, scaled_by_ten
from photoscene.quality.evidence import Evidence
from photoscene.quality.files import export_rows, scene_file_row
from photoscene.quality.judging import judge, object_rows
from photoscene.quality.remedies import REMEDIES
from photoscene.quality.rubric import (
    CHECK,
    CRITERIA,
    FAIL,
    PASS,
    UNKNOWN,
    Quality,
    Row,
    measured,
)
from photoscene.quality.showing import quality_lines
from photoscene.quality.stability import stability_rows
from scene.frames import GLTF_FROM_CAMERA
from scene.placed import PlacedMesh
from scene.types import Float64, ObjectMesh, Similarity
from support import ROOT


@pytest.fixture(scope="module")
def good() -> Evidence:
    return good_scene()


def flagged(rows: list[Row]) -> dict[str, str]:
    """The verdicts of rows that do not pass, by name."""
    return {row.name: row.verdict for row in rows if row.verdict not in (PASS, UNKNOWN)}


def first_rows(evidence: Evidence) -> dict[str, str]:
    return flagged(object_rows(evidence.objects[0], evidence))


@pytest.mark.parametrize(("damage", "rows"), SPOILED_MESHES)
def test_a_damaged_mesh_is_reported_in_its_row(
    good: Evidence, damage: Callable[[ObjectMesh], ObjectMesh], rows: dict[str, str]
) -> None:
    assert first_rows(good) == {}
    found = first_rows(with_mesh(good, damage))
    assert {name: found.get(name) for name in rows} == rows


@pytest.mark.parametrize(("damage", "rows"), SPOILED_PLACES)
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


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_no_row_of_a_public_scene_is_flagged_falsely(number: int) -> None:
    """Those that are flagged are flaws of the scans, which their textures and edges prove."""
    evidence = public_scene(GROUND_TRUTH / "scenes" / f"scene_{number:02d}")
    for subject in evidence.objects:
        name = subject.placed.name
        found = flagged(object_rows(subject, evidence))
        assert set(found) <= FLAWS.get(name, set()), name


@pytest.mark.slow
@pytest.mark.extra("physics")
@pytest.mark.parametrize("number", [0, pytest.param(5, marks=pytest.mark.long)])
def test_objects_of_public_scenes_stand_however_uneven_their_base(number: int) -> None:
    """Two scenes for the time; `benchmarks.exports` measures all six."""
    source = public_scene(GROUND_TRUTH / "scenes" / f"scene_{number:02d}").source
    rows = [row for own in stability_rows(source).values() for row in own]
    assert {row.name for row in rows} == {"colliders", "stands"} and flagged(rows) == {}


def test_whatever_is_flagged_has_a_remedy_and_a_figure_in_words() -> None:
    assert set(REMEDIES) == {c.name for c in CRITERIA}
    rows = (measured("cup", "made", 1, "no pixels"), measured("scene", "scale", 1),
            measured("jar", "closed", 0), measured("jar", "stands", 0.2))  # fmt: skip
    lines = quality_lines(Quality(rows), False)
    assert lines[0] == "FAIL cup: made no, expected yes (no pixels)"
    assert "CHECK scene: scale relative, expected metres" in lines
    assert [line.split(":")[0] for line in lines[3:-1]] == ["made", "stands", "scale"]


def test_limits_work_both_ways_and_the_page_has_them() -> None:
    assert [measured("a", "outline", f).verdict for f in (0.95, 0.7, 0.4)] == [PASS, CHECK, FAIL]
    assert [measured("a", "seams", f).verdict for f in (1, 40, 80)] == [PASS, CHECK, FAIL]
    assert measured("a", "UV stretch", math.nan).verdict == FAIL
    page = (ROOT / "docs" / "quality.md").read_text("utf-8")
    for c in CRITERIA:
        assert f"| {c.name} | {c.shown(c.good)} | {c.shown(c.bad)} |" in page, c.name
