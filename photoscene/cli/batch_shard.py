"""The process that makes the scenes of a shard's file, as the flow of a work pool starts it.

Started as `python -m photoscene.cli.batch_shard FILE`. Lines of progress go to standard error, the
summary of its scenes to standard output; exit statuses are those of `photoscene batch`. It ends
when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import typer

from photoscene.batch.records import KEPT
from photoscene.batch.run import Work, plan_work
from photoscene.batch.shard_files import Shard, output_of, read_shard, shard_files
from photoscene.batch.summary import keep_summary, summarize, summarized_entries
from photoscene.cli.batch_here import exit_status, make_here, stopped_by_signals
from photoscene.cli.batch_progress import show_scenes
from photoscene.cli.errors import INTERRUPTED, reported
from photoscene.cli.output import print_result, print_warnings
from photoscene.runs.folder import check_store
from scene.claims import claims_at
from scene.errors import BadInput, CannotRun
from scene.keys import digest


def make_shard(path: Path) -> int:
    """Make a shard's missing scenes; returns the exit status.

    Its file is removed once all of them have ended. A second process for the same shard waits for
    the first: one that was taken for dead may live.
    """
    with stopped_by_signals(), claims_at(output_of(path) / KEPT / "locks").claim(_key(path)):
        shard = read_shard(path)
        if shard is None:
            print_warnings([f"{path}: the shard was cancelled, or another process has made it"])
            return INTERRUPTED
        return _make(path, shard)


def _make(path: Path, shard: Shard) -> int:
    output, making = output_of(path), shard.making
    check_store(making.store)
    work = plan_work(shard.entries, shard.entries, output, making.retry_failed)
    _check_versions(work, shard)
    with show_scenes(len(work.missing), as_json=False) as report:
        why = make_here(work, output, making, report, path)
    summary = summarize(shard.entries, output, work.known)
    if not why:
        path.unlink(missing_ok=True)
        if not any(shard_files(output)):  # it was the last one, and perhaps nobody watches
            with contextlib.suppress(BadInput):  # without batch.json only the command makes it
                keep_summary(summarized_entries(output), output, {})
    print_result(summary, "", as_json=True)
    return exit_status(why, work, summary)


def _check_versions(work: Work, shard: Shard) -> None:
    """What another version makes here would be made again by whoever asked for it."""
    if work.asked != shard.asked:
        raise CannotRun(
            "photoscene, its backends or weights are of another version here than where the shard "
            "was submitted: install the same on all machines"
        )


def _key(path: Path) -> str:
    return digest(path.stem.encode())


def _end_with_parent() -> None:
    """Stop as by a signal once standard input is closed."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with reported(debug=False):
            sys.exit(make_shard(Path(sys.argv[1])))
    except typer.Exit as stopped:
        sys.exit(stopped.exit_code)
