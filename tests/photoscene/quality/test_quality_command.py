"""`photoscene quality` on a run folder: what it prints, keeps and shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from photoscene.batch.page import batch_page
from photoscene.quality.kept import QUALITY, kept_quality, kept_verdict, quality_file
from photoscene.quality.rubric import Quality, measured
from photoscene.runs.folder import read_run, read_scene
from photoscene.runs.writing import write_page
from scene.store import Store
from support.placed_runs import letters, write_placed_run
from support.small_photo import SmallPhoto, call, write_small_photo


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> SmallPhoto:
    return write_small_photo(tmp_path_factory.mktemp("photo"))


@pytest.mark.slow
def test_the_rubric_is_printed_kept_and_shown(
    photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoscene.quality.stability.SIMULATION", {"no_mujoco": "install it"})
    run = tmp_path / "run"
    made = call("run", *photo.options(), "-o", run, "--store", tmp_path / "store")
    assert made.exit_code == 0, made.stderr
    found = call("quality", run, "--keep", "--json")
    quality = json.loads(found.stdout)
    assert found.exit_code == (quality["verdict"] == "fail")
    subjects = {row["subject"] for row in quality["rows"]}
    assert subjects >= {"a", "b", "c", "scene", "scene.glb", "glb export"}
    rows = {(row["subject"], row["name"]): row["verdict"] for row in quality["rows"]}
    assert rows["scene.glb", "read back"] == rows["a", "closed"] == rows["a", "outline"] == "pass"
    assert rows["a", "stands"] == "not measured" and quality["counts"]["not measured"]

    assert json.loads((run / QUALITY).read_text())["rows"] == quality["rows"]
    assert 'id="quality"' in (run / "report.html").read_text()
    assert kept_verdict(run) == quality["verdict"]


def test_a_kept_rubric_is_on_the_wall_of_its_batch_and_of_no_other_scene(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = write_placed_run(tmp_path / "run", store, letters("cup"))
    scene = read_scene(run)
    kept = quality_file(Quality((measured("cup", "closed", 0.5),)), scene)
    write_page(read_run(run), QUALITY, kept)
    assert kept_verdict(run) == "fail"
    assert (kept_quality(run, scene) or {})["verdict"] == "fail"
    assert kept_quality(run, replace(scene, notes=("another",))) is None
    entry = {"name": "run", "state": "done", "grade": "good", "objects": [], "seconds": 1,
             "photo": "photo.png", "line": None, "reason": ""}  # fmt: skip
    counts = {"scenes": 1, "done": 1, "incomplete": 0, "failed": 0, "missing": 0}
    summary = {"counts": counts, "objects": 1, "scenes": [entry]}
    assert "quality: fail" in batch_page(summary, tmp_path).decode()
    (run / "scene.json").write_text("{}")
    assert kept_verdict(run) == ""
    assert "quality: fail" not in batch_page(summary, tmp_path).decode()
    (run / QUALITY).write_text("[")
    assert kept_quality(run, scene) is None


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("quality", tmp_path)
    assert done.exit_code == 2 and "is not a run folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())
