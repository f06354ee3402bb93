"""Does the command line do what it says, and refuse what it cannot do in one clear line?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.small_photo import GRID, SmallPhoto, call, small_masks

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
HELP_NEEDS = {"photoscene", "scene", "typer", "annotated_doc", "shellingham"}
MAX_MODULES_FOR_HELP = 300
STEPS = 15  # of three objects


@dataclass(frozen=True)
class Folders:
    """A finished run of the small photo and its store."""

    run: Path
    store: Path


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
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
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
    """It loads what reads the command line, and nothing of what reconstructs.

    The seconds are measured by `python -m benchmarks.waiting`.
    """
    code = (
        "import sys\nfrom photoscene.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage:")
    modules = done.stderr.split()
    outside = {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names)
    assert {m for m in outside if not m.startswith("_")} <= HELP_NEEDS
    assert len(modules) < MAX_MODULES_FOR_HELP


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
    for o in told["objects"]:
        assert o["failure"] is None and o["grade"] == "good" and o["warnings"] == []
        assert o["silhouette_iou"] > 0.9 and 0 <= o["depth_error"] < 0.05
        assert abs(o["perspective"] - 1) < 0.1 and o["support"] in ("", "plane", "object 1")
    for path in finished.run.rglob("*"):
        if path.is_file() and path.name not in ("run.json", "report.html"):
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
    assert call("inspect", tmp_path / "run").exit_code == 0
    refused = call("rerun", tmp_path / "run", "--object", "1")
    assert refused.exit_code == 2 and "stopped after segment" in refused.stderr


def test_rerun_of_one_object(own: Folders, prefect_server: str) -> None:
    result = call("rerun", own.run, "--object", 2, "--from", "generate", "--store", own.store)
    assert result.exit_code == 0, result.stderr
    assert f"1 of {STEPS} steps computed" in result.stdout
    steps = json.loads((own.run / "run.json").read_text("utf-8"))["steps"]
    computed = [(s["stage"], s["name"], s["why"]) for s in steps if s["computed"]]
    assert computed == [("generate", "b", "asked for again, or its stored result was lost")]


def test_reruns_add_up(own: Folders, prefect_server: str) -> None:
    rerun = ["rerun", own.run, "--object", "b", "--store", own.store]
    for setting in ("complete.radius_px=9", "generate.picture_px=96"):
        result = call(*rerun, "--set", setting)
        assert result.exit_code == 0, result.stderr
    steps = json.loads((own.run / "run.json").read_text("utf-8"))["steps"]
    settings = {s["stage"]: s["settings"] for s in steps if s["name"] == "b"}
    assert settings["complete"]["radius_px"] == 9
    assert settings["generate"]["picture_px"] == 96 and settings["generate"]["grid"] == 32


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


@pytest.mark.slow
def test_a_lost_object_gives_status_1(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    depth = np.load(small_photo.depth)
    depth[small_masks()["c"]] = np.nan
    np.save(tmp_path / "depth.npy", depth)
    options = [*small_photo.options(), "--pointmap", tmp_path / "depth.npy"]
    options += ["--set", "generate.backend=relief"]  # which cannot do without depth
    result = call("run", *options, "--store", tmp_path / "store", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert "  3  c  FAILED\n" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("FAILED 3 c: generate: the point map has no depth on this object")
    assert (tmp_path / "run" / "scene.glb").exists()
    found = json.loads((tmp_path / "run" / "scene.json").read_text("utf-8"))["objects"]
    assert [o["failure"] is None for o in found] == [True, True, False]
    assert [o["fit"] is None for o in found] == [False, False, True]
    assert call("inspect", tmp_path / "run").exit_code == 0


@pytest.mark.slow
def test_placements_to_check_and_failed_ones_are_listed(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    """Noise of 5 % leaves about half of b's depths within 3 %, of 20 % less than 30 % of c's."""
    depth, noise = np.load(small_photo.depth), np.random.default_rng(0)
    for name, sigma in {"b": 0.05, "c": 0.2}.items():
        mask = small_masks()[name]
        depth[mask] *= np.exp(noise.normal(0, sigma, mask.sum()))
    np.save(tmp_path / "depth.npy", depth)
    options = [*small_photo.options(), "--pointmap", tmp_path / "depth.npy"]
    options += ["--set", "place.truncation=0.03", "--store", tmp_path / "store"]
    # Smooths such noise as no network was shown; another backend has settings of its own.
    options += ["--set", "generate.backend=relief", "--set", f"generate.grid={GRID}"]
    result = call("run", *options, "-o", tmp_path / "run")
    assert result.exit_code == 1, result.stderr
    a, b, c = (line for line in result.stdout.splitlines() if "  distance " in line)
    assert a.startswith("  1  a  distance") and a.endswith("outline 1.00")
    assert b.endswith("outline 1.00  check") and c.endswith("outline 1.00  FAILED")
    doubtful, failed = result.stdout.splitlines()[-2:]
    assert doubtful.startswith("check 2 b: ") and "of the depths disagree" in doubtful
    assert failed.startswith("FAILED 3 c: ") and "of the depths disagree" in failed
    told = json.loads(call("run", *options, "-o", tmp_path / "run", "--json").stdout)
    assert told["status"] == 1 and told["steps_computed"] == 0
    assert [o["grade"] for o in told["objects"]] == ["good", "check", "failed"]
    assert [bool(o["warnings"]) for o in told["objects"]] == [False, True, True]
    assert all(o["failure"] is None for o in told["objects"])  # they stand in the scene
    glb = (tmp_path / "run" / "scene.glb").read_bytes()
    tree = json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])  # its first chunk
    extras = {node["name"]: node.get("extras", {}) for node in tree["nodes"]}
    assert [extras[name]["grade"] for name in "abc"] == ["good", "check", "failed"]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "3 of 3 objects placed, 1 object failed, 1 to check" in page


def test_the_installed_command_reports_like_the_tests_say(tmp_path: Path) -> None:
    ran = subprocess.run(
        [PHOTOSCENE, "run", tmp_path / "none.jpg"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == f"photoscene: photo {tmp_path}/none.jpg does not exist: check the name\n"
