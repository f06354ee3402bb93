"""Renews the files of a run folder: all of them or none, and nobody else's are lost.

New files are first written into a staging folder inside the run folder, with a plan of where they
go; the plan is the last to come. Without it the folder is as it was before. From then on every
file has its place: where the process dies while it moves them, the next one goes on by the plan.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from photoscene.runs.ownership import (
    PLAN,
    STAGING,
    Identity,
    Owned,
    identity_of,
    in_the_way,
    is_owned,
    is_plain_name,
    owned_files,
    set_aside,
)
from photoscene.runs.record import FILES, RECORD, RunRecord, encode_record
from scene.atomic import write_bytes
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest

STAGING_NAME, STAGED_NAME = re.compile(r"\.writing-[0-9a-f]{32}"), re.compile(r"\d{6}")
REMEDY = "move it away, or give another -o; finished steps are kept"
FILES_AT_ONCE = 8  # on their way to the disk, which takes many as quickly as one
NOTHING: frozenset[Identity] = frozenset()


@dataclass(frozen=True)
class Content:
    """What a file shall hold: its checksum, and how to get its bytes."""

    sha256: str
    read: Callable[[], bytes]


def content_of(data: bytes) -> Content:
    """Bytes at hand as what a file shall hold."""
    return Content(digest(data), lambda: data)


def renew(
    folder: Path,
    contents: Mapping[str, Content],
    record: RunRecord,
    inputs: frozenset[Identity] = NOTHING,
    kept: Sequence[str] = (),
) -> list[str]:
    """Make a folder hold these files and a record that lists them; returns warnings.

    contents: by name relative to the folder; what holds its bytes already is left alone. Files that
    an earlier run wrote and this one does not are removed, but for `kept`. inputs: files of this
    run, which stay as they are. What neither is nor was a run's is renamed, never replaced.
    """
    new_folders = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder) as held:
            warnings = finish_interrupted(folder, inputs) if held else []
            staging = folder / f".writing-{uuid.uuid4().hex}"
            warnings += _stage(folder, staging, contents, record, inputs, kept)
            return warnings + _publish(folder, staging, inputs)
    finally:
        for new in new_folders:
            with contextlib.suppress(OSError):  # it holds what was written
                new.rmdir()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other processes from writing into a folder; False where its file system has no locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def finish_interrupted(folder: Path, inputs: frozenset[Identity] = NOTHING) -> list[str]:
    """Finish what a process that died began to write, or drop it; the folder must be locked."""
    warnings: list[str] = []
    for staging in sorted(folder.glob(STAGING)):
        if not STAGING_NAME.fullmatch(staging.name) or staging.is_symlink():
            continue
        if (staging / PLAN).exists():
            warnings += _publish(folder, staging, inputs)
        else:
            _discard(staging)
    return warnings


def _stage(
    folder: Path,
    staging: Path,
    contents: Mapping[str, Content],
    record: RunRecord,
    inputs: frozenset[Identity],
    kept: Sequence[str],
) -> list[str]:
    """Write every new file and the plan into a new folder; nothing else has changed by then."""
    _refuse_detours(folder, [*contents, RECORD])
    owned, warnings = owned_files(folder), []
    new: dict[str, Content] = {}
    left = [name for name in owned if name in kept and name not in contents]
    for name, content in contents.items():
        path = folder / name
        if path.is_file() and digest(path.read_bytes()) == content.sha256:
            left.append(name)
        elif identity_of(path) in inputs:
            warnings.append(f"{path} is an input of this run: left as it is")
            left.append(name)
        else:
            new[name] = content
    others = [n for n in owned if n not in contents and n != RECORD and n not in kept]
    left += [name for name in others if identity_of(folder / name) in inputs]
    listed = {name: content.sha256 for name, content in new.items()}
    for name in left:
        if is_owned(folder / name, owned.get(name, ())):
            listed[name] = digest((folder / name).read_bytes())
    new[RECORD] = content_of(encode_record(replace(record, files=listed)))
    try:
        staging.mkdir()
        for number, content in enumerate(new.values()):
            write_bytes(staging / f"{number:06d}", content.read())
        plan = {
            FILES: {name: content.sha256 for name, content in new.items()},
            "staged": {f"{number:06d}": name for number, name in enumerate(new)},
            "present": [*contents, RECORD],
            "gone": [name for name in others if name not in left],
        }
        write_bytes(staging / "plan", encode_json(plan))
        with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
            list(threads.map(_reach_disk, staging.iterdir()))
        os.replace(staging / "plan", staging / PLAN)
    finally:
        if not (staging / PLAN).exists():
            _discard(staging)
    return warnings


def _reach_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk. Its name may come there first, and would be that
    of an empty file after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _publish(folder: Path, staging: Path, inputs: frozenset[Identity]) -> list[str]:
    """Move every staged file to its place, the record last; goes on where another one stopped."""
    plan, warnings = _read_plan(staging / PLAN), []
    _refuse_detours(folder, plan["staged"].values())
    owned = owned_files(folder)
    for number, name in sorted(plan["staged"].items()):
        source, target = staging / number, folder / name
        if not source.exists() or identity_of(target) in inputs:
            continue
        if name == RECORD:
            warnings += _remove(folder, plan["gone"], plan["present"], owned, inputs)
        if os.path.lexists(target) and not is_owned(target, owned.get(name, ())):
            warnings.append(set_aside(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    _discard(staging)
    return warnings


def _read_plan(path: Path) -> dict[str, Any]:
    """A plan of ours; BadInput for one that is damaged, or leads out of the folder."""
    try:
        plan = json.loads(path.read_bytes())
        numbers = [*plan["staged"]]
        names = [*plan["staged"].values(), *plan["present"], *plan["gone"]]
        sound = all(map(STAGED_NAME.fullmatch, numbers)) and all(map(is_plain_name, names))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError,
            AttributeError):  # fmt: skip
        sound, plan = False, {}
    if not sound:
        raise BadInput(f"{path} is no plan of an interrupted run: move its folder away")
    return plan


def _remove(
    folder: Path,
    gone: Sequence[str],
    present: Sequence[str],
    owned: Owned,
    inputs: frozenset[Identity],
) -> list[str]:
    """Remove what only an earlier run made, and the folders that are empty then."""
    warnings = []
    # On a disk that takes Cup and cup for one name, an old name may be a new file's.
    taken = (inputs | {identity_of(folder / name) for name in present}) - {None}
    for name in gone:
        path = folder / name
        if in_the_way(folder, name) or identity_of(path) in taken:
            continue
        if is_owned(path, owned.get(name, ())):
            path.unlink()
        elif os.path.lexists(path):
            warnings.append(set_aside(path))
        for parent in path.relative_to(folder).parents[:-1]:
            with contextlib.suppress(OSError):  # somebody's files are in it
                (folder / parent).rmdir()
    return warnings


def _refuse_detours(folder: Path, names: Sequence[str]) -> None:
    """BadInput where a link or a file stands for a folder of the run's, or a folder for a file."""
    for name in names:
        path = in_the_way(folder, name)
        if path is not None:
            what = "a link" if path.is_symlink() else "a file"
            raise BadInput(f"{path} is {what}, and a folder of the run's would be there: {REMEDY}")
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            raise BadInput(f"{path} is a folder, and a file of the run's would be there: {REMEDY}")


def _discard(staging: Path) -> None:
    """Remove a staging folder: only what it is made of, the plan last."""
    if not staging.is_dir():
        return
    for path in sorted(staging.iterdir()):
        if STAGED_NAME.fullmatch(path.name) or path.name == "plan":
            path.unlink()
    (staging / PLAN).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds what is not ours
        staging.rmdir()
