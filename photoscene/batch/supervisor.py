"""Worker processes of a batch: hands out shards, notices death and hangs, sets killers aside.

A worker that died or hangs is replaced, and its scenes go to others: what it finished is in the
store. A scene that was being worked on when its worker died is tried again alone; once it has cost
`Limits.attempts` workers at the same step it is set aside as failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from photoscene.batch.entries import Entry, entry_to_json
from photoscene.batch.records import KEPT, failed_record, write_record
from photoscene.batch.worker import Task
from scene import child
from scene.errors import BadInput, CannotRun

TICK_S = 0.5  # between two looks at the clock
MAX_DEAD_STARTS = 3  # workers in a row that end before they begin a scene
LOG_TAIL_LINES = 3
RECEIVED_BYTES = 65536
WORKER_DIED = "worker died"  # a kind of failure, beside those of `worker.py`
DEFAULT_LIMIT_S, MAX_LIMIT_S = 1800.0, 604800.0
# A hung native call cannot be interrupted, only its process killed. The networks of `full` take
# minutes an object on a small GPU; an hour is no longer work.
STAGE_LIMITS_S: Mapping[str, float] = {"generate": 3600.0, "complete": 3600.0}


@dataclass(frozen=True)
class Limits:
    """attempts: how many workers one step of a scene may cost; deaths: how many a scene may, in
    all; recycle: shards after which a worker is replaced (native libraries leak), 0 for never;
    seconds: a step may take by its stage; default_s: any other."""

    attempts: int = 3
    deaths: int = 10
    recycle: int = 16
    seconds: Mapping[str, float] = field(default_factory=lambda: STAGE_LIMITS_S)
    default_s: float = DEFAULT_LIMIT_S

    def limit_s(self, stage: str) -> float:
        """How long a step of a stage may take before its worker counts as hung."""
        return self.seconds.get(stage, self.default_s)


def limits_from(step_s: float | None, recycle: int) -> Limits:
    """Limits as users give them; step_s: of every step, None for those by stage."""
    if step_s is not None and not 1 <= step_s <= MAX_LIMIT_S:
        raise BadInput(f"--step-limit {step_s:g}: expected 1 to {MAX_LIMIT_S:g} seconds")
    if recycle < 0:
        raise BadInput(f"--recycle {recycle}: expected 0 or more shards")
    limits = Limits(recycle=recycle)
    return limits if step_s is None else replace(limits, seconds={}, default_s=step_s)


Report = Callable[[Mapping[str, Any]], None]
Step = tuple[str, str, str]  # scene, stage, subject


@dataclass(eq=False)
class _Worker:
    """A process, its end of the socket, and what it works on: entries by name, steps under way.

    idle: it said that it has finished its shard; the record of the last scene comes before that.
    """

    number: int
    process: subprocess.Popen[bytes]
    connection: socket.socket
    log: Path
    temporary: tempfile.TemporaryDirectory[str]
    shards: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    steps: dict[Step, None] = field(default_factory=dict)
    received: bytes = b""
    last_heard: float = field(default_factory=time.monotonic)
    has_begun: bool = False
    idle: bool = False

    def send(self, value: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it died; that is noticed where it is listened to
            self.connection.sendall((json.dumps(value) + "\n").encode())

    def receive(self) -> list[dict[str, Any]] | None:
        """The reports that have come, None when there will be no more."""
        try:
            data = self.connection.recv(RECEIVED_BYTES)
        except OSError:
            data = b""
        *lines, self.received = (self.received + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def end(self) -> None:
        """Kill it and remove its temporary files; everything it wrote it wrote as a whole."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        self.temporary.cleanup()


