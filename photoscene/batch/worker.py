"""A worker process of a batch: reconstructs shards of scenes, and reports each step as it begins.

Started as `python -m photoscene.batch.worker DESCRIPTOR FOLDER`, with one end of a pair of sockets
and a folder for temporary files. A line of JSON each way: first the task, then shards come in;
reports go out. It ends when the socket is closed, and at once when whoever started it is gone; then
it removes its folder, since nobody else will.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

from flows.calls import WHOLE_SCENE, Outcome, StageCall
from flows.request import Request
from flows.shard import Observer, SceneRun, reconstruct_scenes
from photoscene.batch.entries import Entry, entry_from_json
from photoscene.batch.images import write_images
from photoscene.batch.records import (
    COMPUTED,
    SceneRecord,
    Stamps,
    failed_record,
    scene_record,
    stamps_of,
    write_record,
)
from photoscene.cli.errors import environment_fault, faults_root, keep_quiet
from photoscene.cli.faults import write_fault
from photoscene.inputs.request import build_request, input_files
from photoscene.runs.archives import keep_scene, recall_scenes
from photoscene.runs.folder import check_contents, check_folder, files_until
from photoscene.runs.reconstruction import InputNames, check_files
from photoscene.runs.writing import Reconstruction, write_run
from scene.errors import BadInput, BadWeights, ObjectError
from scene.object_blobs import StoreFailed
from scene.store import Store, open_store
from stages.devices import ModelPool

PARENT_GONE = 130
logger = logging.getLogger("photoscene.batch")  # this module runs as __main__
STOPPING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Kinds of failure, for those who count them; a worker's death is one of the supervisor's.
BAD_INPUT, OBJECT, OUT_OF_MEMORY = "bad input", "object", "out of memory"
ENVIRONMENT, FAULT = "environment", "fault"


@dataclass(frozen=True)
class Task:
    """What all shards of a worker have in common.

    threads: of `reconstruct_scenes`.
    """

    output: str
    store: str
    device: str
    threads: int = 1


class Reports:
    """Lines of JSON to whoever started this process; threads take turns."""

    def __init__(self, file: TextIO, temporary: str) -> None:
        self._file, self._temporary, self._lock = file, temporary, threading.Lock()

    def send(self, **values: Any) -> None:
        """Send one line; a closed socket ends the process."""
        with self._lock:
            try:
                self._file.write(json.dumps(values) + "\n")
                self._file.flush()
            except OSError:
                _leave(self._temporary)


def main(descriptor: int, temporary: str) -> None:
    """Work until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    keep_quiet()
    connection = socket.socket(fileno=descriptor)
    reports = Reports(connection.makefile("w", encoding="utf-8"), temporary)
    logging.getLogger("stages").addHandler(ReadReports(reports))
    incoming = _lines_in_background(connection.makefile("r", encoding="utf-8"), temporary)
    task = Task(**next(incoming))
    pool = ModelPool(task.device)
    for shard in incoming:
        entries = [entry_from_json(value) for value in shard["entries"]]
        reconstruct_shard(entries, shard["asked"], task, pool, reports)
        reports.send(idle=True)


def reconstruct_shard(
    entries: Sequence[Entry],
    asked: Mapping[str, str],
    task: Task,
    pool: ModelPool,
    reports: Reports,
) -> None:
    """Reconstruct scenes stage by stage; every one ends with a record, and a folder if it can.

    asked: by name, the digest of what is asked for.
    """
    shard = _Shard(task, asked, reports, open_store(task.store), pool)
    for entry in entries:
        shard.read(entry)
    if not shard.recall():
        return
    requests = [scene.request for scene in shard.scenes]
    observer = Observer(shard.step_began, shard.step_ended, shard.step_paused, shard.scene_ended)
    reconstruct_scenes(requests, shard.store, pool, observer=observer, threads=task.threads)


