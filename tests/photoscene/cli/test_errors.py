"""Is a bug told as a bug, and what cannot be done with one object as just that?"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import alignment.pixel_aligned
from flows.request import Profile, StageChoice
from photoscene.choosing import browser
from photoscene.choosing.chooser import Chooser
from photoscene.cli.errors import reported
from scene.errors import (
    BadInput,
    BadWeights,
    CannotComplete,
    CannotGenerate,
    CannotPlace,
    CannotRun,
)
from scene.files import CODECS
from scene.store import DamagedArtifact, Store
from scene.types import Artifact, Cutout, ObjectMesh, PointMap
from stages.complete.inpaint import HullInpainting
from stages.compose.gltf import Gltf
from stages.devices import OutOfDeviceMemory
from stages.generate.lite import Lite
from stages.map_points.file import DepthFileReader
from stages.segment.masks import MaskFiles
from support.small_photo import SmallPhoto, call

BUGS = (ValueError, KeyError, TypeError, IndexError, RuntimeError, AssertionError)
THIS_LINE = 'raise kind("injected")'


def bug(kind: type[Exception]) -> Callable[..., Any]:
    """A function with a bug."""

    def injected(*arguments: Any, **named: Any) -> Any:
        raise kind("injected")

    return injected


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A finished run: its options, with the store that answers for it."""

    options: tuple[str, ...]
    folder: Path


