"""Does the command line do what it says, and refuse what it cannot do in one clear line?"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from conftest import HEIGHT, WIDTH, SmallPhoto, small_masks, write_mask
from typer.testing import CliRunner

from photoscene.cli import app
from photoscene.inspection import COLUMNS
from scene.keys import digest

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
HELP_BUDGET_S = 0.5
STEPS = 15  # of three objects


@dataclass(frozen=True)
class Folders:
    """A finished run of the small photo and its store."""

    run: Path
    store: Path


def call(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def finished(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Folders:
    """One run by the installed command, as a person starts it; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("cli")
    folders = Folders(folder / "run", folder / "store")
    command = [PHOTOSCENE, "run", *small_photo.options()]
    command += ["--store", folders.store, "-o", folders.run]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert f"{STEPS} of {STEPS} steps computed" in ran.stdout
    assert "Traceback" not in ran.stderr and "prefect" not in ran.stderr.lower()
    assert len([line for line in ran.stderr.splitlines() if line.endswith(" s")]) == STEPS
    return folders


@pytest.fixture
def own(finished: Folders, tmp_path: Path) -> Folders:
    """A copy of the finished run that a test may change."""
    run = shutil.copytree(finished.run, tmp_path / "run")
    return Folders(Path(run), Path(shutil.copytree(finished.store, tmp_path / "store")))


def test_help_is_quick() -> None:
    def help_s() -> float:
        started = time.monotonic()
        subprocess.run([PHOTOSCENE, "--help"], check=True, capture_output=True)
        return time.monotonic() - started

    assert statistics.median(help_s() for _ in range(5)) < HELP_BUDGET_S


