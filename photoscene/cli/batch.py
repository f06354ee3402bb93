"""What `photoscene batch` does, and how it prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.profile import load_profile, with_setting
from photoscene.batch import presence
from photoscene.batch.entries import Entry, shard_of
from photoscene.batch.metrics import check_target
from photoscene.batch.run import Work, plan_work
from photoscene.batch.shard_files import Making
from photoscene.batch.sources import Chosen, read_entries
from photoscene.batch.summary import (
    check_output,
    keep_summary,
    read_summary,
    summary_table,
)
from photoscene.batch.supervisor import Limits
from photoscene.cli.batch_elsewhere import make_elsewhere, open_pool
from photoscene.cli.batch_here import exit_status, make_here, stopped_by_signals
from photoscene.cli.batch_progress import show_and_publish
from photoscene.cli.errors import store_root
from photoscene.cli.options import ScenesGiven
from photoscene.cli.output import DONE, INCOMPLETE, print_result
from photoscene.cli.reconstruct import Where
from photoscene.device import check_device
from photoscene.inputs.request import (
    Arguments,
    check_backends,
    check_field_of_view,
    check_local,
    check_seed,
)
from photoscene.runs.folder import check_folder, check_store
from scene.errors import BadInput

MAX_WORKERS, MAX_SHARD_SIZE = 256, 64


@dataclass(frozen=True)
class Asked:
    """The output folder, how many workers, and what they do; dry_run: only list it; metrics: where
    Prometheus finds them; pool, ray: the work pool, or the Ray cluster's address, that makes it in
    shards of at most shard_size scenes, None for this machine."""

    output: Path | None
    workers: int = 1
    pool: str | None = None
    ray: str | None = None
    shard_size: int = 32
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
    ways = {"--pool": asked.pool, "--ray": asked.ray, "--shard": scenes.shard}
    given = [option for option, value in ways.items() if value is not None]
    if len(given) > 1:
        raise BadInput(f"{' and '.join(given)} both say who makes which scenes: give one of them")
    if not 1 <= asked.shard_size <= MAX_SHARD_SIZE:
        raise BadInput(f"--shard-size {asked.shard_size}: expected 1 to {MAX_SHARD_SIZE}")
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
    store = store_root(where.store, defaults.profile)
    check_folder(output)
    check_store(store)
    check_output(output)
    chosen = Chosen(scenes.include or (), scenes.exclude or (), scenes.limit)
    entries = read_entries(source, scenes.root, defaults, chosen, output)
    own = shard_of(entries, scenes.shard) if scenes.shard else entries
    work = plan_work(entries, own, output, asked.retry_failed)
    if asked.dry_run:
        return _show_plan(work, as_json)
    making = Making(
        store, where.device, defaults.profile, (*defaults.settings,), asked.workers,
        asked.retry_failed, asked.limits,
    )  # fmt: skip
    pool = open_pool(asked.pool, asked.ray, making, output) if work.missing else None
    output.mkdir(parents=True, exist_ok=True)
    why = ""
    keep_summary(entries, output, work.known)
    try:
        with (
            stopped_by_signals(),
            show_and_publish(len(work.missing), asked.metrics, as_json) as report,
        ):
            if pool is not None:
                why = make_elsewhere(work, output, making, pool, asked.shard_size, report)
            elif work.missing:
                why = make_here(work, output, making, report)
    finally:
        summary = keep_summary(entries, output, work.known)
    print_result(summary, summary_table(summary, output), as_json)
    return exit_status(why, work, summary)


def show_status(output: Path, as_json: bool) -> int:
    """`photoscene batch status OUT`: returns the exit status."""
    summary = read_summary(output)
    listed = presence.working(output)
    living = presence.alive(output) if listed else {}
    summary["working"] = [{**s, "id": id, "alive": id in living} for id, s in listed.items()]
    waiting = presence.waiting_shards(output)
    summary["waiting_shards"] = len(waiting)
    lines = [summary_table(summary, output), *map(_working_line, summary["working"])]
    if waiting:
        lines.append(f"shards that wait for a worker: {len(waiting)}")
    print_result(summary, "\n".join(lines), as_json)
    return DONE if summary["counts"]["done"] == summary["counts"]["scenes"] else INCOMPLETE


def cancel_batch(output: Path, as_json: bool) -> int:
    """`photoscene batch cancel OUT`: returns the exit status."""
    read_summary(output)
    count, waiting = presence.cancel(output)
    are = "process is" if count == 1 else "processes are"
    back = f"; waiting shards taken back: {waiting}" if waiting else ""
    text = f"{count} {are} asked to stop{back}; what is finished is kept"
    print_result({"asked_to_stop": count, "taken_back": waiting}, text, as_json)
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
