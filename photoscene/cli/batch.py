"""What `photoscene batch` does, and how it prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.profile import load_profile, with_setting
from photoscene.batch import presence
from photoscene.batch.entries import Entry, shard_of
from photoscene.batch.places import worker_places
from photoscene.batch.run import Tally, Work, carry_out, plan_work
from photoscene.batch.sources import Chosen, read_entries
from photoscene.batch.summary import read_summary, summarize, summary_table, write_summary
from photoscene.batch.supervisor import Limits, Report
from photoscene.batch.worker import Task
from photoscene.cli.commands import DONE, INCOMPLETE, Where
from photoscene.cli.errors import ENVIRONMENT, INTERRUPTED, store_root
from photoscene.cli.options import ScenesGiven
from photoscene.device import check_device, device_for
from photoscene.inputs.request import Arguments, check_backends, check_local
from photoscene.runs.folder import check_folder
from scene.errors import BadInput
from scene.text import printable

MAX_WORKERS = 256
GPU_THREADS = 2  # one computes there while the other reads and writes files


@dataclass(frozen=True)
class Asked:
    """The output folder, how many workers, and what they do; dry_run: only list it."""

    output: Path | None
    workers: int = 1
    dry_run: bool = False
    retry_failed: bool = False
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
    profile = load_profile(defaults.profile)
    for assignment in defaults.settings:
        profile = with_setting(profile, assignment)
    check_backends(profile, defaults.until)
    check_folder(output)
    chosen = Chosen(scenes.include or (), scenes.exclude or (), scenes.limit)
    entries = read_entries(source, scenes.root, defaults, chosen, output)
    own = shard_of(entries, scenes.shard) if scenes.shard else entries
    work = plan_work(entries, own, output, asked.retry_failed)
    if asked.dry_run:
        return _show_plan(work, as_json)
    device = device_for(where.device, profile)
    # A worker sees one GPU only, whatever number this process knows it by.
    where_and_threads = ("cpu", 1) if device == "cpu" else ("cuda", GPU_THREADS)
    task = Task(str(output.absolute()), store_root(where.store), *where_and_threads)
    workers = min(asked.workers, max(1, len(work.missing)))
    output.mkdir(parents=True, exist_ok=True)
    why = ""
    write_summary(output, summarize(entries, output, work.known))
    try:
        with worker_places(workers, device) as places, _progress(work, as_json) as report:
            why = carry_out(work, task, places, asked.limits, report)
    finally:
        summary = summarize(entries, output, work.known)
        write_summary(output, summary)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print(printable_lines(summary_table(summary, output)))
    if why:
        remedy = "run the same command to go on"
        print(f"photoscene: stopped: {printable(why)}; {remedy}", file=sys.stderr)
        return INTERRUPTED if why == presence.CANCELLED else ENVIRONMENT
    names = {entry.name for entry in own}
    ours = [s for s in summary["scenes"] if s["name"] in names]
    return DONE if all(s["state"] == "done" for s in ours) else INCOMPLETE


def show_status(output: Path, as_json: bool) -> int:
    """`photoscene batch status OUT`: returns the exit status."""
    summary = read_summary(output)
    listed = presence.working(output)
    living = presence.alive(output) if listed else {}
    summary["working"] = [{**s, "id": id, "alive": id in living} for id, s in listed.items()]
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        lines = [summary_table(summary, output)]
        for state in summary["working"]:
            what = f"{state['ended']} of {state['scenes']} scenes"
            at = f", {state['stage']} of {state['scene']}" if state["stage"] else ""
            gone = "" if state["alive"] else "; it does not answer: run the batch again"
            who = f"process {state['process']} on {state['host']}"
            lines.append(f"working: {who}: {what}{at}{gone}")
        print(printable_lines("\n".join(lines)))
    return DONE if summary["counts"]["done"] == summary["counts"]["scenes"] else INCOMPLETE


def cancel_batch(output: Path, as_json: bool) -> int:
    """`photoscene batch cancel OUT`: returns the exit status."""
    read_summary(output)
    count = presence.cancel(output)
    if as_json:
        print(json.dumps({"asked_to_stop": count}))
    else:
        are = "process is" if count == 1 else "processes are"
        print(f"{count} {are} asked to stop; what is finished is kept")
    return DONE


def printable_lines(text: str) -> str:
    """Text for a terminal, line by line."""
    return "\n".join(printable(line) for line in text.splitlines())


def _show_plan(work: Work, as_json: bool) -> int:
    """`--dry-run`: what would be made, what stands, and the lines that cannot be used."""
    missing = {entry.name for entry in work.missing}

    def state(entry: Entry) -> str:
        return "unusable" if entry.fault else "missing" if entry.name in missing else "done"

    listed = [{"name": e.name, "line": e.line, "photo": e.photo, "state": state(e),
               "reason": e.fault} for e in work.own]  # fmt: skip
    if as_json:
        print(json.dumps({"scenes": listed}, indent=1))
    else:
        for scene, entry in zip(listed, work.own, strict=True):
            reason = f": {scene['reason']}" if scene["reason"] else ""
            print(printable(f"{scene['state']:<9} {scene['name'] or entry.title}{reason}"))
        print(f"{len(missing)} of {len(listed)} scenes would be made")
    return INCOMPLETE if any(entry.fault for entry in work.own) else DONE


@contextmanager
def _progress(work: Work, as_json: bool) -> Iterator[Report]:
    """A line that is renewed on a terminal, else a line per scene, on standard error."""
    tally = Tally(len(work.missing))
    if as_json or not sys.stderr.isatty():
        yield lambda value: _print_ended(tally, value)
        return
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True)
    with Status(_progress_line(tally), console=console) as shown:

        def report(value: Mapping[str, Any]) -> None:
            record = tally.take(value)
            if record is not None and record["state"] != "done":
                console.print(_ended_line(tally, record), markup=False, highlight=False)
            shown.update(_progress_line(tally))

        yield report


def _print_ended(tally: Tally, value: Mapping[str, Any]) -> None:
    record = tally.take(value)
    if record is not None:
        print(_ended_line(tally, record), file=sys.stderr, flush=True)
    elif "died" in value:
        print(f"a worker {printable(value['died'])}: replaced", file=sys.stderr, flush=True)


def _ended_line(tally: Tally, record: Mapping[str, Any]) -> str:
    reasons = [record["reason"], *(o["failure"] for o in record["objects"])]
    what = record["grade"] if record["state"] == "done" else record["state"]
    reason = "; ".join(filter(None, reasons))
    steps = f"{record['computed']} of {record['steps']} steps computed"
    cost = f"{len(record['objects'])} objects, {steps}"
    line = f"{tally.ended}/{tally.scenes}  {record['name']}  {what}  {reason or cost}"
    return printable(line)


def _progress_line(tally: Tally) -> str:
    left = tally.seconds_left
    rate = f", {_duration(left)} left" if left is not None else ""
    failed = (
        f", {tally.failed + tally.incomplete} with failures"
        if tally.failed + tally.incomplete
        else ""
    )
    at = f", {tally.stage}" if tally.stage else ""
    return f"{tally.ended} of {tally.scenes} scenes, {tally.objects} objects{at}{rate}{failed}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes}:{rest:02d} min"


COMMANDS = {"status": show_status, "cancel": cancel_batch}
