"""A pickle that a row names becomes safetensors once, so that no run has to read it again."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from photoscene.models.digests import content_of
from photoscene.models.progress import Progress
from stages.map_points.moge import weights as moge_weights
from stages.model_record import RecordedFile, read_record, write_record
from stages.model_table import ModelEntry
from stages.weights import remember_digests, remembered_digest

MADE = (moge_weights.CONFIG, moge_weights.WEIGHTS)
NEEDED = ("torch", "safetensors")


def is_converted(entry: ModelEntry) -> bool:
    """Whether a model comes as a pickle."""
    return entry.backend == "moge" and moge_weights.CHECKPOINT in entry.files


def convert_once(entry: ModelEntry, folder: Path, progress: Progress) -> str:
    """Convert a pulled model that comes as a pickle unless it is done already, and record that.

    Returns why not, or "". Raises BadWeights for a checkpoint that cannot be read.
    """
    record = read_record(folder)
    if not is_converted(entry) or record is None:
        return ""
    if all(_is_made(folder, name, record.files.get(name)) for name in MADE):
        return ""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return f"{moge_weights.CHECKPOINT} is read as it is: without torch it is not converted"
    progress.message(f"converting {moge_weights.CHECKPOINT} of {entry.name} to safetensors")
    (folder / moge_weights.WEIGHTS).unlink(missing_ok=True)  # of another commit, or damaged
    moge_weights.convert(folder)
    made = {}
    for name in MADE:
        content = content_of(folder / name, Progress(), git=False)
        remember_digests(folder, {name: content.sha256})
        made[name] = RecordedFile(content.bytes, content.sha256, "", "made here")
    write_record(folder, replace(record, files={**record.files, **made}))
    return ""


def _is_made(folder: Path, name: str, recorded: RecordedFile | None) -> bool:
    if recorded is None or not recorded.sha256 or not (folder / name).is_file():
        return False
    known = remembered_digest(folder, name)
    return (known or content_of(folder / name, Progress(), git=False).sha256) == recorded.sha256
