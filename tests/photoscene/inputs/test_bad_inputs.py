"""Does every bad input get its documented answer: one line, the exit status, and nothing lost?"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows.request import prompt_from_json
from photoscene.cli.errors import printable
from photoscene.runs.folder import default_folder
from scene.errors import BadInput
from scene.images import decode_photo
from scene.keys import digest
from scene.masks import decode_mask
from scene.types import DepthFile, Photo
from stages import map_points
from stages.map_points.file import Settings, load
from support import ROOT
from support.corpus import Bad, bad_inputs, build, encoded, good_images, with_catalogue
from support.small_photo import SmallPhoto, call, small_depth, small_masks, small_rgb

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
ENVIRONMENT = {bad.name: bad for bad in bad_inputs("environment")}
REFUSED = [bad for bad in bad_inputs() if bad.group != "environment"]
FOLDERS = [b for name, b in ENVIRONMENT.items() if re.match("run f|file as|store", name)]
Places = dict[str, object]


@pytest.fixture(scope="module")
def places(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Places:
    """Every file of the corpus, and a run to name; what {names} in the corpus stand for."""
    folder = tmp_path_factory.mktemp("bad")
    found = build(folder, small_rgb(small_masks()), small_masks())
    run, record = folder / "run", folder / "noscene" / "run.json"
    options = [*small_photo.options(), "--until", "segment", "--store", folder / "store"]
    assert call("run", *options, "-o", run).exit_code == 0
    record.parent.mkdir()
    record.write_bytes((run / "run.json").read_bytes())
    found |= {"photo": small_photo.photo, "depth": small_photo.depth, "run": run}
    return {**found, "a": small_photo.masks["a"], "noscene": record.parent}


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the store in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOTOSCENE_STORE", str(tmp_path / "store"))
    return tmp_path


def check(bad: Bad, places: Places, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a bad input here: one line and the status, nothing else said, not even from C."""
    capfd.readouterr()
    result = call(*bad.words(places))
    assert result.exit_code == bad.status, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert bad.answers(line, places), line
    assert line.isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", REFUSED, ids=lambda b: f"{b.group}: {b.name}")
