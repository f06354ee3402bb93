"""The scenes of a batch made by processes on this machine; signals end them as Ctrl-C does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.profile import load_profile, with_setting
from photoscene.batch import presence
from photoscene.batch.places import worker_places
from photoscene.batch.run import Work, carry_out
from photoscene.batch.shard_files import Making
from photoscene.batch.summary import Summary
from photoscene.batch.supervisor import Report
from photoscene.batch.worker import Task
from photoscene.cli.errors import ENVIRONMENT, INTERRUPTED
from photoscene.cli.output import DONE, INCOMPLETE, print_warnings
from photoscene.device import device_for

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
GPU_THREADS = 2  # one computes there while the other reads and writes files


def make_here(
    work: Work, output: Path, making: Making, report: Report, shard: Path | None = None
) -> str:
    """Make the missing scenes; returns why it stopped before they had ended, or "".

    shard: as for `carry_out`.
    """
    profile = load_profile(making.profile)
    for assignment in making.settings:
        profile = with_setting(profile, assignment)
    device = device_for(making.device, profile)
    # A worker sees one GPU only, whatever number this process knows it by.
    where_and_threads = ("cpu", 1) if device == "cpu" else ("cuda", GPU_THREADS)
    task = Task(str(output.absolute()), making.store, *where_and_threads)
    workers = min(making.workers, max(1, len(work.missing)))
    with worker_places(workers, device, os.environ) as places:
        return carry_out(work, task, places, making.limits, report, shard)


def exit_status(why: str, work: Work, summary: Summary) -> int:
    """The exit status of a batch that has ended, or that stopped before."""
    if why:
        print_warnings([f"stopped: {why}; run the same command to go on"])
        return INTERRUPTED if why == presence.CANCELLED else ENVIRONMENT
    unusable, names = any(e.fault for e in work.own), {entry.name for entry in work.own}
    done = all(s["state"] == "done" for s in summary["scenes"] if s["name"] in names)
    return DONE if done and not unusable else INCOMPLETE


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A scheduler that ends the job, or a terminal that is closed, stops the batch as Ctrl-C does:
    nothing is left behind."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:  # `nohup` ignores one of them
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
