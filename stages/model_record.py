"""What was pulled into a folder of weights: `.photoscene-model.json`, written and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from scene.atomic import write_atomically

RECORD_NAME = ".photoscene-model.json"
KnownBy = Literal["hub sha256", "hub git id", "made here"]


@dataclass(frozen=True)
class RecordedFile:
    """One file as the hub states it: its bytes, and its content in one of two ways.

    sha256 is "" until a file was pulled whose content the hub states as `git_id` only (the id of a
    git blob), and for one that was made from the others here.
    """

    bytes: int
    sha256: str
    git_id: str
    known_by: KnownBy


@dataclass(frozen=True)
class ModelRecord:
    """A repository at a commit, the names or patterns that were asked for, and all their files.

    It is written before the first byte is pulled, so that a part of a model is known to be one.
    """

    repo: str
    commit: str
    patterns: tuple[str, ...]
    files: Mapping[str, RecordedFile]


def read_record(folder: Path) -> ModelRecord | None:
    """The record in a folder; None if there is none, or none of ours."""
    try:
        value = json.loads((folder / RECORD_NAME).read_text("utf-8"))
        files = {str(name): RecordedFile(**entry) for name, entry in value["files"].items()}
        return ModelRecord(value["repo"], value["commit"], tuple(value["patterns"]), files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_record(folder: Path, record: ModelRecord) -> None:
    """Write it into the folder, by another name and then renamed."""
    text = json.dumps(asdict(record), indent=1, sort_keys=True)
    write_atomically(folder / RECORD_NAME, f"{text}\n".encode())


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that one of the patterns means, folder by folder as pathlib's glob does."""
    patterns = tuple(patterns)
    return [name for name in names if any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
