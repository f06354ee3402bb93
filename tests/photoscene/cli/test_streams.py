"""Does a command do its work whatever its standard streams are, and say so where it can?"""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from photoscene.choosing.terminal import _line_reader
from support.corpus import bad_inputs
from support.small_photo import SmallPhoto, call

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
(FULL,) = [b for b in bad_inputs("environment") if b.name == "standard output on a full disk"]
LIST = f"photoscene {FULL.line}"
early, late = (), pytest.mark.slow


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell; its status is the command's, not that of the end of a pipe."""
    environment = {**os.environ, "PATH": f"{PHOTOSCENE.parent}:{os.environ['PATH']}", **variables}
    script = f"set -o pipefail; {line}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("streams", "status", "whole", "said"),
    [
        pytest.param(*case, marks=marks)
        for *case, marks in [
            ("<&- 2>&-", 0, True, "", early),
            (">/dev/full", 3, False, f"photoscene: {FULL.told}", early),
            ("| head -1", 0, False, "", late),
            ("<&-", 0, True, "", late),
            ("2>&-", 0, True, "", late),
            (">&-", 0, False, "", late),
            ("<&- >&- 2>&-", 0, False, "", late),
            ("2>/dev/full", 0, True, "", late),
            (">/dev/full 2>&1", 3, False, "", late),
            ("2>&1 | head -1", 0, False, "", late),
            ("| true", 0, False, "", late),
        ]
    ],
)
def test_streams_that_are_closed_full_or_left(
    streams: str, status: int, whole: bool, said: str
) -> None:
    done = shell(f"{LIST} {streams}")
    assert done.returncode == status, done.stderr
    assert done.stderr.strip() == said
    if whole:
        assert "models" in json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help >/dev/full", 3),
        ("--help | true", 0),
        ("check nowhere.png 2>/dev/full", 2),
        ("check nowhere.png 2>&-", 2),
        ("--nonsense 2>&-", 2),
    ],
)
def test_help_and_refusals_without_a_stream(words: str, status: int) -> None:
    done = shell(f"photoscene {words}")
    assert done.returncode == status and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "variables"),
    [
        ("<&- 2>&-", {}),
        ("2>/dev/full", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_json_stays_pure_while_a_run_computes(
    streams: str, variables: dict[str, str], small_photo: SmallPhoto, tmp_path: Path
) -> None:
    photo = tmp_path / "caf\u00e9 \u65e5.tiff"
    done = shell(
        f"python3 -c 'from PIL import Image; import sys; Image.open(sys.argv[1]).save(sys.argv[2])'"
        f" '{small_photo.photo}' '{photo}'"
    )
    assert done.returncode == 0, done.stderr
    line = f"photoscene segment '{photo}' --mask '{small_photo.masks['a']}' --json"
    done = shell(f"{line} --store '{tmp_path}/store' -o '{tmp_path}/run' {streams}", **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"][0]["name"] == "a"


ENTRY = "text caf\u00e9\r\naccept\r\n"


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", ENTRY.encode()),
        ("utf-8", ENTRY.encode("utf-8-sig")),
        ("ascii", ENTRY.encode("utf-8-sig")),
        ("latin-1", ENTRY.encode("utf-8-sig")),
        ("latin-1", ENTRY.encode("latin-1")),
        ("utf-8", ENTRY.encode("utf-16")),
        ("ascii", b"\xfe\xff" + ENTRY.encode("utf-16-be")),
    ],
)
def test_piped_entries_are_read_as_they_are_marked(
    encoding: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source, encoding, newline="\n"))
    read = _line_reader(io.StringIO())
    assert [read("").strip(), read("").strip()] == ["text caf\u00e9", "accept"]
    with pytest.raises(EOFError):
        read("")


def test_entries_end_where_the_terminal_was_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    os.close(ours)
    with open(theirs, encoding="utf-8") as hung_up:
        monkeypatch.setattr(sys, "stdin", hung_up)
        with pytest.raises(EOFError):
            _line_reader(io.StringIO())("")


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["<&-", "</dev/null", "</proc/self/mem"])
def test_choosing_without_an_input_can_go_on(
    stream: str, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    places = f"-o '{tmp_path}/run' --store '{tmp_path}/store'"
    done = shell(f"photoscene segment '{small_photo.photo}' -i {places} {stream}")
    assert done.returncode == 1
    assert done.stderr.strip() == "not accepted yet: the same command with --resume goes on"


@pytest.mark.slow
def test_a_mark_before_the_first_entry_loses_nothing(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    places = ["-o", tmp_path / "run", "--store", tmp_path / "store"]
    lines = "\ufeffbox 18 70 103 124\r\naccept\r\n"
    result = call("segment", small_photo.photo, "-i", *places, lines=lines)
    assert result.exit_code == 0 and "not done" not in result.stdout
