"""What `photoscene batch` does, and how it prints it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.profile import load_profile, with_setting
from photoscene.batch import presence
from photoscene.batch.entries import Entry, shard_of
from photoscene.batch.metrics import check_target, published
from photoscene.batch.places import worker_places
from photoscene.batch.run import Work, carry_out, plan_work
from photoscene.batch.sources import Chosen, read_entries
from photoscene.batch.summary import (
    check_output,
    read_summary,
    summarize,
    summary_table,
    write_summary,
)
from photoscene.batch.supervisor import Limits
from photoscene.batch.worker import Task
from photoscene.cli.batch_progress import show_scenes
from photoscene.cli.errors import ENVIRONMENT, INTERRUPTED, store_root
from photoscene.cli.options import ScenesGiven
from photoscene.cli.output import DONE, INCOMPLETE, print_result, print_warnings
from photoscene.cli.reconstruct import Where
from photoscene.device import check_device, device_for
from photoscene.inputs.request import (
    Arguments,
    check_backends,
    check_field_of_view,
    check_local,
    check_seed,
)
from photoscene.runs.folder import check_folder
from scene.errors import BadInput

MAX_WORKERS = 256
STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
GPU_THREADS = 2  # one computes there while the other reads and writes files


@dataclass(frozen=True)
class Asked:
    """The output folder, how many workers, and what they do; dry_run: only list it;
    metrics: where Prometheus finds them."""

    output: Path | None
    workers: int = 1
    dry_run: bool = False
    retry_failed: bool = False
    metrics: str | None = None
    limits: Limits = Limits()


def batch_photos(
    words: Sequence[str],
    scenes: ScenesGiven,
    asked: Asked,
    defaults: Arguments,
    where: Where,
    as_json: bool,
) -> int:
    """`photoscene batch`: returns the exit status."""
    if len(words) == 2 and words[0] in COMMANDS:
        return COMMANDS[words[0]](Path(words[1]), as_json)
    if len(words) != 1:
        raise BadInput(
            f"{' '.join(words)}: expected one folder or manifest, or `status OUT`, or `cancel OUT`"
        )
    if asked.output is None:
        raise BadInput("batch needs -o OUT: the folder of all run folders")
    return _make_scenes(Path(words[0]), scenes, asked, asked.output, defaults, where, as_json)


def _make_scenes(
    source: Path,
    scenes: ScenesGiven,
    asked: Asked,
    output: Path,
    defaults: Arguments,
    where: Where,
    as_json: bool,
) -> int:
    check_device(where.device)
    check_local(output, "-o")
    if not 1 <= asked.workers <= MAX_WORKERS:
        raise BadInput(f"--workers {asked.workers}: expected 1 to {MAX_WORKERS}")
    if scenes.limit is not None and scenes.limit < 1:
        raise BadInput(f"--limit {scenes.limit}: expected at least 1")
    if asked.metrics is not None:
        check_target(asked.metrics)
    profile = load_profile(defaults.profile)
    for assignment in defaults.settings:
        profile = with_setting(profile, assignment)
    check_backends(profile, defaults.until)
    check_seed(defaults.seed)
    if defaults.fov_x_deg is not None:
        check_field_of_view(defaults.fov_x_deg)
    store = store_root(where.store)
    for folder in (output, Path(store)):
        check_folder(folder)
    check_output(output)
    chosen = Chosen(scenes.include or (), scenes.exclude or (), scenes.limit)
    entries = read_entries(source, scenes.root, defaults, chosen, output)
    own = shard_of(entries, scenes.shard) if scenes.shard else entries
    work = plan_work(entries, own, output, asked.retry_failed)
    if asked.dry_run:
        return _show_plan(work, as_json)
    device = device_for(where.device, profile)
    # A worker sees one GPU only, whatever number this process knows it by.
    where_and_threads = ("cpu", 1) if device == "cpu" else ("cuda", GPU_THREADS)
    task = Task(str(output.absolute()), store, *where_and_threads)
    workers = min(asked.workers, max(1, len(work.missing)))
    output.mkdir(parents=True, exist_ok=True)
    why = ""
    write_summary(output, summarize(entries, output, work.known))
    try:
        with (
            stopped_by_signals(),
            worker_places(workers, device, os.environ) as places,
            published(asked.metrics, len(work.missing)) as count,
            show_scenes(len(work.missing), as_json) as show,
        ):

            def report(value: Mapping[str, Any]) -> None:
                count(value)
                show(value)

            why = carry_out(work, task, places, asked.limits, report)
    finally:
        summary = summarize(entries, output, work.known)
        write_summary(output, summary)
    print_result(summary, summary_table(summary, output), as_json)
    if why:
        print_warnings([f"stopped: {why}; run the same command to go on"])
        return INTERRUPTED if why == presence.CANCELLED else ENVIRONMENT
    unusable, names = any(entry.fault for entry in own), {entry.name for entry in own}
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


def show_status(output: Path, as_json: bool) -> int:
    """`photoscene batch status OUT`: returns the exit status."""
    summary = read_summary(output)
    listed = presence.working(output)
    living = presence.alive(output) if listed else {}
    summary["working"] = [{**s, "id": id, "alive": id in living} for id, s in listed.items()]
    lines = [summary_table(summary, output), *map(_working_line, summary["working"])]
    print_result(summary, "\n".join(lines), as_json)
    return DONE if summary["counts"]["done"] == summary["counts"]["scenes"] else INCOMPLETE


def cancel_batch(output: Path, as_json: bool) -> int:
    """`photoscene batch cancel OUT`: returns the exit status."""
    read_summary(output)
    count = presence.cancel(output)
    are = "process is" if count == 1 else "processes are"
    text = f"{count} {are} asked to stop; what is finished is kept"
    print_result({"asked_to_stop": count}, text, as_json)
    return DONE


def _working_line(state: Mapping[str, Any]) -> str:
    """A process that works on the batch, or did."""
    what = f"{state['ended']} of {state['scenes']} scenes"
    at = f", {state['stage']} of {state['scene']}" if state["stage"] else ""
    gone = "" if state["alive"] else "; it does not answer"
    return f"working: process {state['process']} on {state['host']}: {what}{at}{gone}"


def _show_plan(work: Work, as_json: bool) -> int:
    """`--dry-run`: what would be made, what stands, and the lines that cannot be used."""
    missing = {entry.name for entry in work.missing}

    def state(entry: Entry) -> str:
        return "unusable" if entry.fault else "missing" if entry.name in missing else "done"

    listed = [{"name": e.name, "line": e.line, "photo": e.photo, "state": state(e),
               "reason": e.fault} for e in work.own]  # fmt: skip
    lines = []
    for scene, entry in zip(listed, work.own, strict=True):
        reason = f": {scene['reason']}" if scene["reason"] else ""
        lines.append(f"{scene['state']:<9} {entry.title if entry.fault else entry.name}{reason}")
    lines.append(f"{len(missing)} of {len(listed)} scenes would be made")
    print_result({"scenes": listed}, "\n".join(lines), as_json)
    return INCOMPLETE if any(entry.fault for entry in work.own) else DONE


COMMANDS = {"status": show_status, "cancel": cancel_batch}