class Supervisor:
    """Carries out shards of entries with worker processes.

    places: for each worker, the environment variables that are its own (a GPU, say); report: called
    with what workers send, for progress; stop: asked every now and then, why to stop or "".
    """

    def __init__(
        self,
        task: Task,
        places: Sequence[Mapping[str, str]],
        asked: Mapping[str, str],
        limits: Limits,
        report: Report,
        stop: Callable[[], str],
    ) -> None:
        self._task, self._asked, self._limits = task, asked, limits
        self._report, self._stop = report, stop
        self._free = deque(places)
        self._shards: deque[list[Entry]] = deque()
        self._strikes: Counter[Step] = Counter()
        self._deaths: Counter[str] = Counter()
        self._workers: dict[_Worker, Mapping[str, str]] = {}
        self._selector = selectors.DefaultSelector()
        self._dead_starts = self._started = 0

    def carry_out(self, shards: Sequence[Sequence[Entry]]) -> str:
        """Work until every entry has its record; returns why it stopped before, or "".

        Raises CannotRun where workers cannot even start.
        """
        self._shards.extend([*shard] for shard in shards)
        why = ""
        try:
            while not why and (self._shards or any(not w.idle for w in self._workers)):
                self._hand_out()
                for key, _ in self._selector.select(TICK_S):
                    why = why or self._hear(key.data)
                self._end_hung()
                why = why or self._stop()
        finally:
            for worker in [*self._workers]:
                self._remove(worker)
            self._selector.close()
        return why

    def _hand_out(self) -> None:
        """Give every idle worker a shard; start workers while there are shards and places."""
        for worker in [*self._workers]:
            if not worker.idle or not self._shards:
                continue
            if self._limits.recycle and worker.shards >= self._limits.recycle:
                self._remove(worker)
            else:
                self._give(worker)
        while self._shards and self._free:
            self._give(self._start())

    def _give(self, worker: _Worker) -> None:
        shard = self._shards.popleft()
        worker.entries = {entry.name: entry for entry in shard}
        worker.shards, worker.idle = worker.shards + 1, False
        worker.last_heard = time.monotonic()
        worker.send({"entries": [entry_to_json(entry) for entry in shard],
                     "asked": {name: self._asked[name] for name in worker.entries}})  # fmt: skip

    def _start(self) -> _Worker:
        place = self._free.popleft()
        self._started += 1
        ours, theirs = socket.socketpair()
        temporary = tempfile.TemporaryDirectory(prefix="photoscene-batch-")
        log = Path(self._task.output) / KEPT / "logs" / f"{_identity()}-{self._started}.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("wb") as file:
            process = subprocess.Popen(
                child.python("photoscene.batch.worker", str(theirs.fileno()), temporary.name),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                env={**child.environment(), **place, "TMPDIR": temporary.name},
                start_new_session=True,  # Ctrl-C is the supervisor's alone
            )  # fmt: skip
        worker = _Worker(self._started, process, ours, log, temporary)
        self._workers[worker] = place
        self._selector.register(ours, selectors.EVENT_READ, worker)
        worker.send(asdict(self._task))
        return worker

    def _hear(self, worker: _Worker) -> str:
        """Take a worker's reports, or its death; returns why all is to stop, or ""."""
        reports = worker.receive()
        if reports is None:
            self._bury(worker)
            return ""
        worker.last_heard, worker.has_begun, self._dead_starts = time.monotonic(), True, 0
        why = ""
        for value in reports:
            if "step" in value:
                worker.steps[value["scene"], value["step"], value["subject"]] = None
            elif "stepped" in value:
                worker.steps.pop((value["scene"], value["stepped"], value["subject"]), None)
            elif "ended" in value:
                self._forget(worker, value["ended"])
            elif "idle" in value:
                worker.entries, worker.steps, worker.idle = {}, {}, True
            self._report({**value, "worker": str(worker.number)})
            why = why or value.get("missing", "")
        return why

    def _forget(self, worker: _Worker, name: str) -> None:
        worker.entries.pop(name, None)
        worker.steps = {step: None for step in worker.steps if step[0] != name}

    def _bury(self, worker: _Worker, why: str = "") -> None:
        """Its scenes go to others; those that it worked on do so alone, or are set aside."""
        self._remove(worker)
        why = why or _cause_of_death(worker.process.returncode)
        if not worker.has_begun:
            self._dead_starts += 1
            if self._dead_starts >= MAX_DEAD_STARTS:
                raise CannotRun(f"a worker {why} before it began: {_tail(worker.log)}")
        elif not worker.steps:  # between two steps: any of its scenes may be why
            self._deaths.update(list(worker.entries))
        for step in worker.steps:
            self._strikes[step] += 1
            self._deaths[step[0]] += 1
        suspects = {step[0]: step for step in worker.steps if step[0] in worker.entries}
        for name, step in suspects.items():
            if self._strikes[step] >= self._limits.attempts:
                self._set_aside(worker, name, f"{why} in {step[1]}")
            else:  # alone, and last: it takes no other scene with it
                self._shards.append([worker.entries.pop(name)])
        for name in [n for n in worker.entries if self._deaths[n] >= self._limits.deaths]:
            self._set_aside(worker, name, why)
        if worker.entries:
            self._shards.appendleft([*worker.entries.values()])
        self._report({"died": why})

    def _set_aside(self, worker: _Worker, name: str, why: str) -> None:
        record = failed_record(worker.entries.pop(name), f"set aside: its worker {why}, repeatedly")
        write_record(Path(self._task.output), record)
        self._report({"ended": name, "record": asdict(record), "kind": WORKER_DIED})

    def _end_hung(self) -> None:
        now = time.monotonic()
        for worker in [*self._workers]:
            if worker.idle:
                continue
            stage = next((stage for _, stage, _ in worker.steps), "")
            limit_s = self._limits.limit_s(stage)
            if now - worker.last_heard > limit_s:
                self._bury(worker, f"hung for {limit_s:g} s")

    def _remove(self, worker: _Worker) -> None:
        self._selector.unregister(worker.connection)
        self._free.append(self._workers.pop(worker))
        worker.end()


def _cause_of_death(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-status, f"signal {-status}")
    memory = " (perhaps for memory)" if -status == signal.SIGKILL else ""
    return f"was killed by {name}{memory}"


def _tail(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    return " | ".join(lines[-LOG_TAIL_LINES:]) or f"see {log}"


def _identity() -> str:
    """This process among all that work on the batch, on whichever machine."""
    return f"{socket.gethostname()}-{os.getpid()}"
