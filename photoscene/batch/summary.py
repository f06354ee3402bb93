"""What came of a batch: batch.json for machines, a table for people."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from photoscene.batch.entries import KEPT, PAGE, SUMMARY, Entry
from photoscene.batch.records import (
    FORMAT,
    SceneRecord,
    failed_record,
    read_json,
    read_scene_record,
)
from scene.atomic import write_atomically
from scene.claims import claims_at
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest

LOCK = digest(SUMMARY.encode())
STATES = ("done", "incomplete", "failed", "missing")


def summarize(entries: Sequence[Entry], output: Path, known: Mapping[str, SceneRecord]) -> Summary:
    """The state of every scene by the records in the output folder; known: records at hand."""
    scenes = []
    for entry in entries:
        unusable = entry.fault and failed_record(replace(entry, name=""), entry.fault)
        record = unusable or known.get(entry.name)
        record = record or read_scene_record(output, entry.name)
        scenes.append(_missing(entry) if record is None else _scene(record, entry))
    counts = Counter(scene["state"] for scene in scenes)
    return {
        "format": FORMAT,
        "counts": {"scenes": len(scenes), **{state: counts[state] for state in STATES}},
        "grades": dict(sorted(Counter(s["grade"] for s in scenes if s["grade"]).items())),
        "objects": sum(len(scene["objects"]) for scene in scenes),
        "scenes": scenes,
    }


Summary = dict[str, Any]


def keep_summary(
    entries: Sequence[Entry], output: Path, known: Mapping[str, SceneRecord]
) -> Summary:
    """Write batch.json and the page of the scenes as they stand now; returns the summary.

    One process at a time: whoever writes last knows what the others have recorded.
    """
    from photoscene.batch.page import batch_page

    with claims_at(output / KEPT / "locks").claim(LOCK):
        summary = summarize(entries, output, known)
        write_atomically(output / SUMMARY, encode_json(summary))
        write_atomically(output / PAGE, batch_page(summary, output))
    return summary


def check_output(output: Path) -> None:
    """BadInput where the summary, the page or the records would replace somebody else's files."""
    from photoscene.batch.page import is_batch_page

    if os.path.lexists(output / KEPT) and not (output / KEPT).is_dir():
        raise _not_of_a_batch(output / KEPT)
    for name, is_own in ((SUMMARY, _is_summary), (PAGE, is_batch_page)):
        path = output / name
        regular = path.is_file() and not path.is_symlink()
        # An empty file is what a power cut may leave of one, and nothing is lost with it.
        free = regular and (path.stat().st_size == 0 or is_own(path))
        if os.path.lexists(path) and not free:
            raise _not_of_a_batch(path)


def _not_of_a_batch(path: Path) -> BadInput:
    return BadInput(f"{path} is not of a batch and is kept: give another -o, or rename it")


def read_summary(output: Path) -> Summary:
    """The summary of an output folder, its scenes as they stand now; BadInput where it has none."""
    return summarize(summarized_entries(output), output, {})


def summarized_entries(output: Path) -> list[Entry]:
    """The scenes that the summary of an output folder lists; BadInput where it has none."""
    path = output / SUMMARY
    if not path.exists():
        raise BadInput(f"{output} is not the output folder of a batch: it has no {SUMMARY}")
    if not _is_summary(path):
        raise BadInput(f"{path} is not of a batch, or damaged: run the batch again with another -o")
    return [
        Entry(s["name"], s["line"], s["photo"], None, s["reason"] if s["fault"] else "")
        for s in read_json(path)["scenes"]
    ]


def _is_summary(path: Path) -> bool:
    value = read_json(path) if path.is_file() else None
    return isinstance(value, dict) and value.get("format") == FORMAT


def summary_table(summary: Summary, output: Path) -> str:
    """What a person wants to know: how many, of which grades, and each failure with its reason."""
    counts = summary["counts"]
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    lines = [f"{counts['scenes']} scenes: {', '.join(parts)}"]
    if summary["grades"]:
        grades = ", ".join(f"{n} {grade}" for grade, n in summary["grades"].items())
        lines.append(f"{summary['objects']} objects; worst grade of a scene: {grades}")
    for scene in summary["scenes"]:
        if scene["state"] in ("incomplete", "failed"):
            lines.append(f"{scene['state'].upper()} {_title(scene)}: {_reason(scene)}")
    lines.append(f"page: {output / PAGE}")
    return "\n".join(lines)


def _title(scene: Mapping[str, Any]) -> str:
    name = scene["name"] or scene["photo"] or "no photo"
    return name if scene["line"] is None else f"line {scene['line']} ({name})"


def _reason(scene: Mapping[str, Any]) -> str:
    failures = [f"{o['name']}: {o['failure']}" for o in scene["objects"] if o["failure"]]
    return "; ".join([*([scene["reason"]] if scene["reason"] else []), *failures])


def _scene(record: SceneRecord, entry: Entry) -> dict[str, Any]:
    """A scene as the summary has it; its line is that of now, wherever it was when it was made."""
    value = {**vars(record), "line": entry.line, "photo": entry.photo, "fault": not record.name}
    for name in ("asked", "stamps"):
        del value[name]
    return {**value, "objects": [{**vars(o)} for o in record.objects], "notes": [*record.notes]}


def _missing(entry: Entry) -> dict[str, Any]:
    record = SceneRecord(entry.name, entry.line, entry.photo, "failed")
    return {**_scene(record, entry), "state": "missing"}
