"""How far a batch is, on standard error: one line that is renewed, or a line per scene."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from photoscene.batch.metrics import published
from photoscene.batch.run import Tally
from photoscene.batch.supervisor import Report
from scene.text import printable


@contextmanager
def show_and_publish(count: int, metrics: str | None, as_json: bool) -> Iterator[Report]:
    """Progress for people, and for Prometheus where `metrics` names a place."""
    with published(metrics, count) as publish, show_scenes(count, as_json) as show:

        def report(value: Mapping[str, Any]) -> None:
            publish(value)
            show(value)

        yield report


@contextmanager
def show_scenes(count: int, as_json: bool) -> Iterator[Report]:
    """A line that is renewed on a terminal, else a line per scene, on standard error."""
    tally = Tally(count)
    if as_json or not sys.stderr.isatty():
        yield lambda value: _print_ended(tally, value)
        return
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True)
    with Status(_progress_line(tally), console=console) as shown:

        def report(value: Mapping[str, Any]) -> None:
            record = tally.take(value)
            if "note" in value:
                console.print(printable(value["note"]), markup=False, highlight=False)
            if record is not None and record["state"] != "done":
                console.print(_ended_line(tally, record), markup=False, highlight=False)
            shown.update(_progress_line(tally))

        yield report


def _print_ended(tally: Tally, value: Mapping[str, Any]) -> None:
    record = tally.take(value)
    if record is not None:
        print(_ended_line(tally, record), file=sys.stderr, flush=True)
    elif "note" in value:
        print(printable(value["note"]), file=sys.stderr, flush=True)
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
