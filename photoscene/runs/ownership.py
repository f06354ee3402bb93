"""Which files of a folder a run wrote: only those may be replaced or removed.

A run's record lists every file with its sha256; what is not listed, or has other bytes by now, is
somebody's work. So is whatever is reached through a link.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from flows.request import EDITED_FILES
from photoscene.choosing import MASKS, PROMPTS
from photoscene.runs.record import FILES, RECORD, SEAL, sealed
from scene.files import encode_json
from scene.keys import digest
from scene.text import printable

RECORD_FORMATS = "photoscene-run/"
STAGING, PLAN = ".writing-*", "plan.json"
COPIED = ("scene.glb", "overlay.png", "photo.png", "point_map.npz")  # from the store, as it is
EDITABLE = tuple(EDITED_FILES.values())
OBJECT_FILES = (*EDITABLE, "object_crop.png")
# The sha256 of all bytes that a run may have written under a name, relative to the folder.
Owned = Mapping[str, frozenset[str]]
Identity = tuple[int, int]  # device and inode


def unchecked_record(folder: Path) -> dict[str, Any] | None:
    """run.json of any version, None where it is absent or another program's.

    Its parts may be damaged: what it says of its files counts nevertheless.
    """
    value = _json(folder / RECORD)
    if isinstance(value, dict) and str(value.get("format", "")).startswith(RECORD_FORMATS):
        return value
    return None


def owned_files(folder: Path) -> Owned:
    """What runs wrote into a folder: by run.json, by writes that were interrupted, by a choice."""
    found: dict[str, set[str]] = {}
    record = unchecked_record(folder)
    if record is not None:
        _add(found, _listed(folder, record))
        data = (folder / RECORD).read_bytes()
        seal = record.pop(SEAL, None)
        if seal == digest(encode_json(record)) and sealed(record) == data:
            _add(found, [(RECORD, digest(data))])
    for plan in folder.glob(f"{STAGING}/{PLAN}"):
        value = _json(plan)
        _add(found, _pairs(value.get(FILES) if isinstance(value, dict) else None))
    choice = _json(folder / PROMPTS)
    if isinstance(choice, dict) and isinstance(choice.get("drawn"), list):
        _add(found, [(MASKS, sha256) for sha256 in choice["drawn"]])
    return {name: frozenset(digests) for name, digests in found.items()}


def is_plain_name(name: Any) -> bool:
    """Whether a listed name stays in its folder: relative, without parts that lead out of it."""
    if not isinstance(name, str) or "\0" in name:
        return False
    path = PurePosixPath(name)
    return str(path) == name and path.parts != () and not {"..", "/"} & set(path.parts)


def is_owned(path: Path, digests: Iterable[str]) -> bool:
    """Whether a path is a regular file, no link, with one of these checksums."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and digest(path.read_bytes()) in digests
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


def in_the_way(folder: Path, name: str) -> Path | None:
    """The first part of a name's path within the folder that is a link, or no folder at all."""
    for part in reversed(PurePosixPath(name).parents[:-1]):
        path = folder / part
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            return path
    return None


def identities(paths: Iterable[Path]) -> frozenset[Identity]:
    """The files that paths lead to, and every link on the way, whatever else they are called."""
    return frozenset(identity for path in paths for identity in _chain(path))


def identity_of(path: Path) -> Identity | None:
    """A path's own device and inode, a link's and not its target's; None where nothing is."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def free_name(path: Path) -> Path:
    """mask.png -> mask.edited.png, or mask.edited.2.png and so on: a name that nothing bears."""
    number = 1
    while True:
        counted = "" if number == 1 else f".{number}"
        name = path.with_name(f"{path.stem}.edited{counted}{path.suffix}")
        if not os.path.lexists(name):
            return name
        number += 1


def set_aside(path: Path) -> str:
    """Rename what is not the run's out of its way; returns a warning about it."""
    kept = free_name(path)
    path.rename(kept)
    hint = "; `rerun --edited` takes edits in their place" if path.name in EDITABLE else ""
    return printable(f"{path} is not as a run wrote it: kept as {kept.name}{hint}")


def _chain(path: Path) -> Iterator[Identity]:
    for _ in range(40):  # as many links as a kernel follows
        identity = identity_of(path)
        if identity is None:
            return
        yield identity
        if not path.is_symlink():
            return
        path = path.parent / os.readlink(path)


def _listed(folder: Path, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and checksums by a record; of an older one, without a list, what its steps made."""
    if FILES in record:
        yield from _pairs(record[FILES])
        return
    try:
        made = {a["sha256"] for step in record["steps"] for a in step["outputs"].values()}
    except (KeyError, TypeError, AttributeError):
        return
    for path in (*map(folder.joinpath, COPIED), *folder.glob("objects/*/*")):
        if path.name in (*COPIED, *OBJECT_FILES) and is_owned(path, made):
            yield path.relative_to(folder).as_posix(), digest(path.read_bytes())


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, dict) else iter(())


def _add(found: dict[str, set[str]], pairs: Iterable[tuple[str, Any]]) -> None:
    for name, sha256 in pairs:
        if is_plain_name(name) and isinstance(sha256, str):
            found.setdefault(name, set()).add(sha256)


def _json(path: Path) -> Any:
    """A JSON file's value; None where there is no readable one."""
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
