"""A batch whose shards a Prefect work pool makes: submits them, and watches the output folder.

What came of a scene is its record, whatever Prefect knows of the run that made it. A run that has
ended, or does not answer, while its shard has not ended is submitted again: what it finished is in
the store, and a shard that lives after all keeps its place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flows.pool import RunState
from flows.settings import ServerFailed
from photoscene.batch.presence import CANCELLED, cancelled, working
from photoscene.batch.records import Stamp, read_scene_record, record_stamp, remove_record
from photoscene.batch.run import Work
from photoscene.batch.shard_files import (
    Making,
    Shard,
    cut_shards,
    read_shard,
    shard_files,
    shards_folder,
    write_shard,
)
from photoscene.batch.supervisor import Report

# Runs of a shard in a row, before it is given up: that compute no step, and that do not even begin.
MAX_RUNS, MAX_UNBEGUN = 3, 10
POLL_S, ASK_S = 1.0, 5.0  # between two readings of the folder, and two questions to the server
# How long a run may be without a sign of life: one that runs, one that is being started (images
# are pulled then), and one that has ended while its process may still write.
SILENT_S, STARTING_S, ENDING_S = 60.0, 900.0, 10.0
PROCESS_STARTING_S = 120.0  # of a process, which needs no image
WORKERS_S = 60.0  # between two questions whether there are workers


@dataclass
class Submitted:
    """A shard on its way.

    pending: names of scenes that have not ended, with the stamps that their records had before;
    runs: in all; has_begun, has_computed: the present one; fruitless, unbegun: runs before it, in
    a row; counts: the last signs of life of its processes by id; heard: when one of them, or a
    state, was new.
    """

    path: Path
    run: str
    pending: dict[str, Stamp]
    runs: int = 1
    has_begun: bool = False
    has_computed: bool = False
    fruitless: int = 0
    unbegun: int = 0
    state: RunState = RunState("SCHEDULED", "")
    counts: dict[str, int] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)


class Pool(Protocol):
    """Who makes shards: `flows.pool.Pool` or `flows.ray_pool.RayPool`."""

    name: str
    kind: str
    ends_with_command: bool

    def submit(self, shard: Path, name: str, key: str) -> str:
        """Submit a shard's file as a run; returns the run's id. The same key submits once."""
        ...

    def states(self, runs: Sequence[str]) -> Mapping[str, RunState]:
        """What became of runs."""
        ...

    def open_runs(self, folder: Path) -> dict[Path, str]:
        """The runs of earlier commands that have not ended, by their shards' files."""
        ...

    def cancel(self, run: str) -> None:
        """Stop a run."""
        ...

    def give_up(self, run: str, why: str) -> None:
        """Stop a run that counts as lost."""
        ...

    def has_worker(self) -> bool:
        """Whether anybody would take a shard."""
        ...


