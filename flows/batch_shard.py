"""The Prefect flow of a batch's shard: a child process makes its scenes; this one watches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.shard_artifacts import create_artifacts
from flows.shard_process import DONE, INCOMPLETE, STOPPED, run_shard


@flow(name="batch-shard", flow_run_name="{name}", persist_result=False, retries=0)
def batch_shard(shard: str, name: str = "shard") -> State[None]:
    """Make the scenes that a file of `photoscene batch --pool` lists.

    shard: the file's absolute path, the same on all machines; name: of the run. Fails with the
    reason where nothing could be made; scenes that fail are in the message, and in their records.
    """
    logger = get_run_logger()
    status, reason, summary = run_shard(shard, logger.info)
    if status == STOPPED:
        return Cancelled(message=reason or "stopped")
    if status not in (DONE, INCOMPLETE):
        return Failed(message=reason)
    create_artifacts(Path(shard).parents[2], summary, logger)
    return Completed(message=_message(summary))


def _message(summary: Mapping[str, Any]) -> str:
    counts = summary["counts"]
    parts = [f"{n} {state}" for state, n in counts.items() if n and state != "scenes"]
    return f"{counts['scenes']} scenes: {', '.join(parts)}"
