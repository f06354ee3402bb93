"""The scenes of a batch: each has a name of its own, which is its run folder's, too."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from photoscene.inputs.request import (
    Arguments,
    arguments_from_json,
    arguments_to_json,
    read_file,
)
from scene.errors import BadInput
from scene.keys import digest
from scene.text import printable

HASH_DIGITS = 6  # of the photo's sha256, where names collide
# Of a name's last part, to which files of the batch add their suffixes, and of the folders above.
MAX_PART_BYTES, MAX_FOLDER_BYTES = 200, 255
KEPT, SUMMARY, PAGE = ".batch", "batch.json", "index.html"  # the batch's own in the output folder


@dataclass(frozen=True)
class Entry:
    """One scene of a batch.

    name: of its run folder below the output folder; line: in the manifest, None in a folder; photo:
    as it was named; fault: why the line cannot be used, "" where it can; named: by its line.
    """

    name: str
    line: int | None
    photo: str
    arguments: Arguments | None
    fault: str = ""
    named: bool = False

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.photo if self.line is None else f"line {self.line} ({self.photo or 'no photo'})"


def shard_of(entries: Sequence[Entry], text: str) -> list[Entry]:
    """The entries of shard I of N, as `--shard I/N` names it; every entry is in exactly one."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise BadInput(f"--shard {text}: expected I/N with I from 1 to N, such as 3/8")
    return list(entries[int(number) - 1 :: int(count)])


def named_apart(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with names that no file system takes for one another, or a fault.

    Names that are the same but for their case, or one of which is a folder in another's way, get
    digits of their photo's sha256, and so do those that are too long; the same photo twice is a
    duplicate.
    """
    groups: dict[str, set[Path]] = defaultdict(set)
    for entry in entries:
        if entry.arguments is not None:
            groups[_folded(entry.name)].add(entry.arguments.photo)
    parents = {str(p) for name in groups for p in PurePosixPath(name).parents}
    taken: dict[str, Entry] = {}
    apart = []
    for entry in entries:
        if entry.fault:
            apart.append(entry)
            continue
        key = _folded(entry.name)
        if entry.named and key in parents:
            fault = f"name {entry.name}: other scenes are to be in that folder; choose another"
            entry = replace(entry, fault=fault)
        elif not entry.named and (
            len(groups[key]) > 1 or key in parents or fault_of_name(entry.name)
        ):
            entry = _with_digits(entry)
        first = taken.setdefault(_folded(entry.name), entry)
        if first is not entry and not entry.fault:
            same = "is the same scene again" if first.arguments == entry.arguments else (
                f"would be written where that of {first.title} is"
            )  # fmt: skip
            entry = replace(entry, fault=f"{same}: leave it out, or give it a name of its own")
        apart.append(entry)
    return apart


def name_of_photo(path: str) -> str:
    """The name of a photo by its path below the root: without the suffix, and without outer dots
    and spaces, which would lead elsewhere or be lost on some file systems."""
    photo = PurePosixPath(path)
    return str(photo.with_name(photo.stem.strip(". ") or "photo"))


def fault_of_name(name: str) -> str:
    """Why no run folder can have such a name, "" where one can."""
    parts = PurePosixPath(name).parts
    if not parts or {"..", "/"} & set(parts):
        return f"name {printable(name)}: expected a name, or a path below the output folder"
    if parts[0].casefold() in (KEPT, SUMMARY, PAGE):
        return f"name {printable(name)}: the batch's own files are there; choose another"
    bytes_each = [len(os.fsencode(part)) for part in parts]
    if bytes_each[-1] > MAX_PART_BYTES or max(bytes_each) > MAX_FOLDER_BYTES:
        cut = printable(name[:40])
        return f"name {cut}...: at most {MAX_PART_BYTES} bytes between slashes"
    return ""


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Plain JSON; `entry_from_json` reads it back."""
    arguments = None if entry.arguments is None else arguments_to_json(entry.arguments)
    return {**vars(entry), "arguments": arguments}


def entry_from_json(value: Mapping[str, Any]) -> Entry:
    """The inverse of `entry_to_json`."""
    given = value["arguments"]
    return Entry(**{**value, "arguments": None if given is None else arguments_from_json(given)})


def _folded(name: str) -> str:
    """A name as the least discerning file system compares it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _with_digits(entry: Entry) -> Entry:
    assert entry.arguments is not None
    try:
        sha256 = digest(read_file(entry.arguments.photo, "photo"))
    except BadInput as error:
        return replace(entry, fault=str(error))
    path = PurePosixPath(entry.name)
    kept = os.fsencode(path.name)[: MAX_PART_BYTES - HASH_DIGITS - 1].decode(errors="ignore")
    name = str(path.with_name(f"{kept}_{sha256[:HASH_DIGITS]}"))
    return replace(entry, name=name, fault=fault_of_name(name))
