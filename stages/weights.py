"""Where are a model's weights, and which are they? Folders and digests; nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scene.atomic import write_atomically
from scene.errors import BadInput, CannotRun
from stages.model_record import RECORD_NAME, matching, read_record
from stages.model_table import ModelEntry, known_model

logger = logging.getLogger(__name__)

# Beside the weights: name -> [bytes, time of change in ns, sha256].
MEMO_NAME = ".photoscene-sha256.json"
# The hub's cache names a large file's content by its sha256.
SHA256_NAME = re.compile(r"[0-9a-f]{64}")


class MissingWeights(CannotRun):
    """A model's weights are not on this machine; the message says how they get there.

    model: its name in the table.
    """

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


def weights_folder(given: str, model: str, stage: str) -> Path:
    """The folder of a model's files: the one given, else where they were pulled, else the hub's.

    given: a setting `weights`, "" for none; BadInput where that folder is not. Raises
    MissingWeights that says what is missing, and where to put it.
    """
    if given:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise BadInput(f"{stage}.weights: there is no folder {folder}: check the name")
        return folder
    entry = known_model(model)
    places = weights_places(entry)
    lacking = {place: missing_files(entry, place) for place in places if place.is_dir()}
    for place, missing in lacking.items():
        if not missing:
            return place
    gap = f"{next(iter(lacking.values()))[0]} of " if lacking else ""
    raise MissingWeights(
        f"{stage}: {gap}the weights {model} ({entry.repo}, {entry.gigabytes:g} GB) are not here: "
        f"{_access(entry)}`photoscene models pull {model}`, or copy them to {places[0]}, "
        f"or --set {stage}.weights=DIR{_alternative(entry)}",
        model,
    )


def _access(entry: ModelEntry) -> str:
    """What a person does before the first pull of a gated model."""
    return f"ask for access at {entry.page}, then " if entry.gated else ""


def _alternative(entry: ModelEntry) -> str:
    """The way on for who is refused a gated model."""
    if not (entry.gated and entry.instead):
        return ""
    other = known_model(entry.instead)
    return f"; without access --set {other.stage}.backend={other.backend} ({other.name}, ungated)"


def weights_places(entry: ModelEntry) -> list[Path]:
    """Where a model's files are looked for: photoscene's folder of models, then the hub's cache.

    PHOTOSCENE_MODELS names the first (default ~/.cache/photoscene/models), which holds plain files
    below OWNER/NAME and may be a mirror that many machines share.
    """
    places = [models_folder() / entry.repo]
    revision = cached_revision(entry)
    return [*places, hub_cache(entry) / "snapshots" / revision] if revision else places


def models_folder() -> Path:
    """The folder of pulled models: PHOTOSCENE_MODELS, else ~/.cache/photoscene/models."""
    return Path(os.environ.get("PHOTOSCENE_MODELS") or "~/.cache/photoscene/models").expanduser()


def hub_cache(entry: ModelEntry) -> Path:
    """The folder of a model's repository in the hub's cache: blobs, snapshots and refs."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return hub / f"models--{entry.repo.replace('/', '--')}"


def cached_revision(entry: ModelEntry) -> str:
    """The commit of a model that is used from the hub's cache: the table's, else its `main`'s."""
    main = hub_cache(entry) / "refs" / "main"
    if entry.revision or not main.is_file():
        return entry.revision
    written = main.read_text("utf-8", errors="replace").strip()
    return written if written.isalnum() else ""  # a damaged file names no commit


def missing_files(entry: ModelEntry, folder: Path) -> list[str]:
    """The files (or patterns) of a model that a folder has nothing for.

    A folder that was pulled knows all names that a pattern means; the hub's cache may have links
    to what is no longer there.
    """
    record = read_record(folder)
    recorded = matching(record.files, entry.files) if record else []
    gone = [name for name in recorded if not (folder / name).is_file()]
    for pattern in entry.files:
        found = list(folder.glob(pattern))
        gone += [] if found else [pattern]
        gone += [f.relative_to(folder).as_posix() for f in found if not f.exists()]
    return list(dict.fromkeys(gone))


def weights_digest(folder: Path, patterns: Sequence[str]) -> str:
    """sha256 over the names and contents of a folder's files that match the glob patterns.

    Contents are hashed once: what is remembered beside them holds while size and time stay.
    Raises BadInput when the folder has none of them.
    """
    found = {f for p in patterns for f in folder.glob(p) if f.is_file()}
    files = sorted(found - {folder / MEMO_NAME, folder / RECORD_NAME})
    if not files:
        raise BadInput(f"no weights in {folder}: expected {', '.join(patterns)}")
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


def remembered_digest(folder: Path, name: str) -> str:
    """The sha256 that is remembered of a file; "" without, or if the file has changed since."""
    known = _read_memo(folder).get(name)
    try:
        status = (folder / name).stat()
    except OSError:
        return ""
    return str(known[2]) if known and known[:2] == [status.st_size, status.st_mtime_ns] else ""


def remember_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Remember the sha256 of files as they are now; "" forgets one."""
    memo = {n: e for n, e in _read_memo(folder).items() if n not in digests}
    for name, digest in digests.items():
        if digest:
            status = (folder / name).stat()
            memo[name] = [status.st_size, status.st_mtime_ns, digest]
    _write_memo(folder, memo)


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
