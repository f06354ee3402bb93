"""The Prefect flow of a batch's shard: a child process makes its scenes; this one watches it.

The child starts no server and needs none, so that one that is away for a while harms nothing; and
a hung native call, or its memory, ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.shard_artifacts import create_artifacts
from scene import child

PROCESS = "photoscene.cli.batch_shard"
DONE, INCOMPLETE, STOPPED = 0, 1, 130  # exit statuses of the process
END_S = 15.0  # Prefect kills this process 30 s after it asked it to end
ERROR = "photoscene: "  # begins the line that says why nothing could be made


@flow(name="batch-shard", flow_run_name="{name}", persist_result=False, retries=0)
def batch_shard(shard: str, name: str = "shard") -> State[None]:
    """Make the scenes that a file of `photoscene batch --pool` lists.

    shard: the file's absolute path, the same on all machines; name: of the run. Fails with the
    reason where nothing could be made; scenes that fail are in the message, and in their records.
    """
    logger, reason = get_run_logger(), ""
    with tempfile.TemporaryFile() as answer, shard_process(shard, answer) as process:
        assert process.stderr
        for line in process.stderr:
            logger.info(line.rstrip())
            reason = line.strip() if line.startswith(ERROR) else reason
        status = process.wait()
        answer.seek(0)
        summary: dict[str, Any] = json.loads(answer.read() or b"{}")
    if status == STOPPED:
        return Cancelled(message=reason.removeprefix(ERROR) or "stopped")
    if status not in (DONE, INCOMPLETE):
        return Failed(message=reason.removeprefix(ERROR) or _cause_of_death(status))
    create_artifacts(Path(shard).parents[2], summary, logger)
    return Completed(message=_message(summary))


@contextlib.contextmanager
def shard_process(shard: str, answer: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The process that makes a shard's scenes, in a group of its own; ended when left.

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


def _message(summary: Mapping[str, Any]) -> str:
    counts = summary["counts"]
    parts = [f"{n} {state}" for state, n in counts.items() if n and state != "scenes"]
    return f"{counts['scenes']} scenes: {', '.join(parts)}"


def _cause_of_death(status: int) -> str:
    cause = f"ended with status {status}"
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        cause = f"was killed by {known.get(-status, f'signal {-status}')}"
    return f"the process {cause}"
