"""The scenes of a batch: each has a name of its own, which is its run folder's, too."""

from __future__ import annotations

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

HASH_DIGITS = 6  # of the photo's sha256, where names collide


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
    digits of their photo's sha256; the same photo twice is a duplicate.
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
        if not entry.named and (len(groups[key]) > 1 or key in parents):
            entry = _with_digits(entry)
        first = taken.setdefault(_folded(entry.name), entry)
        if first is not entry and not entry.fault:
            same = "is the same scene again" if first.arguments == entry.arguments else (
                f"would be written where that of {first.title} is"
            )  # fmt: skip
            entry = replace(entry, fault=f"{same}: leave it out, or give it a name of its own")
        apart.append(entry)
    return apart


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
    return replace(entry, name=f"{entry.name}_{sha256[:HASH_DIGITS]}")
