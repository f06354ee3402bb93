"""Which weights are these? The digest of weight files, remembered so that it is computed once."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from scene.store import write_atomically

logger = logging.getLogger(__name__)

# Beside the weights: name -> [bytes, time of change in ns, sha256].
MEMO_NAME = ".photoscene-sha256.json"
# The hub's cache names a large file's content by its sha256.
SHA256_NAME = re.compile(r"[0-9a-f]{64}")


def weights_digest(folder: Path, patterns: Sequence[str]) -> str:
    """sha256 over the names and contents of a folder's files that match the glob patterns.

    Contents are hashed once: what is remembered beside them holds while size and time stay.
    Raises ValueError when the folder has none of them.
    """
    found = {f for p in patterns for f in folder.glob(p) if f.is_file()}
    files = sorted(found - {folder / MEMO_NAME})
    if not files:
        raise ValueError(f"no weights in {folder}: expected {', '.join(patterns)}")
    memo = _read_memo(folder)
    known: dict[str, list[int | str]] = {}
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(folder).as_posix()
        entry = known[name] = _entry(file, memo.get(name))
        whole.update(f"{name}\0{entry[2]}\n".encode())
    if known != memo:
        _write_memo(folder, memo | known)
    return whole.hexdigest()


def _entry(file: Path, remembered: list[int | str] | None) -> list[int | str]:
    """[bytes, time of change, sha256] of a file; hashed only if size or time differ."""
    status = file.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    if remembered is not None and remembered[:2] == stamp:
        return remembered
    content = file.resolve().name
    if not SHA256_NAME.fullmatch(content):
        if status.st_size > 1 << 30:
            logger.info("reading %s once, to know its content", file.name)
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
    return [*stamp, content]


def _read_memo(folder: Path) -> dict[str, list[int | str]]:
    """What was remembered; nothing if there is no memo, or not one of ours."""
    try:
        value = json.loads((folder / MEMO_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {n: e for n, e in value.items() if isinstance(e, list) and len(e) == 3}


def _write_memo(folder: Path, memo: dict[str, list[int | str]]) -> None:
    """Remember; a folder that may not be written is hashed each time instead."""
    try:
        write_atomically(folder / MEMO_NAME, json.dumps(memo, indent=1, sort_keys=True).encode())
    except OSError as error:
        logger.info("the digests of %s cannot be remembered there (%s)", folder, error.strerror)
