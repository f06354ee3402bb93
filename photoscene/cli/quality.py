"""`photoscene quality`: prints the rubric of a run."""

from __future__ import annotations

from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.output import DONE, INCOMPLETE, print_result, print_warnings
from photoscene.quality.judging import judge_run
from photoscene.quality.kept import QUALITY, quality_file
from photoscene.quality.rubric import FAIL
from photoscene.quality.showing import quality_lines, quality_to_json
from photoscene.runs.folder import read_run, read_scene
from photoscene.runs.writing import write_page, write_report
from scene.store import open_store


def show_quality(
    folder: Path, every: bool, keep: bool, store_path: str | None, as_json: bool
) -> int:
    """Returns the exit status: 1 where a row fails. every: rows that pass are printed, too; keep:
    the rubric goes into the run's folder and its report."""
    store = open_store(store_root(store_path or read_run(folder).record.store))
    quality = judge_run(folder, store)
    if keep:
        data = quality_file(quality, read_scene(folder))
        warnings = write_page(read_run(folder), QUALITY, data)
        print_warnings([*warnings, *write_report(folder, store)])
    text = "\n".join(quality_lines(quality, every))
    print_result({"run": str(folder), **quality_to_json(quality)}, text, as_json)
    return INCOMPLETE if quality.verdict == FAIL else DONE
