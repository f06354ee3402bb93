"""Whether anything is set for Prefect, found without importing it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.settings import OURS, settings_at_a_glance


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working directory where nothing is set."""
    for name in [n for n in os.environ if n.upper().startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return home


def test_nothing_is_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    Path("pyproject.toml").write_text('[project]\ndependencies = ["prefect"]\n')
    Path(".env").write_text("KEY=1\n")
    assert settings_at_a_glance() == (None, home / ".prefect")
    monkeypatch.setenv("PREFECT_API_URL", "http://x/api")
    assert settings_at_a_glance() == ("http://x/api", home / ".prefect")
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert settings_at_a_glance() == (None, home / ".prefect")


@pytest.mark.parametrize("name", ["PREFECT_API_KEY", "prefect_home", "PREFECT_LOGGING_LEVEL"])
def test_a_variable_counts(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert settings_at_a_glance() is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../home/.prefect/profiles.toml", ""),
        ("prefect.toml", ""),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://x"\n'),
        ("pyproject.toml", '[tool]\nprefect.api.url = "http://x"\n'),
        ("pyproject.toml", "not TOML ["),
        ("pyproject.toml", f"deep = {'[' * 5000}"),
        (".env", "export Prefect_Api_Url=http://x\n"),
    ],
)
def test_a_file_counts(name: str, text: str, home: Path) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    assert settings_at_a_glance() is None


def test_a_pipe_is_not_waited_for(home: Path) -> None:
    os.mkfifo(".env")
    assert settings_at_a_glance() is None


def test_prefect_itself_finds_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "from flows.settings import read_settings; print(*read_settings())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", str(home / ".prefect")]
    monkeypatch.setenv("PREFECT_API_URL", "http://x/api")
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["http://x/api", str(home / ".prefect")]
