"""Shards of data: only missing ones are drawn, and none appears before it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from training.common.shards import appearing, draw_missing


@dataclass(frozen=True)
class Line:
    """A shard that holds one file with a text; an empty one cannot be drawn."""

    folder: Path
    text: str


def draw_line(line: Line) -> None:
    """Write the text, then fail if there is none."""
    with appearing(line.folder) as unfinished:
        (unfinished / "text").write_text(line.text)
        if not line.text:
            raise ValueError("an empty line")


def test_missing_shards_are_drawn(tmp_path: Path) -> None:
    draw_line(Line(tmp_path / "first", "drawn before"))
    jobs = [Line(tmp_path / name, "drawn now") for name in ("first", "second")]
    draw_missing(jobs, draw_line, processes=1)
    texts = {f.parent.name: f.read_text() for f in tmp_path.rglob("text")}
    assert texts == {"first": "drawn before", "second": "drawn now"}


def test_a_shard_that_fails_is_not_there_and_comes_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "shard"
    with pytest.raises(ValueError, match="an empty line"):
        draw_line(Line(folder, ""))
    assert not folder.exists()
    draw_line(Line(folder, "whole"))
    assert [f.name for f in tmp_path.iterdir()] == ["shard"]
    assert (folder / "text").read_text() == "whole"
