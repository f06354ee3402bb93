"""Who works on a batch: a file per process that it renews, and the list of those to be stopped.

Clocks of several machines differ by minutes: whether a process lives is seen by whether its file
changes while one watches, never by how old it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from photoscene.batch.records import COMPUTED, KEPT, read_json
from photoscene.batch.shard_files import shard_files
from scene.atomic import write_atomically
from scene.files import encode_json

CANCELLED = "cancelled"
RENEW_S = 2.0
WATCH_S = 3 * RENEW_S  # how long a file is watched before its process counts as gone


class Presence:
    """The file of this process while it works; removed at its end.

    shard: the file of the shard that it makes; without that file it is to stop.
    """

    def __init__(self, output: Path, scenes: int, shard: Path | None = None) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._output, self._path = output, working_folder(output) / f"{self.id}.json"
        self._shard = shard
        self._renewed = self._entered = 0.0
        self._others: Mapping[str, Any] = {}
        self._state: dict[str, Any] = {
            "host": socket.gethostname(), "process": os.getpid(), "scenes": scenes, "ended": 0,
            "computed": 0, "scene": "", "stage": "", "count": 0,
            "shard": shard.stem if shard else "",
        }  # fmt: skip

    def __enter__(self) -> Presence:
        forget_gone(self._output)
        self._others, self._entered = working(self._output), time.monotonic()
        self.renew()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        if time.monotonic() - self._entered > WATCH_S:
            now = working(self._output)
            _forget(self._output, [id for id, s in self._others.items() if now.get(id) == s])

    def note(self, value: Mapping[str, Any]) -> None:
        """Take note of a worker's report."""
        if "step" in value:
            self._state |= {"scene": value["scene"], "stage": value["step"]}
        self._state["ended"] += "ended" in value
        self._state["computed"] += value.get("result") == COMPUTED

    def renew(self) -> None:
        """Write the file again if it is time; a full disk is noticed by those who write results."""
        now = time.monotonic()
        if now - self._renewed < RENEW_S:
            return
        self._renewed = now
        self._state["count"] += 1
        with contextlib.suppress(OSError):
            write_atomically(self._path, encode_json(self._state))

    def is_cancelled(self) -> bool:
        """Whether somebody asked this process to stop."""
        gone = self._shard is not None and not self._shard.exists()
        return gone or self.id in cancelled(self._output)


def working_folder(output: Path) -> Path:
    """Where the files of working processes lie."""
    return output / KEPT / "working"


def working(output: Path) -> dict[str, dict[str, Any]]:
    """The state of every process that has a file, by id."""
    found = {path.stem: read_json(path) for path in working_folder(output).glob("*.json")}
    return {id: state for id, state in sorted(found.items()) if isinstance(state, dict)}


def alive(output: Path) -> dict[str, dict[str, Any]]:
    """The processes whose files change while this function watches."""
    before, began = working(output), time.monotonic()
    living: dict[str, dict[str, Any]] = {}
    while len(living) < len(before) and time.monotonic() - began < WATCH_S:
        time.sleep(RENEW_S / 4)
        now = working(output)
        living |= {id: s for id, s in now.items() if id in before and s != before[id]}
        before = {id: state for id, state in before.items() if id in now}
    return living


def forget_gone(output: Path) -> None:
    """Remove the files of processes of this machine that were killed."""
    here = {id: s for id, s in working(output).items() if s["host"] == socket.gethostname()}
    _forget(output, [id for id, state in here.items() if not _exists(state["process"])])


def _forget(output: Path, ids: Iterable[str]) -> None:
    """Remove files of processes; one that lives after all writes its file again."""
    for id in ids:
        with contextlib.suppress(OSError):
            (working_folder(output) / f"{id}.json").unlink()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def cancelled(output: Path) -> list[str]:
    """The ids of the processes and shards that are to stop."""
    listed = read_json(output / KEPT / "cancelled")
    return listed if isinstance(listed, list) else []


def waiting_shards(output: Path) -> set[str]:
    """The ids of the shards that nobody makes just now."""
    return {path.stem for path in shard_files(output)} - {
        state.get("shard") for state in working(output).values()
    }


def cancel(output: Path) -> tuple[int, int]:
    """Ask all processes that work on the batch to stop, and remove the files of its shards.

    Returns how many processes there are, and how many shards nobody had begun.
    """
    forget_gone(output)
    states, shards, waiting = working(output), [*shard_files(output)], waiting_shards(output)
    ids = [path.stem for path in shards]
    listed = sorted({*cancelled(output), *states, *ids})
    write_atomically(output / KEPT / "cancelled", encode_json(listed))
    for path in shards:
        path.unlink(missing_ok=True)
    return len(states), len(waiting)
