"""Does a run folder that an older version wrote still serve, with the files it was made from?

`tests/data/run_folder.zip` has a photo, its prompt files and profile, the folder and the store of
a run, and what `inspect` answered about them when they were made.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photoscene.runs.folder import read_run
from photoscene.runs.record import encode_record
from support import DATA
from support.run_folders import contents
from support.small_photo import call

pytestmark = pytest.mark.usefixtures("inline_runs")
STORE_THEN = "/tmp/photoscene-store"  # what run.json calls the store
TOLERANCE = 0.05  # of scale and distance, where a later version places a little differently


@dataclass(frozen=True)
class OldRun:
    """The unpacked files; it is the working directory."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def answer(self, name: str) -> str:
        """What an older version answered, with today's store."""
        text = (self.folder / "answers" / name).read_text("utf-8")
        return text.replace(STORE_THEN, str(self.store))

    def objects(self) -> list[dict[str, Any]]:
        """Name, and size and range of the centre of every object of scene.json."""
        scene = json.loads((self.folder / "run" / "scene.json").read_text("utf-8"))
        return [{"name": o["name"], **o["fit"]} for o in scene["objects"]]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OldRun:
    with zipfile.ZipFile(DATA / "run_folder.zip") as packed:
        packed.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return OldRun(tmp_path)


def done(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def same_places(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    return [o["name"] for o in before] == [o["name"] for o in after] and all(
        o[figure] == pytest.approx(p[figure], rel=TOLERANCE)
        for o, p in zip(before, after, strict=True)
        for figure in ("scale", "distance")
    )


def test_it_is_inspected_and_compared_as_ever(old: OldRun) -> None:
    assert done("inspect", "run", "--store", old.store) == old.answer("inspect.txt")
    assert done("inspect", "run", "--store", old.store, "--json") == old.answer("inspect.json")
    assert done("inspect", "run", "--diff", "other") == old.answer("diff.txt")
    assert done("inspect", "run", "--diff", "other", "--json") == old.answer("diff.json")


def test_its_record_is_written_as_it_was_read(old: OldRun) -> None:
    path = old.folder / "run" / "run.json"
    assert encode_record(read_run(path.parent).record) == path.read_bytes()


def test_its_report_is_written_again_and_nothing_else(old: OldRun) -> None:
    before = contents(old.folder / "run")
    done("inspect", "run", "--html", "--store", old.store)
    changed = {n for n, sha256 in contents(old.folder / "run").items() if before.get(n) != sha256}
    assert changed <= {"report.html", "run.json"}
    page = (old.folder / "run" / "report.html").read_text("utf-8")
    assert all(text in page for text in ("photo.png", ">box<", ">egg<", "pixel_aligned", "tiny"))


def test_it_is_run_again(old: OldRun) -> None:
    before = old.objects()
    done("rerun", "run", "--object", "egg", "--set", "generate.grid=12", "--store", old.store)
    assert same_places(before, old.objects())
    steps = json.loads(done("inspect", "run", "--stage", "generate", "--json",
                            "--store", old.store))["steps"]  # fmt: skip
    assert [(s["name"], s["settings"].get("grid")) for s in steps] == [("box", 16), ("egg", 12)]
    assert steps[1]["why"].startswith("grid 16 -> 12") or "version" in steps[1]["why"]


def test_its_edits_are_found(old: OldRun) -> None:
    path = old.folder / "run" / "objects" / "01_box" / "completion.png"
    rgba = np.asarray(Image.open(path)).copy()
    rgba[rgba[..., 3] > 127, :3] = (250, 10, 200)
    Image.fromarray(rgba).save(path)
    edited = path.read_bytes()
    result = call("rerun", "run", "--edited", "--store", old.store)
    assert result.exit_code == 0, result.output
    assert "box: completion edited" in result.stderr and path.read_bytes() == edited
    record = json.loads((old.folder / "run" / "run.json").read_text("utf-8"))
    assert [s["why"] for s in record["steps"] if s["stage"] == "complete"][0] == "edited by hand"


@pytest.mark.parametrize("prompts", ["prompts.json", "saved.prompts.json"])
def test_the_same_command_renews_it_and_keeps_what_is_not_its_own(
    prompts: str, old: OldRun
) -> None:
    before, run = old.objects(), old.folder / "run"
    (run / "notes.txt").write_text("mine")
    (run / "overlay.png").write_bytes(b"mine, too")
    result = call("run", "photo.png", "--prompts", prompts, "--profile", "tiny.yaml",
                  "--fov", "55", "--store", old.store, "-o", "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "overlay.png is not as a run wrote it: kept as overlay.edited.png" in result.stderr
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "overlay.edited.png").read_bytes() == b"mine, too"
    assert sorted(p.name for p in (run / "objects").iterdir()) == [
        f"{i:02d}_{o['name']}" for i, o in enumerate(old.objects(), 1)
    ]
    assert len(before) == len(old.objects()) == 2
    if prompts == "prompts.json":
        assert same_places(before, old.objects())
