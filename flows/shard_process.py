"""The process that makes a shard's scenes, as whoever has a shard to make starts it and ends it.

It starts no server and needs none, so that one that is away for a while harms nothing; and a hung
native call, or its memory, ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from scene import child

PROCESS = "photoscene.cli.batch_shard"
DONE, INCOMPLETE, STOPPED = 0, 1, 130  # exit statuses of the process
END_S = 15.0  # Prefect kills its own process 30 s after it asked it to end
ERROR = "photoscene: "  # begins the line that says why nothing could be made


class ShardEnd(NamedTuple):
    """How the process ended: its exit status; reason: why nothing could be made, or ""; summary: of
    its scenes."""

    status: int
    reason: str
    summary: Mapping[str, Any]


def run_shard(shard: str, log: Callable[[str], object]) -> ShardEnd:
    """Make the scenes that a shard's file lists; log is called with each line of progress."""
    reason = ""
    with tempfile.TemporaryFile() as answer, _process(shard, answer) as process:
        assert process.stderr
        for line in process.stderr:
            log(line.rstrip())
            reason = line.strip() if line.startswith(ERROR) else reason
        status = process.wait()
        answer.seek(0)
        summary = json.loads(answer.read() or b"{}")
    if status not in (DONE, INCOMPLETE, STOPPED) and not reason:
        reason = _cause_of_death(status)
    return ShardEnd(status, reason.removeprefix(ERROR), summary)


@contextlib.contextmanager
def _process(shard: str, answer: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The process, in a group of its own; ended when left.

    It ends, too, when its standard input is closed: by whoever is killed here.
    """
    process = subprocess.Popen(
        child.python(PROCESS, shard),
        stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.PIPE,
        text=True, errors="replace", env=child.environment(), start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Let it end its own processes, then kill what is left."""
    assert process.stdin and process.stderr
    process.stdin.close()
    threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would hold it
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _cause_of_death(status: int) -> str:
    cause = f"ended with status {status}"
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        cause = f"was killed by {known.get(-status, f'signal {-status}')}"
    return f"the process {cause}"