@pytest.fixture(scope="module")
def prepared(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    folder = tmp_path_factory.mktemp("errors")
    options = (*small_photo.options(), "--store", str(folder / "store"))
    assert call("run", *options, "-o", folder / "run").exit_code == 0
    return Prepared(options, folder)


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where reports of faults go in this test."""
    monkeypatch.setenv("PHOTOSCENE_STORE", str(tmp_path / "default"))
    yield tmp_path / "default" / "faults"


def only_fault(faults: Path) -> str:
    """The text of the one report that was written."""
    (path,) = faults.iterdir()
    return path.read_text("utf-8")


def assert_fault(result: Result, faults: Path, kind: type[Exception]) -> None:
    """Status 4, one line that names the file, and in the file the line that is wrong."""
    assert result.exit_code == 4, (result.output, result.exception)
    assert "Traceback" not in result.stderr and "FAILED" not in result.output
    line = result.stderr.splitlines()[-1]
    (path,) = faults.iterdir()
    told = f"a fault of photoscene itself ({kind.__name__}: {kind('injected')})"
    assert line == f"photoscene: {told}: please report it with {path}"
    report = path.read_text("utf-8")
    assert THIS_LINE in report and __file__ in report and "photoscene 0." in report


BACKENDS = [
    ("segment", MaskFiles, "segment"),
    ("map_points", DepthFileReader, "map_points"),
    ("complete", HullInpainting, "complete"),
    ("generate", Lite, "generate"),
    ("place", alignment.pixel_aligned, "render_depth"),  # inside what is tried for each object
    ("compose", Gltf, "compose"),
]


@pytest.mark.parametrize(("index", "backend"), enumerate(BACKENDS), ids=lambda v: str(v)[:14])
def test_a_bug_in_a_backend_is_a_fault(
    index: int, backend: tuple[str, Any, str], prepared: Prepared, faults: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (stage, owner, name), kind = backend, BUGS[index]
    monkeypatch.setattr(owner, name, bug(kind))
    run = tmp_path / "run"
    result = call("run", *prepared.options, "--refresh", stage, "-o", run)
    assert_fault(result, faults, kind)
    assert result.stdout == "" and not run.exists()


@pytest.mark.parametrize(
    ("stage", "of_type", "way", "kind"),
    [
        ("", PointMap, "decode", KeyError),  # of what the store knows, without Prefect
        ("place", ObjectMesh, "decode", ValueError),
        ("complete", Cutout, "encode", TypeError),
    ],
)
def test_a_bug_in_a_codec_is_a_fault(
    stage: str, of_type: type, way: str, kind: type[Exception], prepared: Prepared, faults: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = CODECS[of_type]._replace(**{way: bug(kind)})
    monkeypatch.setitem(CODECS, of_type, broken)
    refresh = ["--refresh", stage] if stage else []
    result = call("run", *prepared.options, *refresh, "-o", tmp_path / "run")
    assert_fault(result, faults, kind)


SCRIPT = """
import sys
from stages.generate.lite import Lite

def injected(self, crop, seed):
    raise IndexError("in a process of its own")

Lite.generate = injected
from photoscene.cli import app
app(sys.argv[1:], prog_name="photoscene")
"""


def test_a_bug_is_a_fault_in_a_real_process_too(
    prepared: Prepared, prefect_server: str, faults: Path, tmp_path: Path
) -> None:
    script = tmp_path / "broken.py"
    script.write_text(SCRIPT)
    words = ["run", *prepared.options, "--refresh", "generate", "-o", str(tmp_path / "run")]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    ran = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 4 and ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert "(IndexError: in a process of its own)" in ran.stderr.splitlines()[-1]
    report = only_fault(faults)
    assert (
        'raise IndexError("in a process of its own")' in report and "--refresh generate" in report
    )


def failing_once(way: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The function, but its first call raises."""
    lock, calls = threading.Lock(), iter([error])

    def once(*arguments: Any) -> Any:
        with lock:
            found = next(calls, None)
        if found is not None:
            raise found
        return way(*arguments)

    return once


def test_an_object_that_cannot_be_done_is_lost_alone(
    prepared: Prepared, faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = failing_once(HullInpainting.complete, CannotComplete("nothing to go by"))
    generate = failing_once(Lite.generate, CannotGenerate("too thin"))
    monkeypatch.setattr(HullInpainting, "complete", complete)
    monkeypatch.setattr(Lite, "generate", generate)
    refresh = ["--refresh", "complete", "--refresh", "generate"]
    result = call("run", *prepared.options, *refresh, "-o", tmp_path / "run")
    assert result.exit_code == 1, result.output
    told = [line.split(": ", 1)[1] for line in result.stdout.splitlines() if "FAILED " in line]
    assert sorted(told) == ["complete: nothing to go by", "generate: too thin"]
    assert (tmp_path / "run" / "scene.glb").exists() and not faults.exists()


def test_an_object_that_cannot_be_placed_is_lost_alone(
    prepared: Prepared, faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_depth = failing_once(alignment.pixel_aligned.render_depth, CannotPlace("no depth"))
    monkeypatch.setattr(alignment.pixel_aligned, "render_depth", render_depth)
    store = tmp_path / "store"  # what is placed wrongly here must not be found by other tests
    subprocess.run(["cp", "-r", prepared.folder / "store", store], check=True)
    options = [*prepared.options, "--store", store, "--refresh", "place"]
    result = call("run", *options, "-o", tmp_path / "run")
    assert result.exit_code == 1, result.output
    assert "FAILED 1 a: place: no depth" in result.stdout.splitlines()
    assert (tmp_path / "run" / "scene.glb").exists() and not faults.exists()


ANSWERS = [
    (BadInput("the mask is empty"), 2, "the mask is empty"),
    (CannotPlace("no depth"), 2, "no depth"),
    (CannotRun("no server"), 3, "no server"),
    (BadWeights("damaged"), 3, "damaged"),
    (OutOfDeviceMemory("at 1024"), 3, "at 1024"),
    (DamagedArtifact("x.png is damaged; run again"), 3, "x.png is damaged; run again"),
    (OSError(28, "No space left on device"), 3, "No space left on device: free some space"),
    (ImportError("needs Open3D: pip install it"), 3, "ImportError: needs Open3D"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 3, "ModuleNotFoundError: No"),
    (MemoryError("1 GB"), 3, "MemoryError: 1 GB"),
    (ConnectionError("lost"), 3, "ConnectionError: lost"),
    (RuntimeError("CUDA error: unspecified launch failure"), 3, "RuntimeError: CUDA error"),
    (RuntimeError("can't start new thread"), 3, "RuntimeError: can't start new thread"),
    *((kind("x"), 4, f"a fault of photoscene itself ({kind.__name__}: ") for kind in BUGS),
    (OSError("of no number"), 4, "a fault of photoscene itself (OSError: of no number)"),
    (ImportError("cannot import name", name="scene.types"), 4, "a fault of photoscene itself"),
    (RecursionError("too deep"), 4, "a fault of photoscene itself (RecursionError: too deep)"),
]


def answer(error: BaseException, debug: bool = False) -> int:
    """The exit status of a command in which this goes wrong."""
    try:
        with reported(debug):
            raise error
    except Exception as stop:
        return stop.exit_code  # type: ignore[attr-defined]


@pytest.mark.parametrize(("error", "status", "line"), ANSWERS, ids=lambda v: str(v)[:30])
def test_every_error_has_its_status(
    error: Exception, status: int, line: str, faults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(error) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"photoscene: {line}")
    assert faults.exists() == (status == 4)


@pytest.mark.parametrize("subject", ["scene", "an object"])
@pytest.mark.parametrize(("error", "status", "line"), ANSWERS, ids=lambda v: str(v)[:30])
def test_a_step_fails_by_what_it_was_given_or_ends_the_run(
    error: Exception, status: int, line: str, subject: str
) -> None:
    from flows.calls import Outcome, StageCall
    from flows.plan import StageFailed, _each, _one, carry_out
    from flows.request import Request
    from flows.tasks import Submitted

    class Ended:
        """A future of Prefect's that has ended so."""

        def result(self, raise_on_failure: bool) -> Exception:
            return error

    call = StageCall("generate", subject, {})

    def run(calls: list[StageCall]) -> list[Outcome]:
        return [Submitted(call, Ended()).outcome() for call in calls]  # type: ignore[arg-type]

    request = Request(
        Artifact("file", "0" * 64, ""), Profile("", {"generate": StageChoice("lite")})
    )
    passes = isinstance(error, (MemoryError, ConnectionError, OutOfDeviceMemory))
    passes = passes or "CUDA" in str(error)
    if subject == "scene":
        with pytest.raises((StageFailed, Exception)) as raised:
            carry_out(_one(call), run)
        assert isinstance(raised.value, StageFailed) == (status == 2)
        assert (raised.value is error) == (status != 2 and not passes)
        assert status != 2 or str(raised.value) == f"generate: {error}"
    elif status == 2 or passes:
        made, _ = carry_out(_each(request, {"an object": call}), run)
        assert made.bundles == {} and str(error) in made.failures["an object"]
    else:
        with pytest.raises(type(error)) as raised:
            carry_out(_each(request, {"an object": call}), run)
        assert raised.value is error


def test_a_bug_is_raised_when_the_calls_beside_it_have_ended() -> None:
    from flows.calls import Outcome, StageCall
    from flows.plan import _all_of, carry_out

    ended = []

    def run(calls: list[StageCall]) -> list[Outcome]:
        ended.extend(c.subject for c in calls)
        return [
            Outcome(c, None, failure="thin", error=KeyError("x") if c.subject == "a" else None)
            for c in calls
        ]

    with pytest.raises(KeyError):
        carry_out(_all_of(*(StageCall("generate", name, {}) for name in "abc")), run)
    assert ended == ["a", "b", "c"]


def test_debug_shows_the_traceback_too(faults: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(KeyError("x"), debug=True) == 4
    assert "Traceback" in capsys.readouterr().err and "Traceback" in only_fault(faults)


def test_every_fault_has_a_file_of_its_own(faults: Path) -> None:
    for _ in range(3):
        answer(KeyError("x"))
    names = [path.name for path in faults.iterdir()]
    assert len(names) == 3
    assert all(re.match(r"photoscene-fault-\d{4}-\d\d-\d\d-\d{6}-\w+\.txt$", n) for n in names)


def test_a_fault_is_told_where_no_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PHOTOSCENE_STORE", str(tmp_path / "file"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert answer(KeyError("x")) == 4
    assert "Traceback" in only_fault(tmp_path / "temporary")
    capsys.readouterr()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert answer(KeyError("x")) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_module_of_ours_that_is_not_there_is_a_fault(
    small_photo: SmallPhoto, faults: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "photoscene.cli.check", None)
    assert call("check", small_photo.photo).exit_code == 4
    assert "photoscene.cli.check" in only_fault(faults)


def test_a_bug_at_the_prompt_is_no_bad_entry(
    small_photo: SmallPhoto, faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Chooser, "enter", bug(ValueError))
    words = ["segment", small_photo.photo, "-i", "-o", tmp_path / "run"]
    result = call(*words, "--store", tmp_path / "store", lines="point 60 100\naccept\n")
    assert_fault(result, faults, ValueError)
    assert "not done" not in result.output


@pytest.mark.slow
def test_a_bug_behind_the_page_ends_the_command(
    small_photo: SmallPhoto, faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[int] = []

    def look(address: str) -> None:
        try:
            urllib.request.urlopen(f"{address}state")
        except urllib.error.HTTPError as error:
            answered.append(error.code)

    visit: list[threading.Thread] = []

    def open_page(address: str) -> None:
        visit.append(threading.Thread(target=look, args=(address,)))
        visit[0].start()

    monkeypatch.setattr(browser, "state_of", bug(KeyError))
    monkeypatch.setattr(browser.webbrowser, "open", open_page)
    words = ["segment", small_photo.photo, "--browser", "-o", tmp_path / "run", "--json"]
    result = call(*words, "--store", tmp_path / "store")
    visit[0].join()
    assert_fault(result, faults, KeyError)
    assert answered == [500]


def test_a_damaged_artifact_says_to_run_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.save({"a": 1})
    store.path(artifact).write_bytes(b"{}")
    with pytest.raises(CannotRun, match="run again to remake it"):
        store.load(artifact, dict)
