"""Shards of a pool whose runs come to nothing: submitted again while they bring anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.pool import RunState
from photoscene.batch import pool as pools
from photoscene.batch.entries import Entry
from photoscene.batch.presence import working_folder
from photoscene.batch.records import failed_record, write_record
from photoscene.batch.shard_files import Making, cut_shards
from photoscene.batch.supervisor import Limits
from scene.files import encode_json
from scene.store import write_atomically

MAKING = Making("store", "cpu", "lite", (), 1, False, Limits())


class CrashingPool:
    """A pool whose runs crash: the first few after they have computed a step, as the file says
    that their process would have written."""

    name, kind, begins = "photos", "process", True

    def __init__(self, output: Path, fruitful: int) -> None:
        self.output, self.fruitful, self.keys = output, fruitful, list[str]()
        self.state, self.given_up = RunState("CRASHED", "its machine went away"), list[str]()

    def submit(self, shard: Path, name: str, key: str) -> str:
        self.keys.append(key)
        number = len(self.keys)
        if not self.begins:
            return str(number)
        state = {"host": "elsewhere", "process": 1, "count": number, "stage": "place",
                 "computed": int(number <= self.fruitful), "shard": shard.stem}  # fmt: skip
        write_atomically(working_folder(self.output) / "id.json", encode_json(state))
        return str(number)

    def states(self, runs: Sequence[str]) -> dict[str, RunState]:
        return {run: self.state for run in runs}

    def give_up(self, run: str, why: str) -> None:
        self.given_up.append(why)

    def has_worker(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state of a run holds at once."""
    for name in ("POLL_S", "ASK_S"):
        monkeypatch.setattr(pools, name, 0.001)
    monkeypatch.setattr(pools, "ENDING_S", -1.0)


@pytest.mark.parametrize("fruitful", [0, 4])
def test_a_shard_is_given_up_after_runs_that_bring_no_step(tmp_path: Path, fruitful: int) -> None:
    reports: list[Mapping[str, Any]] = []
    crashing: Any = CrashingPool(tmp_path, fruitful)
    watch = pools.Watch(tmp_path, crashing, reports.append)
    entries = [Entry("a", None, "a.png", None)]
    watch.submit(cut_shards(entries, {"a": ""}, MAKING, 8))
    reason = "a shard was given up after 3 runs without a new step: its machine went away"
    assert watch.wait() == reason
    assert len(set(crashing.keys)) == len(crashing.keys) == pools.MAX_RUNS + fruitful
    assert not list(pools.shards_folder(tmp_path).glob("*"))


def test_scenes_that_ended_before_a_crash_are_reported(tmp_path: Path) -> None:
    reports: list[Mapping[str, Any]] = []
    crashing: Any = CrashingPool(tmp_path, 0)
    watch = pools.Watch(tmp_path, crashing, reports.append)
    entries = [Entry(name, None, f"{name}.png", None) for name in "ab"]
    watch.submit(cut_shards(entries, dict.fromkeys("ab", ""), MAKING, 8))
    write_record(tmp_path, failed_record(entries[0], "no photo"))
    assert watch.wait()
    assert [value["ended"] for value in reports if "ended" in value] == ["a"]


@pytest.mark.parametrize(("kind", "limit_s"), [("process", 120), ("kubernetes", 900)])
def test_a_run_that_its_worker_never_started_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit_s: int
) -> None:
    pool: Any = CrashingPool(tmp_path, 0)
    pool.kind, pool.state = kind, RunState("PENDING", "")
    clock = iter(range(0, 100_000, 100))  # seconds pass whenever somebody looks
    monkeypatch.setattr(pools.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(pools.time, "sleep", lambda seconds: None)
    watch = pools.Watch(tmp_path, pool, lambda value: None)
    watch.submit(cut_shards([Entry("a", None, "a.png", None)], {"a": ""}, MAKING, 8))
    assert watch.wait().endswith(f"runs without a new step: not started within {limit_s} s")
    assert pool.given_up == [f"not started within {limit_s} s"] * pools.MAX_RUNS


def test_a_run_that_did_not_begin_counts_less(tmp_path: Path) -> None:
    pool: Any = CrashingPool(tmp_path, 0)
    pool.begins = False
    watch = pools.Watch(tmp_path, pool, lambda value: None)
    watch.submit(cut_shards([Entry("a", None, "a.png", None)], {"a": ""}, MAKING, 8))
    assert watch.wait().startswith("a shard was given up after 10 runs")
    assert len(pool.keys) == pools.MAX_UNBEGUN
