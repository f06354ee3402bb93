"""Puts exported files into a folder: all of them or none, and nothing there is overwritten but what
an earlier export wrote and nobody changed since.

NAME.export.json lists the files that exports of this name wrote, by sha256, and describes those
of the last one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from photoscene.runs.folder import check_folder
from photoscene.runs.ownership import in_the_way, is_owned, is_plain_name
from photoscene.runs.transaction import locked
from scene.atomic import write_atomically
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest

FORMAT = "photoscene-export/1"
STAGING_NAME = re.compile(r"\.exporting-[0-9a-f]{32}")
FILES, WRITING = "files", "writing"
DESCRIBED = "describes"  # the files that the rest of a record is about
Digests = Mapping[str, str]


def record_name(name: str) -> str:
    """The file with what was exported under a name."""
    return f"{name}.export.json"


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """An empty folder inside a folder, both made where they are not; gone afterwards, and so are
    folders that hold nothing then."""
    check_folder(folder)
    new_folders = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(folder)
    place = folder / f".exporting-{uuid.uuid4().hex}"
    try:
        place.mkdir()
        with locked(place):  # for as long as it is in use
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for new in new_folders:
            with contextlib.suppress(OSError):  # it holds what was written
                new.rmdir()


def _clear_abandoned(folder: Path) -> None:
    """Remove what exports that were killed have left; those that still work hold a lock."""
    for path in folder.glob(".exporting-*"):
        if not STAGING_NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:  # it is in use, or its file system has no locks
            pass
        finally:
            os.close(descriptor)


def publish(folder: Path, staged: Path, name: str, record: Mapping[str, Any]) -> list[str]:
    """Move all staged files to their places in the folder and list them in the record, with its
    other content; returns their names. BadInput, and nothing is changed, where files are in the way
    that no export wrote."""
    new = {
        path.relative_to(staged).as_posix(): digest(path.read_bytes())
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    }
    with locked(folder):
        before = _read_record(folder / record_name(name))
        owned: dict[str, set[str]] = {}
        for names in (before.get(FILES), before.get(WRITING)):
            for key, sha256 in names.items() if isinstance(names, dict) else ():
                owned.setdefault(key, set()).add(sha256)
        _refuse_others(folder, new, owned, name)
        kept = {
            n: digest((folder / n).read_bytes())
            for n, digests in owned.items()
            if n not in new and is_plain_name(n) and is_owned(folder / n, digests)
        }
        write = _record_writer(folder / record_name(name), record)
        write({FILES: {n: s for n, s in before.get(FILES, {}).items()} | kept, WRITING: new})
        for each in new:
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / each, folder / each)
        write({FILES: kept | new, DESCRIBED: [*new]})
    return [*new]


def _refuse_others(folder: Path, names: Digests, owned: Mapping[str, set[str]], name: str) -> None:
    taken = [
        n
        for n in names
        if in_the_way(folder, n)
        or (os.path.lexists(folder / n) and not is_owned(folder / n, owned.get(n, ())))
    ]
    if taken:
        first, others = taken[0], len(taken) - 1
        more = f" and {others} more" if others else ""
        raise BadInput(
            f"{folder / first}{more} would be overwritten, and is not as an export wrote it: move "
            "it away, or give another -o"
        )


def _read_record(path: Path) -> dict[str, Any]:
    """A record of ours, {} for none. BadInput where something else has its name."""
    if not os.path.lexists(path):
        return {}
    try:
        value = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BadInput(f"{path} is damaged, or not an export's: move it away, or give another -o")
    return value


def _record_writer(path: Path, record: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
    def write(lists: Mapping[str, Any]) -> None:
        write_atomically(path, encode_json({**record, **lists, "format": FORMAT}))

    return write
