"""Does the asset record name what a result came from, and nothing of the machine that made it?"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from flows.plan import STAGES
from flows.request import Profile, StageChoice
from flows.steps.map_points import FROM_EXIF
from photoscene.provenance.asset import OWN_FILE, asset_record
from photoscene.provenance.weights import weights_used
from photoscene.runs.folder import Run, read_run, read_scene
from photoscene.runs.record import StepRecord
from stages.backends import backend_names, find_backend
from stages.model_table import model_table
from support import DATA
from support.small_photo import SmallPhoto, call


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run."""
    with zipfile.ZipFile(DATA / "run_folder.zip") as packed:
        packed.extractall(tmp_path)
    return read_run(tmp_path / "run")


NO_PROFILE = Profile("none", {})


def step(stage: str, backend: str, **settings: object) -> StepRecord:
    """A step of the whole scene."""
    return StepRecord(stage, "scene", "scene", "k", backend, "1", settings, "d" * 64, 7, {}, {},
                      0.0, True, None)  # fmt: skip


def test_bundled_weights_are_named_by_the_backends_that_read_them() -> None:
    named = {
        file
        for stage in STAGES.values()
        for name in backend_names(stage)
        for file in find_backend(stage, name).bundled
    }
    there = {f.name for f in (files("weights") / "lite").iterdir() if f.name.endswith(".onnx")}
    assert named == there


def test_a_stage_that_reads_three_networks_has_three_entries() -> None:
    used = weights_used([step("segment", "lite"), step("segment", "grabcut")], NO_PROFILE)
    assert [w["name"] for w in used] == ["NanoDet-g", "lite masks", "U-2-Net-p"]
    assert all(len(w["sha256"]) == 64 and w["licence"] for w in used)


def test_weights_of_the_table_have_revision_and_licence() -> None:
    (sam,) = weights_used([step("segment", "sam3")], NO_PROFILE)
    row = model_table()["sam3"]
    assert sam["revision"] == row.revision and sam["licence"] == "SAM License"
    assert "military" in sam["restrictions"] and sam["source"].endswith("facebook/sam3")
    own = step("generate", "pixal3d", model="pixal3d-released")
    released = weights_used([own], NO_PROFILE)
    assert [w["name"] for w in released] == ["pixal3d-released", "pixal3d-image-networks"]


def test_an_own_folder_is_not_taken_for_the_pinned_revision() -> None:
    profile = Profile("mine", {"segment": StageChoice("sam3", {"weights": "/home/me/sam"})})
    (sam,) = weights_used([step("segment", "sam3")], profile)
    assert sam["revision"] is None and "user's own" in sam["source"]
    assert "/home/me" not in json.dumps(sam)
    edited = {"lora": "/home/me/x.safetensors"}
    profile = Profile("mine", {"complete": StageChoice("qwen_edit", edited)})
    editor, lora = weights_used([step("complete", "qwen_edit")], profile)
    assert editor["revision"] and lora["name"] == "lora of the user's own"
    assert lora["licence"] == "unknown" and "/home/me" not in json.dumps(lora)


def test_weights_of_a_backend_that_is_gone_are_still_listed() -> None:
    (unknown,) = weights_used([step("segment", "older")], NO_PROFILE)
    assert unknown["sha256"] == "d" * 64 and unknown["licence"] == "unknown"


def test_settings_and_seeds_are_there_and_paths_are_not(run: Run) -> None:
    scene = read_scene(run.folder)
    steps = list(run.record.steps)
    index = next(i for i, s in enumerate(steps) if s.stage == "generate")
    steps[index] = replace(steps[index], settings={"grid": 12, "lora": "/home/me/x.safetensors"})
    record = asset_record(run.request, steps, scene, None)
    assert record == asset_record(run.request, steps, scene, None)
    text = json.dumps(record)
    assert "/home/me" not in text and "/tmp" not in text and run.record.photo_name not in text
    generated = [s["settings"] for s in record["steps"] if s["stage"] == "generate"]
    assert {"grid": 12, "lora": OWN_FILE} in generated
    assert record["photo"] == {"sha256": run.request.photo.sha256, "licence": ""}
    for o in record["objects"]:
        own = {s.stage: s.seed for s in run.record.steps if s.subject == o["id"]}
        assert o["seeds"]["generate"] == own["generate"]


def test_what_was_given_is_measured_and_the_rest_is_guessed(run: Run) -> None:
    scene = read_scene(run.folder)
    known = replace(run.request, camera={"fov_x_deg": 50.0})
    measured = asset_record(known, run.record.steps, scene, None)
    assert "camera, given" in measured["measured"]
    unknown = asset_record(replace(known, camera={}), run.record.steps, scene, None)
    assert any("focal length" in line for line in unknown["guessed"])
    read = replace(scene, notes=(f"focal length 35 mm (35 mm equivalent) {FROM_EXIF}",))
    exif = asset_record(replace(known, camera={}), run.record.steps, read, None)
    assert any("EXIF" in line for line in exif["measured"])
    assert not any("focal length" in line for line in exif["guessed"])
    assert any("sides that the photo does not show" in line for line in unknown["guessed"])


def test_check_asks_for_the_licence(small_photo: SmallPhoto) -> None:
    asked = call("check", small_photo.photo)
    assert "licence: not given: whose photo is it" in asked.stdout
    told = call("check", small_photo.photo, "--licence", "CC BY 4.0, A. Person", "--json")
    assert json.loads(told.stdout)["licence"] == "CC BY 4.0, A. Person"


def test_a_licence_that_cannot_be_is_refused(small_photo: SmallPhoto) -> None:
    refused = call("run", small_photo.photo, "--licence", "x" * 400)
    assert refused.exit_code == 2 and "--licence: expected at most 300" in refused.stderr
