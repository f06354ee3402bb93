"""Writers of a store that are killed at random leave no record without its artifacts."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
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
    # In a fresh process: it forks, and the threads that other tests have left here (obstore's, for
    # one) would be missing in its children, which then wait for them without end.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        found = fresh.submit(kill_writers, place, KILLS, tmp_path / "place", seed=1).result()
    assert found.killed >= KILLS and found.computed and found.wrong == []
