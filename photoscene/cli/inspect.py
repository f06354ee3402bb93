"""`photoscene inspect`: prints what a run read and made, or how it differs from another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.output import DONE, INCOMPLETE, print_result, print_warnings
from photoscene.runs import inspection
from photoscene.runs.comparison import compare_runs, comparison_text, comparison_to_json
from photoscene.runs.fits import find_object
from photoscene.runs.folder import (
    REPORT,
    read_run,
)
from photoscene.runs.writing import write_report
from scene.store import open_store


@dataclass(frozen=True)
class Inspecting:
    """What of a run is inspected, and how: one object, one stage, only the paths of the files, the
    page, or the differences from another run."""

    object: str | None = None
    stage: str | None = None
    open: bool = False
    html: bool = False
    diff: Path | None = None


def inspect_run(folder: Path, asked: Inspecting, store_path: str | None, as_json: bool) -> int:
    """`photoscene inspect`: returns the exit status."""

    run = read_run(folder)
    if asked.diff is not None:
        compared = compare_runs(run, read_run(asked.diff))
        print_result(comparison_to_json(compared), comparison_text(compared), as_json)
        return DONE
    store = open_store(store_root(store_path or run.record.store))
    if asked.html:
        print_warnings(write_report(folder, store))
        print(folder / REPORT)
        return DONE
    object_id = None if asked.object is None else find_object(run, asked.object)
    found = inspection.only(inspection.inspect_run(run, store), object_id, asked.stage)
    if asked.open:
        print("\n".join(inspection.paths_of(found)))
    else:
        table = inspection.inspection_table(found)
        print_result(inspection.inspection_to_json(found), table, as_json)
    return DONE if found.intact else INCOMPLETE
