"""Does nothing that lies where one works take the place of our own packages, or of Python's?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scene import child
from scene.heif import decode_heif
from support import DATA
from support.small_photo import SmallPhoto

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
THEIRS = (
    "scene/__init__.py", "flows/__init__.py", "prefect/__init__.py", "socket.py", "numpy.py",
    "json.py", "PIL.py", "pi_heif.py", "sqlite3.py", "uvicorn.py", "typer.py", "usercustomize.py",
)  # fmt: skip
COMMANDS = {"photoscene": [PHOTOSCENE], "python -m": [sys.executable, "-m", "photoscene"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one works: it holds modules of others' names, which leave a file `ran`, and stop."""
    for name in THEIRS:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)\nraise SystemExit(9)"
        )
    monkeypatch.chdir(tmp_path / "pictures")
    return tmp_path / "pictures"


def photoscene(command: str, path: str | None, *words: object, **variables: str) -> str:
    """What a command prints with such a PYTHONPATH; nothing of theirs may have run."""
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        [*COMMANDS[command], *map(str, words)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert not Path("../ran").exists()
    return done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([""], []),
        (["HERE"], []),
        (["."], []),
        (["HERE/../pictures/"], []),
        (["/lib", "", "/usr/lib"], ["/lib", "/usr/lib"]),
        (["HERE/sub"], ["HERE/sub"]),  # a folder of theirs that they name is theirs
        (["/lib"], ["/lib"]),
    ],
)
def test_the_import_path_of_our_processes(
    before: list[str], after: list[str], folder: Path
) -> None:
    def placed(path: list[str]) -> list[str]:
        return [entry.replace("HERE", str(folder)) for entry in path]

    assert child.import_path(placed(before)) == placed(after)


def test_our_own_folder_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(child.HOME)
    assert child.import_path(["", "/lib"]) == [str(child.HOME), "/lib"]
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert child.import_path(["/lib"]) == ["/lib"]


@pytest.mark.parametrize("path", [None, "", ":", "HERE"])
def test_heic_is_decoded_by_our_own_code(
    path: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path.replace("HERE", str(folder)))
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(folder)])
    assert decode_heif((DATA / "upright.heic").read_bytes(), 10**8).image is not None
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("photoscene", ":/nowhere"),
        ("python -m", None),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("photoscene", None), ("photoscene", "."), ("photoscene", "HERE"),
                ("photoscene", "/nowhere::/other"), ("python -m", ":"), ("python -m", "."),
            ]
        ),
    ],
)  # fmt: skip
def test_the_command_imports_nothing_of_theirs(
    command: str, path: str | None, folder: Path
) -> None:
    path = path and path.replace("HERE", str(folder))
    assert "PHOTOSCENE_MODELS" not in photoscene(command, path, "models", "list")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "path"), [("photoscene", ":"), ("python -m", None)])
def test_a_run_imports_nothing_of_theirs(
    command: str, path: str | None, folder: Path, small_photo: SmallPhoto
) -> None:
    words = ["segment", small_photo.photo, "--mask", small_photo.masks["a"], "-o", "run"]
    assert "report: " in photoscene(command, path, *words, "--store", "store")


@pytest.mark.slow
def test_who_imports_us_keeps_the_path(folder: Path) -> None:
    code = "import sys; before = list(sys.path); import photoscene; print(sys.path == before)"
    for name in THEIRS:
        (folder / name).unlink()
    (folder / "scene").rmdir()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