class Watch:
    """Shards of a pool and what came of them.

    report: called with what happens, for progress; why: why the batch is not done, "" while it is.
    """

    def __init__(self, output: Path, pool: Pool, report: Report) -> None:
        self.output, self._pool, self._report = output, pool, report
        self._shards: dict[Path, Submitted] = {}
        self._has_server = self._has_worker = True
        self._starting_s = PROCESS_STARTING_S if pool.kind == "process" else STARTING_S
        self.why = ""

    @property
    def count(self) -> int:
        """How many shards have not ended."""
        return len(self._shards)

    def take_up(self, work: Work, making: Making) -> list[str]:
        """Watch the shards of an earlier command that make what is asked for and missing; the
        others are cancelled. Returns the names of their scenes."""
        runs = self._pool.open_runs(shards_folder(self.output))
        missing = {entry.name for entry in work.missing}
        taken: list[str] = []
        for path in shard_files(self.output):
            shard, run = read_shard(path), runs.pop(path, None)
            names = [e.name for e in shard.entries if e.name in missing] if shard else []
            if shard and run and names and _is_asked_for(shard, work, making):
                self._add(path, run, names)
                taken += names
                continue
            path.unlink(missing_ok=True)
            if run:
                self._pool.cancel(run)
        for run in runs.values():  # of shards that were cancelled before they began
            self._pool.cancel(run)
        return taken

    def submit(self, shards: Sequence[Shard]) -> None:
        """Submit new shards."""
        for number, shard in enumerate(shards, 1):
            path = write_shard(self.output, shard)
            name = f"{self.output.name} {number} of {len(shards)}"
            try:
                run = self._pool.submit(path, name, path.stem)
            except (ServerFailed, KeyboardInterrupt):
                path.unlink(missing_ok=True)
                raise
            self._add(path, run, [entry.name for entry in shard.entries])

    def wait(self) -> str:
        """Watch until every shard has ended; returns why the batch is not done, or ""."""
        asked, warned = time.monotonic() - ASK_S, time.monotonic()  # warned of before, if at all
        while self._shards:
            self._read_folder()
            now = time.monotonic()
            if now - asked >= ASK_S and self._shards:
                asked = now
                with_workers = now - warned >= WORKERS_S
                warned = now if with_workers else warned
                self._ask(with_workers)
            if self._shards:
                time.sleep(POLL_S)
        return self.why

    def _add(self, path: Path, run: str, names: Sequence[str]) -> None:
        stamps = {name: record_stamp(self.output, name) for name in names}
        self._shards[path] = Submitted(path, run, stamps)

    def _read_folder(self) -> None:
        """Report scenes that have ended, note signs of life, and let go of shards that ended."""
        processes = working(self.output)
        for shard in [*self._shards.values()]:
            is_there = shard.path.exists()  # before its records: they were written first
            for name, before in [*shard.pending.items()]:
                if not is_there or record_stamp(self.output, name) not in (None, before):
                    self._scene_ended(shard, name)
            if not is_there:
                del self._shards[shard.path]
                if shard.path.stem in cancelled(self.output):
                    self.why = CANCELLED
                continue
            self._note_life(shard, processes)

    def _note_life(self, shard: Submitted, processes: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what is new in the files of a shard's processes; one that was killed leaves its."""
        for id, state in processes.items():
            if state.get("shard") != shard.path.stem or shard.counts.get(id) == state["count"]:
                continue
            shard.counts[id], shard.heard = state["count"], time.monotonic()
            shard.has_begun, shard.has_computed = True, state.get("computed", 0) > 0
            self._report({"step": state["stage"]})

    def _scene_ended(self, shard: Submitted, name: str) -> None:
        del shard.pending[name]
        record = read_scene_record(self.output, name)
        if record is not None:
            self._report({"ended": name, "record": asdict(record)})

    def _ask(self, with_workers: bool) -> None:
        """Ask the server for the states of all runs; what is lost is submitted again."""
        try:
            states = self._pool.states([shard.run for shard in self._shards.values()])
            for shard in [*self._shards.values()]:
                self._judge(shard, states[shard.run])
            waits = all(shard.state.type == "SCHEDULED" for shard in self._shards.values())
            if with_workers and waits and self._shards:
                self._note_workers(self._pool.has_worker())
        except ServerFailed as error:
            if self._has_server:
                self._report({"note": f"{error}; shards that have begun go on meanwhile"})
            self._has_server = False
            return
        if not self._has_server:
            self._report({"note": "the Prefect server answers again"})
        self._has_server = True

    def _note_workers(self, has_worker: bool) -> None:
        if self._has_worker and not has_worker:
            self._report({"note": no_worker(self._pool.name)})
        self._has_worker = has_worker

    def _judge(self, shard: Submitted, state: RunState) -> None:
        """Take note of a run's state; a shard whose run came to nothing is submitted again."""
        if state.type != shard.state.type:
            shard.state, shard.heard = state, time.monotonic()
        shard.state = state
        silent_s = time.monotonic() - shard.heard
        if state.type in ("CANCELLING", "CANCELLED"):
            if state.type == "CANCELLED" and shard.path.exists():
                self._drop(shard, CANCELLED)
        elif state.has_ended and silent_s > ENDING_S and shard.path.exists():
            self._lost(shard, state.message or state.type.lower())
        elif state.type == "RUNNING" and silent_s > SILENT_S:
            self._lost(shard, f"no sign of life for {SILENT_S:g} s")
        elif state.type == "PENDING" and silent_s > self._starting_s:
            self._lost(shard, f"not started within {self._starting_s:g} s")

    def _lost(self, shard: Submitted, why: str) -> None:
        """Submit a shard again, or give it up."""
        if not shard.state.has_ended:
            self._pool.give_up(shard.run, why)
        if shard.has_computed:
            shard.fruitless = shard.unbegun = 0
        elif shard.has_begun:
            shard.fruitless += 1
        else:
            shard.unbegun += 1
        if shard.fruitless >= MAX_RUNS or shard.unbegun >= MAX_UNBEGUN:
            runs = f"{shard.fruitless + shard.unbegun} runs without a new step"
            self._drop(shard, f"a shard was given up after {runs}: {why}")
            return
        name = f"{self.output.name} again ({shard.runs + 1})"
        shard.run = self._pool.submit(shard.path, name, f"{shard.path.stem}-{shard.runs}")
        shard.runs, shard.has_begun, shard.has_computed = shard.runs + 1, False, False
        shard.state, shard.heard = RunState("SCHEDULED", ""), time.monotonic()
        self._report({"note": f"a shard came to nothing ({why}): submitted again"})

    def _drop(self, shard: Submitted, why: str) -> None:
        """Make a shard no more; why: the batch is not done."""
        shard.path.unlink(missing_ok=True)
        del self._shards[shard.path]
        self.why = self.why or why
        self._report({"note": why})


def make_by_pool(work: Work, making: Making, size: int, watch: Watch) -> str:
    """Submit what is missing, and watch until it has ended; returns why it is not done, or ""."""
    taken = {*watch.take_up(work, making)}
    for name in {*work.outdated} - taken:  # else a batch that is stopped would call them done
        remove_record(watch.output, name)
    missing = [entry for entry in work.missing if entry.name not in taken]
    watch.submit(cut_shards(missing, work.asked, making, size))
    return watch.wait()


def no_worker(pool: str) -> str:
    """What to do where nobody takes the shards."""
    return f"no worker of pool {pool} is online: start some by `prefect worker start --pool {pool}`"


def _is_asked_for(shard: Shard, work: Work, making: Making) -> bool:
    """Whether an earlier shard makes nothing but what this command asks for."""
    same = all(work.asked.get(name) == digest for name, digest in shard.asked.items())
    return same and shard.making.store == making.store
