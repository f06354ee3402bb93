"""Is nothing lost that a run did not write, or that was changed since, whatever a folder holds?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from photoscene.runs.folder import read_run
from photoscene.runs.ownership import owned_files, unchecked_record
from photoscene.runs.record import sealed
from photoscene.runs.transaction import finish_interrupted
from photoscene.runs.writing import write_page
from scene.errors import BadInput
from scene.keys import digest
from scene.store import Store
from support.run_folders import KILLED, Ready, contents, dying_at, in_a_child
from support.small_photo import SmallPhoto, call

CASES, EVERY_DAY = 300, 8  # random cases; how many of them the default suite has
WHOLE = 10  # of them, through the whole command
MOMENTS = 300  # changes of the disk at which a run is killed: more than one has


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return Ready(Store(tmp_path_factory.mktemp("ready") / "store"))


def rng_of(case: int) -> np.random.Generator:
    return np.random.default_rng([18, case])


class Case:
    """A folder with runs of the tool and work of a person in it, and what that person owns."""

    def __init__(self, ready: Ready | Command, folder: Path, rng: np.random.Generator) -> None:
        self.ready, self.rng = ready, rng
        self.folder, self.outside = folder / "run", folder / "outside"
        self.outside.mkdir(parents=True)
        (self.outside / "deep").mkdir()
        for name in ("mask.png", "photo.jpg", "deep/scene.glb"):
            (self.outside / name).write_bytes(f"mine {name}".encode())
        if rng.random() < 0.8:
            self.run()
        elif rng.random() < 0.7:
            self.folder.mkdir()
        self.written = self.present()
        for _ in range(int(rng.integers(0, 7))):
            self.meddle()
        self.inputs = self.chosen_inputs()
        now = self.present()
        # A person's are all files that no run wrote, or not like that.
        self.own = {name: is_now for name, is_now in now.items()
                    if self.written.get(name) != is_now and is_now != "/"}  # fmt: skip

    def present(self) -> dict[str, str]:
        return contents(self.folder) if self.folder.exists() else {}

    def run(self, seed: int | None = None) -> list[str]:
        rng = self.rng if seed is None else np.random.default_rng(seed)
        until = str(rng.choice(["compose", "compose", "complete", "segment"]))
        inputs = getattr(self, "inputs", [])
        scene: Any = self.ready.scene(rng, until)
        return self.ready.write(self.folder, scene, until, inputs)

    def meddle(self) -> None:
        """One thing that people do in folders."""
        rng = self.rng
        files = [n for n, is_now in self.present().items() if is_now != "/"]
        known = ["scene.glb", "photo.png", "point_map.npz", "overlay.png", "report.html",
                 "scene.json", "masks.png", "objects/01_cup_0/mask.png", "objects/shoe/mask.png",
                 "objects/shoe/work.blend", "objects/01_b_0/work.xcf", "objects/02_cup_1",
                 "notes/scene.glb", "mask.edited.png", "objects"]  # fmt: skip
        name = str(rng.choice(files if files and rng.random() < 0.6 else known))
        path = self.folder / name
        kind = rng.integers(8)
        if self.is_reached_by_a_link(path):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == 0 and path.is_file():
                path.unlink()
            elif kind == 1:
                self.set(path, lambda: path.symlink_to(self.outside / "deep" / "scene.glb"))
            elif kind == 2 and path.parent != self.folder and not path.parent.exists():
                path.parent.symlink_to(self.outside / "deep")
            elif kind == 3:
                self.set(path, lambda: os.link(self.outside / "mask.png", path))
            elif kind == 4 and path.is_file():  # saved under another name beside it
                shutil.copy(path, path.with_suffix(".edited.png"))
            elif kind == 5 and path.is_dir() and not path.is_symlink():
                path.rename(self.folder / "moved")
                path.symlink_to(self.folder / "moved")
            elif path.is_dir():
                (path / "work.blend").write_bytes(b"a person's file")
            else:
                self.set(path, lambda: path.write_bytes(rng.bytes(9)))
        except (FileExistsError, NotADirectoryError):
            return  # there is a file where a folder would be

    def set(self, path: Path, make) -> None:  # noqa: ANN001
        if path.is_dir() and not path.is_symlink():
            return
        path.unlink(missing_ok=True)
        make()

    def is_reached_by_a_link(self, path: Path) -> bool:
        return any(p.is_symlink() for p in path.parents if self.folder in p.parents)

    def chosen_inputs(self) -> list[Path]:
        rng, inputs = self.rng, []
        files = [self.folder / n for n, is_now in self.present().items() if is_now != "/"]
        files = [f for f in files if self.ready.can_read(f)]
        if files and rng.random() < 0.5:
            chosen = files[rng.integers(len(files))]
            spelled = [chosen, chosen.parent / "." / chosen.name, Path(os.path.relpath(chosen))]
            inputs.append(spelled[rng.integers(len(spelled))])
            if rng.random() < 0.4:
                link = self.outside / "link.png"
                link.symlink_to(chosen)
                inputs.append(link)
        return inputs

    def assert_nothing_is_lost(self, outside: dict[str, str], inputs: dict[Path, bytes]) -> None:
        left = Counter(self.present().values())
        lost = Counter(self.own.values()) - left
        assert not lost, (lost, self.own, self.present())
        assert contents(self.outside) == outside
        assert {p: p.read_bytes() for p in inputs} == inputs


def new_case(ready: Ready | Command, folder: Path, number: int) -> tuple[Case, dict, dict]:
    case = Case(ready, folder, rng_of(number))
    return case, contents(case.outside), {p: p.read_bytes() for p in case.inputs}


def try_case(ready: Ready | Command, folder: Path, number: int) -> bool:
    """Run in a folder that a person worked in; whether it was refused."""
    case, outside, inputs = new_case(ready, folder, number)
    before, record = case.present(), unchecked_record(case.folder)
    refused = False
    try:
        said = case.run()
    except BadInput:
        refused, said = True, []
    case.assert_nothing_is_lost(outside, inputs)
    after = case.present()
    if refused:
        assert after == before
        return True
    renamed = [name for name in after if ".edited" in name and name not in before]
    assert len(said) >= len(renamed)
    for name, sha256 in read_run(case.folder).record.files.items():
        assert after[name] == sha256, (name, record)
    # What is there still of the earlier run's own is in the new record, or went.
    stale = {n for n, is_now in case.written.items() if after.get(n) == is_now != "/"}
    assert stale <= {*read_run(case.folder).record.files, "run.json"} | set(case.own), stale
    return False


class Command:
    """The same through the whole command: what is a scene there is a choice of masks here."""

    def __init__(self, photo: SmallPhoto, store: Path) -> None:
        self.photo, self.store = photo, store

    def can_read(self, path: Path) -> bool:
        """Whether a file may be a mask of the photo."""
        if path.name != "mask.png" or not path.is_file():
            return False
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        return pixels is not None and (pixels > 127).sum() > 500

    def scene(self, rng: np.random.Generator, until: str) -> list[Path]:
        names = rng.choice(list("abc"), rng.integers(1, 4), replace=False)
        return [self.photo.masks[name] for name in names]

    def write(
        self, folder: Path, scene: list[Path], until: str, inputs: Sequence[Path]
    ) -> list[str]:
        masks = [part for mask in inputs[-1:] or scene for part in ("--mask", mask)]
        options = ["--pointmap", self.photo.depth, "--fov", "55", "--set", "generate.grid=16"]
        where = ["--until", until, "--store", self.store, "-o", folder]
        result = call("run", self.photo.photo, *masks, *options, *where)
        if result.exit_code == 2:
            raise BadInput(result.stderr)
        assert result.exit_code in (0, 1), result.output
        return [line for line in result.stderr.splitlines() if line.startswith("photoscene: ")]


@pytest.mark.slow
def test_what_a_person_made_is_kept_by_the_whole_command(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    command = Command(small_photo, tmp_path / "store")
    refused = [try_case(command, tmp_path / str(n), n) for n in range(WHOLE)]
    assert 0 < sum(refused) < WHOLE / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "folders", [("same", "same"), pytest.param(("one", "another"), marks=pytest.mark.long)]
)
def test_two_runs_of_one_photo_at_once_both_succeed(
    folders: tuple[str, str], small_photo: SmallPhoto, tmp_path: Path
) -> None:
    command = [Path(sys.executable).with_name("photoscene"), "run", *small_photo.options()]
    command += ["--store", tmp_path / "store", "-o"]
    running = [
        subprocess.Popen(
            [*command, tmp_path / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in folders
    ]
    for run in running:
        _, errors = run.communicate(timeout=600)
        assert run.returncode == 0 and b"edited" not in errors, errors
    made = [contents(tmp_path / name) for name in folders]
    for name, sha256 in made[0].items():
        assert name in ("run.json", "report.html") or made[1][name] == sha256
    assert not [name for name in made[1] if ".edited" in name or ".writing" in name]
    assert Store(tmp_path / "store").verify() == []


@pytest.mark.parametrize("number", range(EVERY_DAY))
def test_what_a_person_made_is_kept(number: int, ready: Ready, tmp_path: Path) -> None:
    try_case(ready, tmp_path, number)


@pytest.mark.slow
def test_what_a_person_made_is_kept_in_all_cases(ready: Ready, tmp_path: Path) -> None:
    refused = sum(try_case(ready, tmp_path / str(n), n) for n in range(CASES))
    assert CASES * 0.1 < refused < CASES * 0.7


def kill_at_every_moment(ready: Ready, folder: Path, number: int, step: int = 1) -> int:
    """Kill a run before every step-th change of the disk, then run again; when it was done."""
    case, outside, inputs = new_case(ready, folder / "done", number)
    before = case.present()
    seed = 1000 + number
    try:
        case.run(seed)
    except BadInput:
        return 0
    wanted = {n: s for n, s in case.present().items() if n != "run.json"}
    for moment in range(0, MOMENTS, step):
        again, outside, inputs = new_case(ready, folder / str(moment), number)
        assert {n: s for n, s in again.present().items() if not s.startswith("->")}.keys() <= (
            before.keys()
        )

        def act(again: Case = again, moment: int = moment) -> None:
            with dying_at(moment):
                again.run(seed)

        status = in_a_child(act)
        assert status in (0, KILLED)
        again.assert_nothing_is_lost(outside, inputs)
        if not list(again.folder.glob(".writing-*/plan.json")) and status:
            staged = {n for n in again.present() if n.startswith(".writing-")}
            left = {n: s for n, s in again.present().items() if n not in staged}
            old = {n: s for n, s in again.written.items() if before.get(n) == s}
            done = left.keys() - {"run.json"} == wanted.keys()
            assert done or all(left.get(n) == s for n, s in old.items())
        again.run(seed)
        again.assert_nothing_is_lost(outside, inputs)
        assert not list(again.folder.glob(".writing-*"))
        after = {n: s for n, s in again.present().items() if n != "run.json"}
        assert after.keys() == wanted.keys()
        if status == 0:
            return moment
    raise AssertionError(f"more than {MOMENTS} changes")


def test_a_killed_run_loses_nothing_and_is_finished(ready: Ready, tmp_path: Path) -> None:
    assert kill_at_every_moment(ready, tmp_path, 1, step=11) > 30


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_run_loses_nothing_in_many_cases(ready: Ready, tmp_path: Path) -> None:
    assert sum(kill_at_every_moment(ready, tmp_path / str(n), n) for n in range(3)) > 100


def test_two_at_once_both_succeed(ready: Ready, tmp_path: Path) -> None:
    scene = ready.scene(rng_of(7))

    def write(number: int) -> list[str]:
        folder = tmp_path / ("same" if number < 6 else str(number))
        return ready.write(folder, scene, "compose", [])

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(write, range(8))] == [[]] * 8
    wanted = {n: s for n, s in contents(tmp_path / "6").items() if n != "run.json"}
    assert {n: s for n, s in contents(tmp_path / "same").items() if n != "run.json"} == wanted
    assert ready.write(tmp_path / "same", scene, "compose", []) == []


def written(ready: Ready, folder: Path, case: int = 7) -> Path:
    """A folder with a run in it."""
    ready.write(folder, ready.scene(rng_of(case)), "compose", [])
    return folder


def test_an_older_record_owns_what_its_steps_made(ready: Ready, tmp_path: Path) -> None:
    """And nothing else: its scene.json, report and record may have been changed."""
    folder = written(ready, tmp_path / "run")
    before = contents(folder)
    record = unchecked_record(folder) or {}
    older = json.dumps({k: v for k, v in record.items() if k not in ("files", "seal")}).encode()
    (folder / "run.json").write_bytes(older)
    (folder / "overlay.png").write_bytes(b"painted over")
    said = ready.write(folder, ready.scene(rng_of(8)), "compose", [])
    kept = {n: s for n, s in contents(folder).items() if ".edited" in n}
    assert kept == {
        "overlay.edited.png": digest(b"painted over"), "run.edited.json": digest(older),
        "scene.edited.json": before["scene.json"], "report.edited.html": before["report.html"],
    }  # fmt: skip
    assert len(said) == 4 and all("kept as" in line for line in said)


def test_a_changed_record_is_kept(ready: Ready, tmp_path: Path) -> None:
    folder = written(ready, tmp_path / "run")
    record = unchecked_record(folder) or {}
    changed = json.dumps({**record, "photo_name": "my words"}, indent=1, sort_keys=True).encode()
    (folder / "run.json").write_bytes(changed)
    ready.write(folder, ready.scene(rng_of(8)), "compose", [])
    assert (folder / "run.edited.json").read_bytes() == changed
    assert not list(folder.glob("*.edited.*.json")) and not (folder / "scene.edited.glb").exists()


@pytest.mark.parametrize(
    ("name", "data"),
    [("run.json", b"{}"), ("run.json", b'{"format": "x"'), ("run.json", b'{"format": "other/1"}'),
     ("scene.glb", b"mine"), ("photo.png", b"mine"), ("point_map.npz", b"mine"),
     ("report.html", b"mine"), ("objects/shoe/work.blend", b"mine"), ("objects", b"mine")],
)  # fmt: skip
def test_a_folder_of_somebody_is_refused(
    name: str, data: bytes, ready: Ready, tmp_path: Path
) -> None:
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    before = contents(tmp_path / "mine")
    with pytest.raises(BadInput, match="give another -o"):
        ready.write(tmp_path / "mine", ready.scene(rng_of(7)), "compose", [])
    assert contents(tmp_path / "mine") == before


def test_another_page_leaves_everything_else(ready: Ready, tmp_path: Path) -> None:
    folder = written(ready, tmp_path / "run")
    (folder / "overlay.png").write_bytes(b"painted over")
    before = contents(folder)
    assert write_page(read_run(folder), "report.html", b"a new page") == []
    after = contents(folder)
    assert {n for n in after if after[n] != before[n]} == {"report.html", "run.json"}
    (folder / "report.html").write_bytes(b"with remarks")
    (line,) = write_page(read_run(folder), "report.html", b"a new page")
    assert line.endswith("report.html is not as a run wrote it: kept as report.edited.html")
    assert (folder / "report.edited.html").read_bytes() == b"with remarks"


def test_names_that_differ_by_case_only_are_one_file_there(ready: Ready, tmp_path: Path) -> None:
    """A listed name that is a new file's in other letters, as on a disk that ignores case."""
    folder = written(ready, tmp_path / "run")
    os.link(folder / "scene.glb", folder / "Scene.glb")
    record = {k: v for k, v in (unchecked_record(folder) or {}).items() if k != "seal"}
    record["files"]["Scene.glb"] = record["files"]["scene.glb"]
    (folder / "run.json").write_bytes(sealed(record))
    ready.write(folder, ready.scene(rng_of(7)), "compose", [])
    assert (folder / "Scene.glb").exists() and (folder / "scene.glb").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a\0b"])
def test_a_record_owns_nothing_outside_its_folder(name: str, ready: Ready, tmp_path: Path) -> None:
    folder = written(ready, tmp_path / "run")
    record = {k: v for k, v in (unchecked_record(folder) or {}).items() if k != "seal"}
    (folder / "run.json").write_text(
        json.dumps({**record, "files": {name: digest(b"x"), "report.html": digest(b"x")}})
    )
    assert set(owned_files(folder)) == {"report.html"}


@pytest.mark.parametrize("name", ["../mine.txt", "/etc/mine", "objects/../../mine.txt", "", 3])
def test_a_plan_that_leads_out_of_its_folder_is_refused(name: Any, tmp_path: Path) -> None:
    """A folder from elsewhere may hold a write that was left half done."""
    staging = tmp_path / "run" / f".writing-{'0' * 32}"
    staging.mkdir(parents=True)
    (tmp_path / "mine.txt").write_text("mine")
    (staging / "000000").write_text("theirs")
    plan = {"files": {}, "staged": {"000000": name}, "present": [], "gone": []}
    (staging / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(BadInput, match="no plan of an interrupted run"):
        finish_interrupted(tmp_path / "run")
    assert (tmp_path / "mine.txt").read_text() == "mine" and (staging / "000000").exists()
