"""Does `inspect` tell the truth about every step and file, and about what differs between runs?"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from alignment import contacts, evidence, fit, robust, support, visible
from alignment.terms import penetration
from photoscene.runs.changes import why_computed
from photoscene.runs.inspection import COLUMNS, OBJECT_COLUMNS
from photoscene.runs.record import StepRecord
from scene.keys import digest
from scene.types import Artifact
from stages import place
from stages.place.pixel_aligned import Settings
from support import ROOT
from support.small_photo import SmallPhoto, call

STAGES = ["photo", "segment", "map_points", "crop", "complete", "frame", "generate", "place",
          "compose"]  # fmt: skip
PER_OBJECT = ("complete", "frame", "generate")
STEPS = len(STAGES) + 2 * len(PER_OBJECT)  # of three objects


@dataclass(frozen=True)
class Runs:
    """A finished run, one that differs by a setting and an object, and their store."""

    run: Path
    other: Path
    store: Path


def inspect_json(run: Path, *options: object) -> dict:
    return json.loads(call("inspect", run, "--json", *options).stdout)


@pytest.fixture(scope="module")
def runs(
    small_photo: SmallPhoto, inline_runs: None, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    folder = tmp_path_factory.mktemp("inspected")
    made = Runs(folder / "run", folder / "other", folder / "store")
    first = call("run", *small_photo.options(), "--store", made.store, "-o", made.run)
    assert first.exit_code == 0, first.stderr
    options = [str(small_photo.photo)]
    options += [o for n in "ac" for o in ("--mask", str(small_photo.masks[n]))]
    options += ["--pointmap", str(small_photo.depth), "--fov", "55", "--set", "generate.grid=24"]
    options += ["--set", "complete.backend=inpaint"]
    second = call("run", *options, "--store", made.store, "-o", made.other)
    assert second.exit_code == 0, second.stderr
    return made


def test_the_table_has_a_line_for_each_step_and_object(runs: Runs) -> None:
    result = call("inspect", runs.run)
    header, *rows = result.stdout.splitlines()
    assert result.exit_code == 0 and header.split() == list(COLUMNS)
    assert [row.split()[0] for row in rows[:STEPS]] == [
        s for s in STAGES for _ in range(3 if s in PER_OBJECT else 1)
    ]
    gap, fits, *objects = rows[STEPS:]
    assert gap == "" and re.split("  +", fits) == list(OBJECT_COLUMNS)
    assert [row.split()[:3] for row in objects] == [
        ["1", "a", "good"], ["2", "b", "good"], ["3", "c", "good"]
    ]  # fmt: skip
    found = inspect_json(runs.run)["objects"][2]
    shown = dict(zip(OBJECT_COLUMNS, re.split("  +", objects[2]), strict=False))
    assert shown["outline"] == f"{found['fit']['silhouette_iou']:.3f}"
    assert shown["points"] == str(found["fit"]["points"])
    assert shown["perspective"] == f"{found['fit']['perspective']:.3f}"
    assert shown["rests on"] == (found["rests_on"] or "-")


def test_every_step_is_accounted_for(runs: Runs) -> None:
    found = inspect_json(runs.run)
    assert found["intact"] is True and len(found["steps"]) == STEPS
    assert len({s["key"] for s in found["steps"]}) == STEPS
    for step in found["steps"]:
        assert len(step["key"]) == 64 and step["backend"] and step["version"]
        assert step["inputs"] and all(len(sha) == 64 for sha in step["inputs"].values())
        assert step["seconds"] >= 0 and step["computed"] is True
        assert step["why"] == "first time in this run folder"
        assert isinstance(step["settings"], dict) and step["files"]
    generated = {s["name"]: s for s in found["steps"] if s["stage"] == "generate"}
    assert generated["b"]["settings"]["grid"] == 32 and generated["b"]["reads"] == ["frame b"]
    (placed,) = [s for s in found["steps"] if s["stage"] == "place"]
    assert placed["reads"] == ["segment", "map_points", "crop", "frame a", "frame b", "frame c",
                               "generate a", "generate b", "generate c"]  # fmt: skip
    assert {o["name"]: o["fit"]["silhouette_iou"] > 0.9 for o in found["objects"]} == {
        "a": True, "b": True, "c": True
    }  # fmt: skip


def test_every_listed_file_opens_with_ordinary_tools(runs: Runs) -> None:
    opened = set()
    for step in inspect_json(runs.run)["steps"]:
        for file in step["files"].values():
            path = Path(file["path"])
            assert file["intact"] and digest(path.read_bytes()) == file["sha256"]
            if path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
                    assert min(image.size) > 0
            elif path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    assert arrays["depth"].ndim == 2 and arrays["K"].shape == (3, 3)
            elif path.suffix == ".glb":
                assert len(trimesh.load_scene(path).geometry) > 0
            else:
                assert path.suffix == ".json"
                json.loads(path.read_text("utf-8"))
            opened.add(path.suffix)
    assert opened == {".png", ".npz", ".glb", ".json"}


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut"])
def test_a_damaged_file_is_named(damage: str, runs: Runs, tmp_path: Path) -> None:
    store = Path(shutil.copytree(runs.store, tmp_path / "store"))
    (step,) = inspect_json(runs.run, "--object", "c", "--stage", "generate")["steps"]
    path = store / Path(step["files"]["mesh"]["path"]).relative_to(runs.store)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink() if damage == "gone" else path.write_bytes(
        data if damage == "flipped" else data[:-1]
    )
    result = call("inspect", runs.run, "--store", store)
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"damaged or missing: generate c mesh ({path})")
    told = inspect_json(runs.run, "--store", store)
    wrong = [
        (s["stage"], s["name"], n)
        for s in told["steps"]
        for n, f in s["files"].items()
        if not f["intact"]
    ]
    assert wrong == [("generate", "c", "mesh")] and told["intact"] is False
    assert call("inspect", runs.run, "--store", store, "--object", "a").exit_code == 0


def test_one_object_one_stage_and_the_paths(runs: Runs) -> None:
    result = call("inspect", runs.run, "--object", "2")
    lines = [line for line in result.stdout.splitlines()[1:] if line]
    assert [line.split()[:2] for line in lines] == [
        ["complete", "b"], ["frame", "b"], ["generate", "b"], ["object", "name"], ["2", "b"]
    ]  # fmt: skip
    assert len(inspect_json(runs.run, "--stage", "frame")["steps"]) == 3
    (path,) = call(
        "inspect", runs.run, "--object", "b", "--stage", "generate", "--open"
    ).stdout.splitlines()
    assert Path(path).read_bytes() == (runs.run / "objects" / "02_b" / "mesh.glb").read_bytes()
    for options, words in (
        (["--object", "4"], "--object 4: the run has 1 (a), 2 (b), 3 (c)"),
        (["--stage", "paint"], "--stage paint: the run has photo, segment"),
        (["--diff", runs.store], "is not a run folder"),
    ):
        refused = call("inspect", runs.run, *options)
        assert refused.exit_code == 2 and words in refused.stderr


def test_a_run_does_not_differ_from_itself(runs: Runs) -> None:
    result = call("inspect", runs.run, "--diff", runs.run)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "the runs are the same"
    assert inspect_json(runs.run, "--diff", runs.run)["same"] is True


def test_what_differs_and_why(runs: Runs) -> None:
    found = inspect_json(runs.run, "--diff", runs.other)
    assert found["same"] is False
    assert found["asked"] == ["profile.stages.generate.settings.grid 32 -> 24", "masks: 3 -> 2"]
    steps = {(s["stage"], s["object"]): s for s in found["steps"]}
    assert steps["photo", ""]["state"] == steps["map_points", ""]["state"] == "same"
    assert "grid 32 -> 24" in steps["generate", "a"]["why"]
    assert steps["generate", "b (A)"]["state"] == "only in A"
    assert steps["complete", "c"]["state"] == "same"
    assert steps["generate", "c"] == {
        "stage": "generate", "object": "c", "state": "differs", "why": ["grid 32 -> 24"]
    }  # fmt: skip
    assert "mesh of a, c changed (generate)" in steps["place", ""]["why"]
    assert "mesh of b (A) gone (generate)" in steps["place", ""]["why"]
    assert {o["name"] for o in found["objects"]} <= {"a", "c"} and found["objects"]
    text = call("inspect", runs.run, "--diff", runs.other).stdout
    assert "asked: masks: 3 -> 2" in text and "only in A" in text


def test_another_result_under_the_same_key_is_noticed(runs: Runs, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(runs.run, tmp_path / "twin"))
    record = json.loads((twin / "run.json").read_text("utf-8"))
    record["versions"]["numpy"] = "0.1"
    for step in record["steps"]:
        if step["stage"] == "compose":
            step["outputs"]["glb"]["sha256"] = "0" * 64
    (twin / "run.json").write_text(json.dumps(record), "utf-8")
    found = inspect_json(runs.run, "--diff", twin)
    (changed,) = [s for s in found["steps"] if s["state"] != "same"]
    assert changed["stage"] == "compose"
    assert changed["why"] == ["the same key gave another result: see environment"]
    assert found["environment"] == [f"versions.numpy {np.__version__} -> 0.1"]


def test_the_diff_tells_changed_grades_and_supports(runs: Runs, tmp_path: Path) -> None:
    twin = _with_fit(runs, tmp_path, 1, grade="check", support="object 1", warnings=["tilted"])
    (changed,) = inspect_json(runs.run, "--diff", twin)["objects"]
    before = inspect_json(runs.run)["objects"][1]["rests_on"]
    assert changed == {
        "name": "b", "changes": {"grade": ["good", "check"], "rests_on": [before, "a"]}
    }  # fmt: skip
    told = call("inspect", runs.run, "--diff", twin).stdout
    assert "object b: grade good -> check" in told
    row = call("inspect", twin, "--object", "b").stdout.splitlines()[-1]
    assert re.split("  +", row)[2] == "check" and re.split("  +", row)[-2:] == ["a", "tilted"]


def test_a_run_of_an_older_version_can_be_looked_into(runs: Runs, tmp_path: Path) -> None:
    twin = _with_fit(runs, tmp_path, 0)
    scene = json.loads((twin / "scene.json").read_text("utf-8"))
    for name in ("depth_error", "perspective", "support", "grade"):
        del scene["objects"][0]["fit"][name]
    (twin / "scene.json").write_text(json.dumps(scene), "utf-8")
    row = call("inspect", twin, "--object", "a").stdout.splitlines()[-1]
    assert re.split("  +", row)[-3:] == ["-", "-", "-"]
    assert call("inspect", twin, "--html").exit_code == 0


def test_a_lost_object_has_a_row_too(runs: Runs, tmp_path: Path) -> None:
    twin = _with_fit(runs, tmp_path, 0)
    scene = json.loads((twin / "scene.json").read_text("utf-8"))
    scene["objects"][2] |= {"fit": None, "camera_from_object": None, "failure": "place: too thin"}
    (twin / "scene.json").write_text(json.dumps(scene), "utf-8")
    row = call("inspect", twin).stdout.splitlines()[-1]
    assert row.split()[:4] == ["3", "c", "failed", "-"] and row.endswith("place: too thin")


def test_the_documented_numbers_of_placement_are_those_in_force() -> None:
    text = (ROOT / "docs" / "placement.md").read_text("utf-8")
    table = text.split("| cause | `check` | `failed` |")[1].split("\n\n")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines()[2:]]
    said = {what.strip(): re.findall(r"\d+(?:\.\d+)?", "".join(rest)) for what, *rest in rows}
    assert {what: [float(number) for number in numbers] for what, numbers in said.items()} == {
        "outline IoU": [fit.GOOD_OUTLINE, fit.MIN_OUTLINE],
        "inlier share": [fit.GOOD_INLIERS, fit.MIN_INLIERS],
        "residual, median": [fit.GOOD_RESIDUAL],
        "perspective off 1": [fit.GOOD_PERSPECTIVE, fit.MIN_RESIDUAL_GAIN],
        "moved by the scene's terms": [fit.GOOD_SHIFT],
        "trusted pixels": [visible.MIN_POINTS],
        "depth of the map's lower half": [support.MIN_RISE * 100, support.RISING_FRACTION * 100],
    }
    for phrase in (
        f"more than {visible.MAX_DEPTH_STEP:.0%} over 3 x 3 pixels",
        f"ray below {visible.MIN_FACING}",
        f"At most {visible.MAX_POINTS} points are used",
        f"place.truncation = {Settings().truncation}",
        f"δ = {robust.HUBER_DELTA_SIGMAS} σ, σ = {robust.SIGMA_FROM_MEDIAN} median(r)",
        f"shape; at least {evidence.MIN_SIGMA} |",
        f"| one-sided square | {evidence.HARD_SIGMA} | `place.penetration` |",
        f"| one-sided square | {evidence.MIN_SIGMA} | `place.order` |",
        f"below {evidence.CONTACT_TOLERANCE} + 2 standard errors, and at most "
        f"{evidence.MAX_TOLERANCE} of the depth",
        f"the {contacts.ORDER_QUANTILE * 100:g} % quantile",
        f"farther than {contacts.SPILL * 100:g} % of b's side",
        f"at least {contacts.MIN_ORDER_FRACTION * 100:g} % of the pixels that both cover",
        f"shape; at least {evidence.PLANE_SIGMA} | `place.plane`",
        f"into each other by more than {penetration.MAX_OVERLAP} of the depth",
        f"lies on the plane within {evidence.STANDING} of its depth",
        f"camera's up axis at least {support.MIN_UP}",
        f"at least {support.MIN_FRACTION:.0%} of the cells".replace("%", " %"),
    ):
        assert phrase.replace("5%", "5 %") in " ".join(text.split()), phrase
    for name in ("plane", "contact", "penetration", "order"):
        assert getattr(Settings(), name) == 1 and f"place.{name}=0`" in text
    for backend in (Path(place.__file__).parent).glob("[!_]*.py"):
        assert f"| `{backend.stem}` |" in text or backend.stem == "each"


def _with_fit(runs: Runs, folder: Path, index: int, **changes: object) -> Path:
    """A copy of the run in which one object's fit says something else."""
    twin = Path(shutil.copytree(runs.run, folder / "twin"))
    scene = json.loads((twin / "scene.json").read_text("utf-8"))
    scene["objects"][index]["fit"] |= changes
    (twin / "scene.json").write_text(json.dumps(scene), "utf-8")
    return twin


def test_why_names_the_objects_whose_inputs_changed() -> None:
    def step(stage: str, name: str, **inputs: str) -> StepRecord:
        read = {n.replace("_", "."): Artifact("", sha, "") for n, sha in inputs.items()}
        return StepRecord(stage, name, name, "", "x", "1", {}, "", 0, read, {}, 0, True, None)

    before = [step("complete", "cup"), step("complete", "pan"),
              step("place", "scene", **{"000_mesh": "1", "001_mesh": "2", "p": "3"})]  # fmt: skip
    # The cup is gone, so the pan's mesh has another number; a lid is new.
    now = step("place", "scene", **{"000_mesh": "2", "001_mesh": "4", "p": "5"})
    why = why_computed(now, ["pan", "lid"], before)
    assert why == "mesh of cup gone, mesh of lid new, p changed"
