"""A pickle that a row names becomes safetensors once, so that no run has to read it again."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from photoscene.models.digests import content_of
from photoscene.models.progress import Progress
from scene.errors import BadWeights
from stages.map_points.moge import weights as moge_weights
from stages.model_record import RecordedFile, read_record, write_record
from stages.model_table import ModelEntry
from stages.weights import remember_digests, remembered_digest

NEEDED = ("torch", "safetensors")


@dataclass(frozen=True)
class Conversion:
    """pickle: the suffix of the files that are converted; made: from the pickle's name in its
    folder to those of what it becomes; convert: all of a folder that are not converted yet."""

    pickle: str
    made: Callable[[PurePosixPath], tuple[PurePosixPath, ...]]
    convert: Callable[[Path], object]


def _convert_direct3d(folder: Path) -> object:
    from direct3d_s2.conversion import convert  # needs torch
    from sparse3d.weights import WeightsError

    try:
        return convert(folder)
    except WeightsError as error:
        raise BadWeights(error.strerror) from None


# By the backend whose weights come as pickles.
CONVERSIONS: Mapping[str, Conversion] = {
    "moge": Conversion(
        moge_weights.CHECKPOINT,
        lambda name: (name.with_name(moge_weights.CONFIG), name.with_name(moge_weights.WEIGHTS)),
        moge_weights.convert,
    ),
    "direct3d_s2": Conversion(
        ".ckpt", lambda name: (name.with_suffix(".safetensors"),), _convert_direct3d
    ),
}


NOT_CONVERTED = {
    "moge": f"{moge_weights.CHECKPOINT} is read as it is: without torch it is not converted",
    "direct3d_s2": "without torch nothing is converted: install '.[pixal3d]', then pull again",
}


def pickles_of(entry: ModelEntry) -> list[PurePosixPath]:
    """The files of a model that are converted, as its row names them."""
    conversion = CONVERSIONS.get(entry.backend)
    if conversion is None:
        return []
    return [PurePosixPath(name) for name in entry.files if name.endswith(conversion.pickle)]


def is_converted(entry: ModelEntry) -> bool:
    """Whether a model comes as a pickle."""
    return bool(pickles_of(entry))


def convert_once(entry: ModelEntry, folder: Path, progress: Progress) -> str:
    """Convert a pulled model that comes as a pickle unless it is done already, and record that.

    Returns why not, or "". Raises BadWeights for a checkpoint that cannot be read.
    """
    record, pickles = read_record(folder), pickles_of(entry)
    if not pickles or record is None:
        return ""
    conversion = CONVERSIONS[entry.backend]
    made = [str(name) for pickle in pickles for name in conversion.made(pickle)]
    if all(_is_made(folder, name, record.files.get(name)) for name in made):
        return ""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return NOT_CONVERTED[entry.backend]
    what = pickles[0].name if len(pickles) == 1 else f"{len(pickles)} files"
    progress.message(f"converting {what} of {entry.name} to safetensors")
    for name in made:
        if name.endswith(".safetensors"):
            (folder / name).unlink(missing_ok=True)  # of another commit, or damaged
    for home in sorted({pickle.parent for pickle in pickles}):
        conversion.convert(folder / home)
    written = {}
    for name in made:
        content = content_of(folder / name, Progress(), git=False)
        remember_digests(folder, {name: content.sha256})
        written[name] = RecordedFile(content.bytes, content.sha256, "", "made here")
    write_record(folder, replace(record, files={**record.files, **written}))
    return ""


def _is_made(folder: Path, name: str, recorded: RecordedFile | None) -> bool:
    if recorded is None or not recorded.sha256 or not (folder / name).is_file():
        return False
    known = remembered_digest(folder, name)
    return (known or content_of(folder / name, Progress(), git=False).sha256) == recorded.sha256
