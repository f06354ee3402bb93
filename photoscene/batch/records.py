"""What a batch keeps in its output folder: a record per scene, who works on it, and the summary.

    OUT/NAME/                       the run folder of a scene
    OUT/batch.json, OUT/index.html  the summary, for machines and for people
    OUT/.batch/scenes/NAME.json     what came of a scene, written by whoever made it
    OUT/.batch/images/NAME.*.jpg    the small images of the page
    OUT/.batch/working/ID.json      a process that works on the batch; it renews the file
    OUT/.batch/logs/ID.jsonl        its log
    OUT/.batch/cancelled            the ids of those that are to stop
    OUT/.batch/shards/ID.json       a shard for a work pool, until it has ended or is cancelled
    OUT/.batch/locks                held for a shard, and while the summary is written

Files are replaced as a whole, so that any machine that sees the folder may read them at any time.
No clock of one machine is compared with that of another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flows.calls import Outcome
from photoscene.batch.entries import KEPT, Entry
from photoscene.inputs.request import Arguments, absolute, arguments_to_json, input_files
from photoscene.runs.fits import FAILED, GOOD, has_failed
from photoscene.runs.ownership import FILES, unchecked_record
from scene.atomic import write_atomically
from scene.files import encode_json
from scene.keys import canonical_json, digest
from scene.types import Scene

State = Literal["done", "incomplete", "failed"]
FORMAT = "photoscene-batch/1"
COMPUTED = "computed"  # the result of a step that was not in the store
GRADES = (GOOD, "check", FAILED)  # best to worst
Stamp = tuple[int, int] | None
Stamps = Mapping[str, Sequence[int] | None]


@dataclass(frozen=True)
class ObjectRecord:
    """An object of a scene: its grade and why it failed, "" where it did not."""

    name: str
    grade: str
    failure: str = ""


@dataclass(frozen=True)
class SceneRecord:
    """What came of one scene.

    state: "incomplete" with objects that failed, or without any; reason: why it failed; asked: the
    digest of what was asked for; stamps: of the input files, by path.
    """

    name: str
    line: int | None
    photo: str
    state: State
    reason: str = ""
    grade: str = ""
    objects: tuple[ObjectRecord, ...] = ()
    notes: tuple[str, ...] = ()
    steps: int = 0
    computed: int = 0
    seconds: float = 0.0
    asked: str = ""
    stamps: Stamps | None = None


def scenes_folder(output: Path) -> Path:
    """Where the records of scenes lie."""
    return output / KEPT / "scenes"


def scene_record(
    entry: Entry, scene: Scene, outcomes: Sequence[Outcome], seconds: float
) -> SceneRecord:
    """The record of a scene that was reconstructed."""
    objects = tuple(
        ObjectRecord(
            o.name,
            FAILED if has_failed(o) else o.fit.grade if o.fit else "",
            (o.failure or "; ".join(o.fit.warnings if o.fit else ())) if has_failed(o) else "",
        )
        for o in scene.objects
    )
    failed = [o for o in objects if o.failure]
    grades = [o.grade for o in objects if o.grade]
    return SceneRecord(
        entry.name,
        entry.line,
        entry.photo,
        "incomplete" if failed or not objects else "done",
        "" if objects else "no object found",
        max(grades, key=GRADES.index) if grades else "",
        objects,
        scene.notes,
        len(outcomes),
        sum(outcome.computed for outcome in outcomes),
        round(seconds, 3),
    )


def failed_record(entry: Entry, reason: str) -> SceneRecord:
    """The record of a scene that there is not."""
    return SceneRecord(entry.name, entry.line, entry.photo, "failed", reason)


def write_record(output: Path, record: SceneRecord) -> None:
    """Keep what came of a scene."""
    write_atomically(_record_path(output, record.name), encode_json(asdict(record)))


def record_stamp(output: Path, name: str) -> Stamp:
    """What is another after a scene's record was written again; None where there is none."""
    try:
        found = _record_path(output, name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def remove_record(output: Path, name: str) -> None:
    """Forget what came of a scene."""
    _record_path(output, name).unlink(missing_ok=True)


def read_scene_record(output: Path, name: str) -> SceneRecord | None:
    """What came of a scene before; None where nothing is known."""
    value = read_json(_record_path(output, name))
    try:
        objects = tuple(ObjectRecord(**o) for o in value["objects"])
        return SceneRecord(**{**value, "objects": objects, "notes": tuple(value["notes"])})
    except (TypeError, KeyError):
        return None


def digest_of(arguments: Arguments, versions: Mapping[str, Any]) -> str:
    """The digest of what is asked for, files by their paths; versions: of what carries it out."""
    return digest(canonical_json([arguments_to_json(absolute(arguments)), versions]).encode())


def stamps_of(arguments: Arguments) -> Stamps:
    """Size and times of every input file; who changed one changed its stamp."""
    return {str(path): _stamp(path) for path in input_files(absolute(arguments)).values()}


def is_as_recorded(output: Path, entry: Entry, record: SceneRecord, asked: str) -> bool:
    """Whether a scene was made of the same files by the same code, and its run folder is whole.

    A run folder that somebody went on with (`photoscene rerun`) is whole, too, and stays.
    """
    assert entry.arguments is not None
    return (
        record.asked == asked
        and record.stamps is not None
        and dict(record.stamps) == dict(stamps_of(entry.arguments))
        and is_whole(output / entry.name)
    )


def is_whole(folder: Path) -> bool:
    """Whether a run folder's record and all files that it lists are there."""
    record = unchecked_record(folder)
    names = record.get(FILES) if record else None
    return isinstance(names, dict) and all(os.path.lexists(folder / name) for name in names)


def read_json(path: Path) -> Any:
    """A JSON file of the batch's own; None where there is none, or a damaged one."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def files_below(folder: Path, suffix: str) -> Iterator[Path]:
    """All finished files with a suffix below a folder, in order."""
    yield from sorted(p for p in folder.rglob(f"*{suffix}") if not p.name.startswith("."))


def _record_path(output: Path, name: str) -> Path:
    return scenes_folder(output) / f"{name}.json"


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