@dataclass(frozen=True)
class _Scene:
    """An entry that was read: its request, the stamps of its files, and notes on its folder.

    archived: the keys of the results that its archive has, None without one.
    """

    entry: Entry
    request: Request
    stamps: Stamps
    notes: tuple[str, ...]
    archived: Collection[str] | None = None


@dataclass
class _Shard:
    """The scenes that are reconstructed together, and what is reported and kept of each."""

    task: Task
    asked: Mapping[str, str]
    reports: Reports
    store: Store
    pool: ModelPool
    scenes: list[_Scene] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def output(self) -> Path:
        """The folder of all run folders."""
        return Path(self.task.output)

    def read(self, entry: Entry) -> None:
        """Read an entry's files and check them, and its run folder, or end its scene."""
        self.reports.send(step="read", scene=entry.name, subject=WHOLE_SCENE)
        try:
            self.scenes.append(_read(entry, self.store, self.output))
        except Exception as error:  # kept in the record, a bug with its traceback in a file
            return self._fail(entry, error)
        self.reports.send(stepped="read", scene=entry.name, subject=WHOLE_SCENE)

    def recall(self) -> bool:
        """Take from the store at once what it has of these scenes, and let it have the files of
        the others; False where it does not answer."""
        self.store.forget()
        try:
            found = recall_scenes([scene.request for scene in self.scenes], self.store)
            new = [s.request for s, known in zip(self.scenes, found, strict=True) if not known]
            self.store.upload(artifact for request in new for artifact in request.files)
        except Exception as error:  # kept in the records, as above
            for scene in self.scenes:
                self._fail(scene.entry, error)
            return False
        self.scenes = [replace(s, archived=k) for s, k in zip(self.scenes, found, strict=True)]
        return True

    def step_began(self, run: SceneRun, call: StageCall) -> None:
        """Report it: should the process die, this step is suspect."""
        name = self.scenes[run.index].entry.name
        self.reports.send(step=call.stage, scene=name, subject=call.subject)

    def step_ended(self, run: SceneRun, outcome: Outcome) -> None:
        """Report and log it."""
        call, scene = outcome.call, self.scenes[run.index].entry.name
        seconds = outcome.manifest.seconds if outcome.manifest and outcome.computed else 0.0
        step = {
            "scene": scene, "subject": call.subject, "backend": call.backend, "seconds": seconds,
            "result": _result(outcome),
        }  # fmt: skip
        logged = {**step, "stage": call.stage, "failure": outcome.failure}
        logger.info("step", extra={"values": logged})
        kind = (OUT_OF_MEMORY if outcome.out_of_memory else OBJECT) if outcome.failure else ""
        held_bytes = self.pool.held_bytes
        self.reports.send(**step, stepped=call.stage, kind=kind, held_bytes=held_bytes)

    def step_paused(self, run: SceneRun, call: StageCall) -> None:
        """Report that it is not being worked on: it waits for another process, or for its turn."""
        name = self.scenes[run.index].entry.name
        self.reports.send(stepped=call.stage, scene=name, subject=call.subject)

    def scene_ended(self, run: SceneRun) -> None:
        """Write its run folder, images and record."""
        scene = self.scenes[run.index]
        if run.error is not None:
            return self._fail(scene.entry, run.error)
        self.reports.send(step="write", scene=scene.entry.name, subject=WHOLE_SCENE)
        try:
            seconds = time.monotonic() - self.started
            record = _write(scene, run, self.store, self.output, seconds)
        except Exception as error:  # kept in the record, as above
            return self._fail(scene.entry, error)
        asked = self.asked[scene.entry.name]
        self._keep(replace(record, asked=asked, stamps=scene.stamps))

    def _fail(self, entry: Entry, error: BaseException) -> None:
        kind, reason = reason_of(error, self.task.store)
        if _stops_all(error):
            self.reports.send(missing=reason, scene=entry.name, kind=kind)
        else:
            self._keep(failed_record(entry, reason), kind)

    def _keep(self, record: SceneRecord, kind: str = "") -> None:
        try:
            write_record(self.output, record)
        except OSError as error:  # of the disk: it concerns all other records, too
            kind, reason = reason_of(error, self.task.store)
            return self.reports.send(missing=reason, scene=record.name, kind=kind)
        value = asdict(replace(record, stamps=None))
        kept = ("name", "state", "grade", "reason", "steps", "computed", "seconds")
        logger.info("scene", extra={"values": {name: value[name] for name in kept}})
        self.reports.send(ended=record.name, record=value, kind=kind)