@pytest.mark.parametrize("command", ["", "run", "rerun", "inspect", "doctor"])
def test_help(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")
    assert result.stderr == ""


def test_run_writes_its_folder(finished: Folders) -> None:
    for name in ("scene.glb", "scene.json", "overlay.png", "photo.png", "point_map.npz"):
        assert (finished.run / name).stat().st_size > 0, name
    objects = sorted(p.name for p in (finished.run / "objects").iterdir())
    assert objects == ["01_a", "02_b", "03_c"]
    for name in objects:
        files = sorted(p.name for p in (finished.run / "objects" / name).iterdir())
        assert files == ["completion.png", "mask.png", "mesh.glb", "object_crop.png"]
    mask = cv2.imread(str(finished.run / "objects" / "02_b" / "mask.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(mask > 127, small_masks()["b"])
    left_over = [p for p in finished.run.rglob("*") if p.name.startswith(".")]
    assert left_over == []


def test_run_again_prints_json(finished: Folders, small_photo: SmallPhoto, tmp_path: Path) -> None:
    options = [*small_photo.options(), "--store", finished.store, "-o", tmp_path / "again"]
    result = call("run", *options, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["status"] == 0 and told["steps_computed"] == 0
    assert [o["name"] for o in told["objects"]] == ["a", "b", "c"]
    assert all(o["failure"] is None and o["silhouette_iou"] > 0.9 for o in told["objects"])
    for path in finished.run.rglob("*"):
        if path.is_file() and path.name != "run.json":
            twin = tmp_path / "again" / path.relative_to(finished.run)
            assert twin.read_bytes() == path.read_bytes(), path


def test_run_until_segment(small_photo: SmallPhoto, prefect_server: str, tmp_path: Path) -> None:
    options = [*small_photo.options(), "--store", tmp_path / "store", "-o", tmp_path / "run"]
    result = call("run", *options, "--until", "segment")
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 steps computed" in result.stdout
    scene = json.loads((tmp_path / "run" / "scene.json").read_text("utf-8"))
    assert [o["label"] for o in scene["objects"]] == ["a", "b", "c"]
    assert scene["glb"] is None and not (tmp_path / "run" / "scene.glb").exists()


def test_rerun_of_one_object(own: Folders, prefect_server: str) -> None:
    result = call("rerun", own.run, "--object", 2, "--from", "generate", "--store", own.store)
    assert result.exit_code == 0, result.stderr
    assert f"1 of {STEPS} steps computed" in result.stdout
    steps = json.loads((own.run / "run.json").read_text("utf-8"))["steps"]
    computed = [(s["stage"], s["name"], s["why"]) for s in steps if s["computed"]]
    assert computed == [("generate", "b", "asked for again, or its stored result was lost")]


def test_reruns_add_up(own: Folders, prefect_server: str) -> None:
    rerun = ["rerun", own.run, "--object", "b", "--store", own.store]
    for setting in ("complete.radius_px=9", "generate.depth_ratio=0.4"):
        result = call(*rerun, "--set", setting)
        assert result.exit_code == 0, result.stderr
    steps = json.loads((own.run / "run.json").read_text("utf-8"))["steps"]
    settings = {s["stage"]: s["settings"] for s in steps if s["name"] == "b"}
    assert settings["complete"]["radius_px"] == 9
    assert settings["generate"]["depth_ratio"] == 0.4 and settings["generate"]["grid"] == 32


def test_inspect(finished: Folders) -> None:
    result = call("inspect", finished.run)
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == list(COLUMNS)
    assert len(rows) == STEPS


def test_inspect_lists_files_that_are_what_they_are_called(finished: Folders) -> None:
    result = call("inspect", finished.run, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0 and found["intact"] is True
    files = [f for step in found["steps"] for f in step["files"].values()]
    assert len(files) > 2 * STEPS
    for file in files:
        assert file["intact"] and digest(Path(file["path"]).read_bytes()) == file["sha256"]


def test_inspect_says_what_is_damaged(own: Folders) -> None:
    found = json.loads(call("inspect", own.run, "--store", own.store, "--json").stdout)
    (generated,) = [s for s in found["steps"] if (s["stage"], s["name"]) == ("generate", "c")]
    path = generated["files"]["mesh"]["path"]
    Path(path).unlink()
    result = call("inspect", own.run, "--store", own.store)
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"damaged or missing: generate c mesh ({path})")


def test_a_relative_store_is_found_from_anywhere(
    finished: Folders, small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.store.parent)
    options = [*small_photo.options(), "--store", finished.store.name, "-o", tmp_path / "run"]
    assert call("run", *options).exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert call("inspect", tmp_path / "run").exit_code == 0


def test_doctor(tmp_path: Path) -> None:
    result = call("doctor", "--store", tmp_path / "store")
    assert result.exit_code == 0
    assert "runs here" in result.stdout and "prefect" in result.stdout
    assert not (tmp_path / "store").exists()


def test_doctor_prints_json(tmp_path: Path) -> None:
    found = json.loads(call("doctor", "--store", tmp_path, "--json").stdout)
    assert found["profiles"]["lite"]["runs"] is True
    assert found["store"]["writable"] is True
    assert all(e["version"] or e["remedy"] for e in found["libraries"].values())


def test_a_lost_object_gives_status_1(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    depth = np.load(small_photo.depth)
    depth[small_masks()["c"]] = np.nan
    np.save(tmp_path / "depth.npy", depth)
    options = [*small_photo.options(), "--pointmap", tmp_path / "depth.npy"]
    result = call("run", *options, "--store", tmp_path / "store", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert "c  FAILED: generate: the point map has no depth on this object" in result.stdout
    assert (tmp_path / "run" / "scene.glb").exists()
    found = json.loads((tmp_path / "run" / "scene.json").read_text("utf-8"))["objects"]
    assert [o["failure"] is None for o in found] == [True, True, False]
    assert [o["fit"] is None for o in found] == [False, False, True]
    assert call("inspect", tmp_path / "run").exit_code == 0


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, finished: Folders) -> Path:
    """A folder of files that no run can use."""
    folder = tmp_path_factory.mktemp("bad")
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "camera.json").write_text('{"width": 240, "height": 180, "K": [1, 2]}')
    (folder / "broken.json").write_text("{")
    (folder / "broken.yaml").write_text("segment: [")
    (folder / "broken_run").mkdir()
    (folder / "broken_run" / "run.json").write_text('{"format": "photoscene-run/1"}')
    (folder / "stages.yaml").write_text("segment:\n  backend: masks\n")
    write_mask(folder / "blank.png", np.zeros((HEIGHT, WIDTH), bool))
    write_mask(folder / "small.png", np.ones((HEIGHT // 2, WIDTH), bool))
    np.save(folder / "wide.npy", np.ones((HEIGHT // 2, WIDTH)))
    np.save(folder / "unknown.npy", np.full((HEIGHT, WIDTH), np.nan))
    return folder


# What is typed after `photoscene`, and what its one line says; nothing is computed for these.
REFUSED = {
    "missing photo": ("run {bad}/none.jpg", "photo {bad}/none.jpg does not exist"),
    "folder as photo": ("run {bad}", "photo {bad} is a folder"),
    "device as photo": ("run /dev/null", "photo /dev/null is not a regular file"),
    "empty photo": ("run {bad}/empty.jpg", "the photo is empty"),
    "text as photo": ("run {bad}/text.jpg", "the photo is not a picture in a known format"),
    "truncated photo": ("run {bad}/cut.jpg", "the photo is damaged"),
    "missing mask": ("run {photo} --mask {bad}/none.png", "--mask {bad}/none.png does not exist"),
    "mask and box": ("run {photo} --mask {a} --box 1,1,9,9", "--mask gives the objects already"),
    "inverted box": ("run {photo} --box 50,10,20,40", "--box 50,10,20,40: expected X0 < X1"),
    "box of words": ("run {photo} --box a,b,c,d", "--box 'a,b,c,d': expected X0,Y0,X1,Y1"),
    "short point": ("run {photo} --point 7", "--point '7': expected X,Y in pixels"),
    "endless point": ("run {photo} --point nan,7", "--point 'nan,7': expected X,Y in pixels"),
    "broken prompts": ("run {photo} --prompts {bad}/broken.json", "is not JSON"),
    "other prompts": ("run {photo} --prompts {bad}/camera.json", "--prompts {bad}/camera.json"),
    "unknown profile": ("run {photo} --profile none", "unknown profile 'none'"),
    "broken profile": ("run {photo} --profile {bad}/broken.yaml", "profile {bad}/broken.yaml: "),
    "short profile": ("run {photo} --profile {bad}/stages.yaml", "no entry for map_points"),
    "unknown stage": ("run {photo} --set generat.grid=9", "did you mean generate?"),
    "unknown setting": ("run {photo} --set generate.gird=9", "did you mean grid?"),
    "unknown backend": ("run {photo} --set generate.backend=magic", "unknown backend 'magic'"),
    "wrong type": ("run {photo} --set generate.grid=fine", "generate.grid: expected int"),
    "no value": ("run {photo} --set generate.grid", "expected STAGE.NAME=VALUE"),
    "broken camera": ("run {photo} --camera {bad}/broken.json", "is not JSON"),
    "other camera": ("run {photo} --camera {bad}/camera.json", "expected {{\"width\""),
    "two cameras": ("run {photo} --camera {bad}/camera.json --fov 50", "give one of them"),
    "no field of view": ("run {photo} --fov 0", "--fov 0: expected 1 to 170 degrees"),
    "endless field of view": ("run {photo} --fov nan", "--fov nan: expected 1 to 170 degrees"),
    "unknown last stage": ("run {photo} --until end", "unknown stage 'end'"),
    "unknown refresh": ("run {photo} --refresh all", "unknown stage 'all'"),
    "store by URL": ("run {photo} --store s3://here", "only folders are supported"),
    "no run": ("rerun {bad} --object 1", "{bad} is not a run folder"),
    "no run to inspect": ("inspect {bad}/none", "{bad}/none is not a run folder"),
    "damaged run": ("inspect {bad}/broken_run", "is damaged"),
    "no such object": ("rerun {run} --object 9", "--object 9: the run has 1 (a), 2 (b), 3 (c)"),
    "no such chain": ("rerun {run} --object 1 --from place", "expected complete or generate"),
    "rerun of a stage": ("rerun {run} --object 1 --set place.truncation=0.2", "has settings of"),
}  # fmt: skip
# These are found by a step, so lines of earlier steps come first.
UNFIT = {
    "mask of another size": ("--mask {bad}/small.png", "mask 1 (small) is 240 x 90"),
    "blank mask": ("--mask {bad}/blank.png", "mask 1 (blank) is empty: only 0 pixels"),
    "same mask twice": ("--mask {a} --mask {a}", "is empty: covered by other masks"),
    "box outside": ("--pointmap {depth} --box 900,900,950,950", "prompt 1: box"),
    "depth of another shape": ("--mask {a} --pointmap {bad}/wide.npy", "the shapes differ"),
    "unknown depth": ("--mask {a} --pointmap {bad}/unknown.npy", "has no usable depth"),
}


def typed(line: str, bad: Path, photo: SmallPhoto, finished: Folders) -> list[str]:
    """The words of a command line, with the paths filled in."""
    places = {"bad": bad, "photo": photo.photo, "a": photo.masks["a"], "depth": photo.depth,
              "run": finished.run}  # fmt: skip
    return [word.format(**places) for word in line.split()]


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_line(
    name: str,
    bad: Path,
    small_photo: SmallPhoto,
    finished: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, told = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOTOSCENE_STORE", str(tmp_path / "store"))
    result = call(*typed(line, bad, small_photo, finished))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (message,) = result.stderr.splitlines()
    assert message.startswith("photoscene: ")
    assert told.format(bad=bad) in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", UNFIT)
def test_files_that_do_not_fit_the_photo_are_refused_before_anything_runs(
    name: str, bad: Path, small_photo: SmallPhoto, finished: Folders, tmp_path: Path
) -> None:
    line, told = UNFIT[name]
    options = [small_photo.photo, *typed(line, bad, small_photo, finished)]
    result = call("run", *options, "--store", tmp_path / "store", "-o", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (message,) = result.stderr.splitlines()
    assert message.startswith("photoscene: ") and told in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["-o", "--store"])
def test_an_impossible_folder_is_the_environments_fault(
    option: str, small_photo: SmallPhoto, finished: Folders, bad: Path, tmp_path: Path
) -> None:
    below_a_file = bad / "text.jpg" / "folder"
    folders = {"-o": tmp_path / "run", "--store": finished.store, option: below_a_file}
    options = [part for pair in folders.items() for part in pair]
    result = call("run", *small_photo.options(), *options)
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("photoscene: Not a directory")
    assert "Traceback" not in result.stderr


def test_the_installed_command_reports_like_the_tests_say(tmp_path: Path) -> None:
    ran = subprocess.run(
        [PHOTOSCENE, "run", tmp_path / "none.jpg"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == f"photoscene: photo {tmp_path}/none.jpg does not exist\n"