def test_bad_input_is_refused_in_one_line(
    bad: Bad, places: Places, away: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(bad, places, capfd)
    assert not (away / "runs").exists()
    assert not Path("/tmp/owned").exists()  # what the pickled and the YAML code would make


@pytest.mark.parametrize("bad", FOLDERS, ids=lambda b: b.name)
def test_an_impossible_folder_is_the_environments_fault(
    bad: Bad, places: Places, away: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(bad, places, capfd)


def test_the_corpus_is_large_and_its_names_differ() -> None:
    cases = bad_inputs()
    assert len(cases) >= 110
    assert len({(b.group, b.name) for b in cases}) == len({b.line + b.told for b in cases})


def test_the_page_of_bad_inputs_is_up_to_date() -> None:
    page = (ROOT / "docs" / "bad_inputs.md").read_text("utf-8")
    command = "PYTHONPATH=tests python -m support.corpus docs/bad_inputs.md"
    assert with_catalogue(page) == page, f"run: {command}"


@pytest.mark.parametrize("name", ["bomb.png", "lying.png", "lying.npy"])
def test_sizes_are_refused_before_memory_is_taken(name: str, places: Places, away: Path) -> None:
    before_kb = _peak_kb()
    data = Path(f"{places['d']}/{name}").read_bytes()
    with pytest.raises(BadInput, match="too large|impossible"):
        if name.endswith(".npy"):
            _map(data, ".npy")
        else:
            decode_photo(data, 2048)
    assert _peak_kb() - before_kb < 50_000


def _peak_kb() -> float:
    """The most memory that this process ever had; macOS counts bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def test_the_installed_command_says_the_same(places: Places, away: Path) -> None:
    bad = next(b for b in REFUSED if b.name == "unknown option")
    ran = subprocess.run([PHOTOSCENE, *bad.words(places)], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (bad.status, "")
    assert bad.answers(ran.stderr.removesuffix("\n"), places), ran.stderr


# Runs commands as nobody: root may read and write everything. What is imported is imported before,
# by a command that is refused late, because nobody may be kept out of this Python's folders.
LOCKED = """
import json, os, sys
from typer.testing import CliRunner
from photoscene.cli import app
first, *others = json.loads(sys.argv[1])
CliRunner().invoke(app, first)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for words in others:
    result = CliRunner().invoke(app, words, prog_name="photoscene")
    print(json.dumps([result.exit_code, result.stderr]))
"""


def test_what_may_not_be_read_or_written_is_named(places: Places) -> None:
    names = ("unreadable photo", "unwritable run folder", "unwritable store")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o777)
        own = {"d": folder, "photo": f"{folder}/photo.png", "a": f"{folder}/a.png"}
        Path(own["photo"]).write_bytes(Path(str(places["photo"])).read_bytes())
        Path(own["a"]).write_bytes(Path(str(places["a"])).read_bytes())
        (Path(folder) / "locked.jpg").touch(0o000)
        (Path(folder) / "locked").mkdir(0o555)
        late = ["run", own["photo"], "--mask", own["a"], "-o", f"{own['photo']}/run"]
        words = json.dumps([late, *(ENVIRONMENT[name].words(own) for name in names)])
        ran = subprocess.run(
            [sys.executable, "-c", LOCKED, words], capture_output=True, text=True, cwd=folder,
            env={**os.environ, "HOME": folder, "PHOTOSCENE_STORE": f"{folder}/store",
                 "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        for name, answer in zip(names, ran.stdout.splitlines(), strict=True):
            status, told = json.loads(answer)
            assert status == ENVIRONMENT[name].status
            assert ENVIRONMENT[name].answers(told.removesuffix("\n"), own), told


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("Prefect server that is not there", "http://127.0.0.1:9/api"),
        ("Prefect server with an impossible address", "http://127.0.0.1:port/api"),
    ],
)
def test_a_server_that_does_not_work_is_named(
    name: str, url: str, places: Places, away: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        check(ENVIRONMENT[name], places, capfd)


def digests(*folders: Path) -> dict[str, str]:
    """sha256 of every file, by path."""
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    return {str(p): digest(p.read_bytes()) for p in files}


@pytest.mark.parametrize("damage", ["flipped", "missing", "cut", "garbage"])
def test_a_damaged_store_is_mended(
    damage: str, small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    options = [*small_photo.options(), "--until", "segment", "--store", store, "-o", tmp_path / "r"]
    assert call("run", *options).exit_code == 0
    whole = digests(store / "artifacts", tmp_path / "r" / "objects")
    for path in [p for p in store.rglob("*/*") if p.is_file()]:
        data = path.read_bytes()
        kept = {"flipped": bytes([data[0] ^ 1]) + data[1:], "cut": data[: len(data) // 2],
                "garbage": b"[[[]]]" * 100, "missing": b""}[damage]  # fmt: skip
        path.write_bytes(kept)
        if damage == "missing":
            path.unlink()
    (tmp_path / "r" / "run.json").write_bytes(b'{"format": "photoscene-run/1", "steps": 7}')
    result = call("run", *options)
    assert result.exit_code == 0, result.stderr
    assert digests(store / "artifacts", tmp_path / "r" / "objects") == whole


FULL_DISK = """
import hashlib, json, pathlib, subprocess, sys
from typer.testing import CliRunner
from photoscene.cli import app

disk, words = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])

def mount(*how):
    subprocess.run(["mount", "-t", "tmpfs", "-o", *how, "tmpfs", disk], check=True)