def reason_of(error: BaseException, store: str) -> tuple[str, str]:
    """The kind of failure of a scene, and why, in one line; a bug's traceback goes to a file that
    the line names."""
    if isinstance(error, (BadInput, ObjectError)):
        return BAD_INPUT if isinstance(error, BadInput) else OBJECT, str(error)
    missing = environment_fault(error)
    if missing:
        return ENVIRONMENT, missing
    path = write_fault(error, faults_root(store))
    where = f"; its traceback is in {path}" if path else ""
    return FAULT, f"a fault of photoscene itself: {type(error).__name__}: {error}{where}"


def _result(outcome: Outcome) -> str:
    if outcome.manifest is None:
        return "failed"
    return COMPUTED if outcome.computed else "cached"


def _stops_all(error: BaseException) -> bool:
    """Whether every other scene would fail of the same, too."""
    full_or_locked = isinstance(error, OSError) and error.errno in STOPPING
    return full_or_locked or isinstance(error, (BadWeights, ImportError, StoreFailed))


def _read(entry: Entry, store: Store, output: Path) -> _Scene:
    """The request of an entry; its files, prompts and run folder are checked."""
    arguments, folder = entry.arguments, output / entry.name
    assert arguments is not None
    stamps = stamps_of(arguments)  # before the files are read: what changes then is read again
    request = build_request(arguments, store.kept_here)
    check_folder(folder)
    notes = check_contents(folder, files_until(arguments.until), input_files(arguments))
    names = InputNames(f"photo {arguments.photo}", f"pointmap {arguments.point_map}")
    check_files(request, store.kept_here, names)
    return _Scene(entry, request, stamps, tuple(notes))


def _write(ready: _Scene, run: SceneRun, store: Store, output: Path, seconds: float) -> SceneRecord:
    """Write the run folder of a scene and its images."""
    entry, arguments, scene = ready.entry, ready.entry.arguments, run.scene
    assert arguments is not None and scene is not None
    made = Reconstruction(run.request, scene, run.outcomes, arguments.photo.name, seconds)
    noting = replace(store, noted=[])
    notes = write_run(output / entry.name, made, noting, input_files(arguments).values())
    write_images(output, entry.name, scene, store)
    keep_scene(made, noting, ready.archived)
    record = scene_record(entry, scene, run.outcomes, seconds)
    return replace(record, notes=(*record.notes, *ready.notes, *notes))


def _lines_in_background(file: TextIO, temporary: str) -> Iterator[Any]:
    """The values of lines as they come; the process ends with the last one, whatever it does."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in file:
            lines.put(line)
        _leave(temporary)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def _leave(temporary: str) -> NoReturn:
    """End now: whoever started this process is gone, and cannot remove its temporary files."""
    shutil.rmtree(temporary, ignore_errors=True)
    os._exit(PARENT_GONE)


class JsonLines(logging.Formatter):
    """A log record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, logger and text, and the values that it is about."""
        value = {"time": self.formatTime(record), "from": record.name,
                 "text": record.getMessage(), **getattr(record, "values", {})}  # fmt: skip
        return json.dumps(value)


class ReadReports(logging.Handler):
    """Reports every network that is read from its file."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        """Report it if the record is of a read."""
        name = getattr(record, "read", None)
        if name is not None:
            self._reports.send(read=name, seconds=getattr(record, "seconds", 0.0))


def _log_to_standard_error() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("photoscene", "stages", "scene"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


if __name__ == "__main__":
    _log_to_standard_error()
    main(int(sys.argv[1]), sys.argv[2])
