"""A template is compiled once, as long as nothing about it changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from photoscene.report import compiled
from photoscene.report.compiled import KeptCode


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "page.jinja").write_text("Hello {{ name }}")
    return tmp_path


def rendered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bool]:
    """The page, and whether it had to be compiled."""
    compiles: list[str] = []
    generate = jinja2.Environment._generate

    def watched(self: jinja2.Environment, *arguments: Any, **named: Any) -> Any:
        compiles.append("once")
        return generate(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(jinja2.Environment, "_generate", watched)
        environment = jinja2.Environment(
            loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text()),
            bytecode_cache=KeptCode(folder),
        )
        return environment.get_template("page.jinja").render(name="you"), bool(compiles)


def test_the_second_time_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendered(folder, monkeypatch) == ("Hello you", True)
    assert rendered(folder, monkeypatch) == ("Hello you", False)
    (kept,) = (folder / "__pycache__").iterdir()
    assert kept.suffix == ".pyc" and sys.implementation.cache_tag in kept.name


def test_another_text_another_jinja_and_damage_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(folder, monkeypatch)
    (folder / "page.jinja").write_text("Goodbye {{ name }}")
    assert rendered(folder, monkeypatch) == ("Goodbye you", True)
    monkeypatch.setattr(compiled.jinja2, "__version__", "99")
    assert rendered(folder, monkeypatch) == ("Goodbye you", True)
    (kept,) = (folder / "__pycache__").iterdir()
    data = kept.read_bytes()
    for damaged in (data[:-3], data[:-3] + b"abc", b""):
        kept.write_bytes(damaged)
        assert rendered(folder, monkeypatch) == ("Goodbye you", True)
    assert rendered(folder, monkeypatch) == ("Goodbye you", False)


def test_where_nothing_can_be_kept_it_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "__pycache__").write_text("in the way")
    assert rendered(folder, monkeypatch) == ("Hello you", True)
    assert rendered(folder, monkeypatch) == ("Hello you", True)
    (folder / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    rendered(folder, monkeypatch)
    assert not (folder / "__pycache__").exists()