def run(*more):
    result = CliRunner().invoke(app, [*words, *more])
    files = [p for p in disk.rglob("*") if p.is_file() and p.name != "filler"]
    kept = {str(p.relative_to(disk)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    print(json.dumps([result.exit_code, result.stderr, kept]), flush=True)

mount("size=24m")
run()
mount("remount,ro")
run("--set", "generate.grid=33")
mount("remount,rw")
try:
    with open(disk / "filler", "wb") as filler:
        while True:
            filler.write(bytes(4096))
            filler.flush()
except OSError:
    run("--set", "generate.grid=33")
with open(disk / "filler", "r+b") as filler:
    filler.truncate(filler.seek(0, 2) - 100_000)  # room for the first steps
run("--set", "generate.grid=33")
(disk / "filler").unlink()
run("--set", "generate.grid=33")
run()
"""


def can_mount() -> bool:
    """Whether this user may mount in a namespace of its own."""
    try:
        command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="mounting a small disk is not permitted here")
def test_a_full_or_read_only_disk_loses_nothing(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["--pointmap", small_photo.depth, "--set", "generate.grid=32"]
    own = {"d": tmp_path, "photo": small_photo.photo, "a": small_photo.masks["a"]}
    words = [*ENVIRONMENT["full disk"].words(own), *map(str, options)]
    script = ["unshare", "-m", sys.executable, "-c", FULL_DISK, str(disk), json.dumps(words)]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    ran = subprocess.run(script, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [status for status, _, _ in answers] == [0, 3, 3, 3, 0, 0], answers
    before, again = answers[0][2], answers[5][2]
    names = ("read-only disk", "full disk", "full disk")
    for name, (_, told, kept) in zip(names, answers[1:4], strict=True):
        *progress, line = told.splitlines()
        assert ENVIRONMENT[name].answers(line, own), line
        assert not [text for text in progress if "Error" in text]
        assert {path: kept[path] for path in before} == before
        assert not [path for path in set(kept) - set(before) if not path.startswith("store/")]
        assert not [path for path in kept if "/.writing-" in path]
    made = [name for name in before if name not in ("run/run.json", "run/report.html")]
    assert {name: again[name] for name in made} == {name: before[name] for name in made}


HOSTILE = (
    "<img src=x onerror=alert(1)>", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "....", "   ", "CON",
    "new\nline", "\N{PILE OF POO}" * 60, "x" * 200, "a", "a ", "world", "photo_camera", "'; rm -rf",
)  # fmt: skip


@pytest.mark.slow
def test_hostile_names_stay_names(prefect_server: str, tmp_path: Path) -> None:
    """They all give an object; names are unique, printable, and lead nowhere."""
    side = 32
    rgb = np.random.default_rng(0).integers(0, 255, (96, 192, 3), np.uint8)
    photo = tmp_path / os.fsdecode(b"caf\xe9\x1b[31m.png")
    photo.write_bytes(encoded(rgb, "PNG"))
    words: list[object] = []
    names = [os.fsencode(name) for name in HOSTILE] + [b"\xff\xfe"]
    for index, name in enumerate(names):
        pixels = np.zeros((96, 192), np.uint8)
        row, column = divmod(index, 6)
        pixels[row * side + 4 : row * side + 28, column * side + 4 : column * side + 28] = 255
        path = tmp_path / os.fsdecode(name + b".png")
        path.write_bytes(encoded(pixels, "PNG"))
        words += ["--mask", path]
    np.save(tmp_path / "depth.npy", np.full((96, 192), 2.0))
    words += ["--pointmap", tmp_path / "depth.npy", "--set", "generate.grid=8"]
    run = tmp_path / "run"
    result = call("run", photo, *words, "--store", tmp_path / "store", "-o", run)
    assert result.exit_code == 0, result.stderr
    assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())
    objects = json.loads((run / "scene.json").read_text("utf-8"))["objects"]
    shown = [o["name"] for o in objects]
    assert len({*shown, "world", "photo_camera"}) == len(names) + 2
    assert all(len(name) <= 64 and name.isprintable() and "/" not in name for name in shown)
    folders = [p.name for p in (run / "objects").iterdir()]
    assert len(folders) == len(names) and all(len(name) <= 64 for name in folders)
    assert json.loads((run / "run.json").read_text("utf-8"))["photo_name"] == "caf??[31m.png"
    outside = {p.name for p in tmp_path.iterdir()} - {os.fsdecode(n + b".png") for n in names}
    assert outside == {photo.name, "depth.npy", "run", "store"}


@pytest.mark.parametrize("label", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "\0", "a" * 300])
def test_labels_of_prompts_are_never_paths(label: str) -> None:
    from flows.plan import unique_names

    prompt = prompt_from_json({"label": label, "points": [[1, 1]]})
    names = unique_names([prompt.label] * 3)
    assert len(set(names)) == 3
    for name in names:
        assert name.isprintable() and len(name) <= 64 and not set(name) & set('/\\<>"')
        assert name not in (".", "..", "")


@pytest.mark.parametrize("photo", ["...jpg", "....jpg", " .jpg", "../x/..jpg"])
def test_the_default_run_folder_lies_in_runs(photo: str) -> None:
    folder = default_folder(Path(photo))
    assert folder.parent == Path("runs") and folder.name.strip(". ")


def test_printable_text_is_one_safe_line() -> None:
    assert printable("a\tb\nc") == "a b c" and printable("\x1b[2J\u202e\udcff\x00é") == "?[2J???é"


def _map(data: bytes, suffix: str) -> None:
    photo = Photo(np.zeros((180, 240, 3), np.uint8))
    map_points.run(load(Settings(), "cpu"), photo, None, (), DepthFile(data, suffix, "the file"))


def _damaged(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Good files with flipped bytes, lost ends and lost middles, in turn."""
    random = np.random.default_rng(seed)
    names = sorted(files)
    for index in range(count):
        name = names[index % len(names)]
        data = bytearray(files[name])
        early = random.random() < 0.5  # headers are where the readers can be led astray
        for place in random.integers(0, min(len(data), 64) if early else len(data), 4):
            data[place] = random.integers(256)
        end = len(data) if random.random() < 0.6 else int(random.integers(len(data)))
        yield name, bytes(data[:end])


@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_bytes_are_bad_input_or_a_picture(
    seed: int, places: Places, capfd: pytest.CaptureFixture[str]
) -> None:
    fuzz(places, 40, seed)
    assert capfd.readouterr() == ("", "")


def fuzz(places: Places, count: int, seed: int) -> None:
    """Feed damaged pictures, masks, depth files and prompts; only BadInput may come out."""
    pictures = good_images(small_rgb(small_masks()))
    del pictures["heic"]  # decoded by a process of its own, which costs time and may even crash
    for _, data in _damaged(pictures, count, seed):
        for decode in (
            lambda data: decode_photo(data, 2048),
            lambda data: decode_mask(data, 240, 180, [(240, 180)]),
        ):
            _only_bad_input(decode, data)
    depth = small_depth(small_masks())
    kept = {".npy": "scalar.npy", ".npz": "camera.npz", ".exr": "good.exr"}
    depths = {suffix: Path(f"{places['d']}/{name}").read_bytes() for suffix, name in kept.items()}
    depths[".png"] = encoded((depth * 1000).astype(np.uint16), "PNG")
    for suffix, data in _damaged(depths, count, seed):
        _only_bad_input(lambda data, suffix=suffix: _map(data, suffix), data)
    prompts = {"prompts": b'{"label": "cup", "box": [1, 2, 30, 40], "points": [[5, 6, 1]]}'}
    for _, data in _damaged(prompts, count, seed):
        with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
            value = json.loads(data)
            _only_bad_input(lambda _, value=value: prompt_from_json(value), data)


def _only_bad_input(read, data: bytes) -> None:
    try:
        read(data)
    except BadInput as error:
        assert "\n" not in str(error)
