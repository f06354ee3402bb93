"""The shards of a batch that others make: a file each, from when it is cut until it has ended.

A file names its scenes with all their arguments, so that whoever opens it, wherever and whenever,
makes the same ones. Without its file nobody makes a shard: to remove it is to cancel it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from photoscene.batch.entries import KEPT, Entry, entry_from_json, entry_to_json
from photoscene.batch.records import read_json
from photoscene.batch.supervisor import Limits
from photoscene.inputs.request import absolute
from scene.atomic import write_atomically
from scene.files import encode_json

FORMAT = "photoscene-shard/1"


@dataclass(frozen=True)
class Making:
    """How scenes are made: the options of `photoscene batch`."""

    store: str
    device: str
    profile: str
    settings: Sequence[str]
    workers: int
    retry_failed: bool
    limits: Limits


@dataclass(frozen=True)
class Shard:
    """Scenes that one process makes; asked: by name, the digest of what is asked for."""

    entries: Sequence[Entry]
    asked: Mapping[str, str]
    making: Making


def shards_folder(output: Path) -> Path:
    """Where the files of shards lie."""
    return output / KEPT / "shards"


def output_of(path: Path) -> Path:
    """The batch's output folder, by the file of a shard."""
    return path.parents[2]


def cut_shards(
    entries: Sequence[Entry], asked: Mapping[str, str], making: Making, size: int
) -> list[Shard]:
    """Entries in as few shards of at most `size` as they fill, of sizes as equal as can be."""
    count = math.ceil(len(entries) / size)
    alike = [replace(e, arguments=e.arguments and absolute(e.arguments)) for e in entries]
    parts = [alike[i::count] for i in range(count)]
    return [Shard(part, {e.name: asked[e.name] for e in part}, making) for part in parts]


def write_shard(output: Path, shard: Shard) -> Path:
    """Write the file of a shard under a new name; returns its path."""
    path = shards_folder(output) / f"{uuid.uuid4().hex}.json"
    entries = [entry_to_json(entry) for entry in shard.entries]
    value = {"format": FORMAT, "entries": entries, "asked": dict(shard.asked),
             "making": asdict(shard.making)}  # fmt: skip
    write_atomically(path, encode_json(value))
    return path


def read_shard(path: Path) -> Shard | None:
    """What such a file says; None where there is none any more, or a damaged one."""
    value: Any = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return None
    entries = [entry_from_json(entry) for entry in value["entries"]]
    given = value["making"]
    making = {**given, "settings": tuple(given["settings"]), "limits": Limits(**given["limits"])}
    return Shard(entries, value["asked"], Making(**making))


def shard_files(output: Path) -> Iterator[Path]:
    """The files of all shards that have not ended."""
    yield from sorted(shards_folder(output).glob("[!.]*.json"))
