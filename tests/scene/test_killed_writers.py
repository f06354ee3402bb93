"""Writers of a store that are killed at random leave no record without its artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.store.kills import kill_writers
from support.places import OBSTORE

KILLS = 3  # `python -m benchmarks.store kills` makes two hundred


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    ["file", *(pytest.param(place, marks=OBSTORE) for place in ("file by obstore", "s3"))],
)
def test_killed_writers_leave_no_record_without_its_artifacts(place: str, tmp_path: Path) -> None:
    found = kill_writers(place, KILLS, tmp_path / "place", seed=1)
    assert found.killed >= KILLS and found.computed and found.wrong == []
