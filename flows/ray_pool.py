"""The shards of a batch as tasks of a Ray cluster, with all that is asked of a work pool.

Plain Ray: a task is one call, and Ray itself repeats those of a node that is gone. prefect-ray
would put a Prefect server beside the cluster for the same calls.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.pool import RunState
from flows.shard_process import DONE, INCOMPLETE, STOPPED, ShardEnd, run_shard
from scene.errors import BadInput, CannotRun

LOST_NODES = 10  # a shard may lose, before it counts as failed
UNENDED = RunState("SCHEDULED", "")  # Ray itself notices tasks whose node is gone


class RayPool:
    """A cluster, connected to as long as this process lives: its tasks end with it."""

    kind, ends_with_command = "process", True

    def __init__(self, address: str, cpus: int, gpus: int) -> None:
        """address: HOST:PORT of the head node, or "auto"; cpus, gpus: what a shard takes."""
        if "://" in address:
            raise BadInput(f"--ray {address}: expected HOST:PORT of the head node, or auto")
        self.name, ray = address, library()
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split(".")[0].split())
            raise CannotRun(f"--ray {address}: {why}; is the head node started?") from None
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=LOST_NODES)(make_shard)
        self._refs: dict[str, Any] = {}

    def submit(self, shard: Path, name: str, key: str) -> str:
        """Submit a shard's file; returns the id of the run."""
        self._refs[key] = self._task.options(name=name).remote(str(shard))
        return key

    def states(self, runs: Sequence[str]) -> dict[str, RunState]:
        """What became of runs."""
        return {run: self._state(self._refs[run]) for run in runs}

    def open_runs(self, folder: Path) -> dict[Path, str]:
        """None: tasks end with the command that submitted them."""
        return {}

    def cancel(self, run: str) -> None:
        """Stop a run."""
        library().cancel(self._refs[run], force=True)

    def give_up(self, run: str, why: str) -> None:
        """Stop a run that counts as lost."""
        self.cancel(run)

    def has_worker(self) -> bool:
        """Whether anybody would take a shard: a cluster has nodes, and waits for larger ones."""
        return True

    def _state(self, ref: Any) -> RunState:
        ray = library()
        if not ray.wait([ref], timeout=0)[0]:
            return UNENDED
        try:
            status, reason, _ = ray.get(ref)
        except ray.exceptions.RayError as error:
            return RunState("CRASHED", " ".join(str(error).split()))
        if status in (DONE, INCOMPLETE):
            return RunState("COMPLETED", "")
        return RunState("CANCELLED" if status == STOPPED else "FAILED", reason)


def make_shard(path: str) -> ShardEnd:
    """Make a shard on the node that Ray chose."""
    return run_shard(path, lambda line: None)


@cache
def library() -> ModuleType:
    """Ray, which only `--ray` needs; `scene/telemetry.py` has turned its reports off."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CannotRun("--ray needs the library Ray: pip install 'photoscene[ray]'") from None
    return ray
