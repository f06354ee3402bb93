"""The scenes of a batch made by a Prefect work pool, with the progress of all its machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from photoscene.batch.run import Work
from photoscene.batch.shard_files import Making
from photoscene.batch.supervisor import Report
from photoscene.cli.output import print_warnings
from scene.errors import BadInput

if TYPE_CHECKING:
    from photoscene.batch.pool import Pool


def open_pool(
    name: str | None, ray_address: str | None, making: Making, output: Path
) -> Pool | None:
    """The user's work pool or Ray cluster; None where neither is named.

    Says on standard error where nobody would take its shards. Raises BadInput where it cannot make
    this batch, CannotRun where its server is away.
    """
    if name is None and ray_address is None:
        return None
    if not _is_utf8(str(output.absolute())):
        raise BadInput(f"-o {output}: --pool and --ray need a path in UTF-8")
    if name is None:
        from flows.ray_pool import RayPool

        gpus = making.workers if making.device.startswith("cuda") else 0
        return RayPool(ray_address or "auto", making.workers, gpus)
    from flows.pool import work_pool
    from photoscene.batch.pool import no_worker

    pool = work_pool(name)
    if pool.is_paused:
        resume = f"`prefect work-pool resume {name}`"
        print_warnings([f"work pool {name} is paused: nothing begins before {resume}"])
    elif not pool.has_worker():
        print_warnings([no_worker(name)])
    return pool


def make_elsewhere(
    work: Work, output: Path, making: Making, pool: Pool, size: int, report: Report
) -> str:
    """Let a pool make the missing scenes; returns why it stopped before they had ended, or ""."""
    from photoscene.batch.pool import Watch, make_by_pool

    output = output.absolute()
    watch = Watch(output, pool, report)
    try:
        return make_by_pool(work, making, size, watch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; run the same command to go on"
            if pool.ends_with_command
            else f"no longer watching; shards that go on: {watch.count}; the same command watches "
            f"them again, `photoscene batch cancel {output}` stops them"
        ) from None


def _is_utf8(text: str) -> bool:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") == text
