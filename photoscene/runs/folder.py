"""The folder of a run: which files it has, who may write there, and reading it back.

scene.glb, scene.json, overlay.png, objects/, report.html and run.json. All of these but the last
two are the same for the same input, byte for byte; run.json (`record.py`) has the times, the
request, every step and the sha256 of every file that the run wrote.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.request import Request
from photoscene.choosing import MASKS
from photoscene.runs.ownership import (
    identities,
    identity_of,
    is_owned,
    owned_files,
    unchecked_record,
)
from photoscene.runs.record import FORMAT, RECORD, RunRecord, record_from_json
from photoscene.runs.transaction import finish_interrupted, locked
from scene.errors import BadInput
from scene.scene_json import scene_from_json
from scene.store import open_store
from scene.types import Scene, SceneObject

SCENE, REPORT, PHOTO, OBJECTS = "scene.json", "report.html", "photo.png", "objects"
ASSET = "asset"  # the asset record in scene.json
MAX_FOLDER_NAME_LENGTH, MAX_FOLDER_NAME_BYTES = 64, 200  # a file system takes 255 bytes


@dataclass(frozen=True)
class Run:
    """A run's folder and its record."""

    folder: Path
    record: RunRecord

    @property
    def request(self) -> Request:
        """What was asked for."""
        return self.record.request


def default_folder(photo: Path) -> Path:
    """Where a photo's run goes when nobody says: runs/ and the photo's name without its suffix."""
    name = photo.stem.strip(". ")  # a photo called ...jpg must not name the folder above
    return Path("runs") / (name or "photo")


def check_folder(folder: Path) -> None:
    """Raise OSError now, not after the work, when a run folder cannot be made there."""
    nearest = next(p for p in (folder, *folder.absolute().parents) if _is_there(p))
    nearest.stat()  # a link to nowhere, or to itself
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(nearest))
    if not os.access(nearest, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))


def files_until(stage: str) -> list[str]:
    """The names in a run folder that are known before anything is computed."""
    names = [PHOTO, SCENE, REPORT]
    names += [MASKS] if stage == "segment" else ["point_map.npz"]
    names += ["scene.glb", "overlay.png"] if stage == "compose" else []
    return names if stage == "map_points" else [*names, OBJECTS]


def check_store(address: str) -> None:
    """Raise now, not after the work, where a store cannot be written."""
    if "://" in address:
        open_store(address).blobs.check()
    else:
        check_folder(Path(address))


def check_contents(folder: Path, names: Sequence[str], inputs: Mapping[str, Path]) -> list[str]:
    """Refuse a folder in which a run would overwrite what is not its own; returns warnings.

    names: of files that the run will write; inputs: the user's files that it reads, by what they
    are called. An interrupted run is finished first. Raises BadInput.
    """
    if not folder.is_dir():
        return []
    with locked(folder) as held:
        warnings = finish_interrupted(folder, identities(inputs.values())) if held else []
        owned = owned_files(folder)
    record = unchecked_record(folder)
    if record is None and os.path.lexists(folder / RECORD):
        raise BadInput(
            f"{folder / RECORD} is damaged, or not a run's: it is not known what a run may "
            "overwrite there; give another -o"
        )
    if record is not None and record["format"] != FORMAT:
        raise BadInput(
            f"{folder / RECORD} has format {record['format']!r}, expected {FORMAT}: give another -o"
        )
    taken = [
        n for n in names if _is_taken(folder / n) and not is_owned(folder / n, owned.get(n, ()))
    ]
    if record is None and taken:
        raise BadInput(
            f"{folder} is not a run folder and has {', '.join(sorted({*taken}))}, where the run "
            "would write: give another -o"
        )
    if (folder / OBJECTS).is_symlink() or (OBJECTS in taken and not (folder / OBJECTS).is_dir()):
        raise BadInput(f"{folder / OBJECTS} is not a folder of the run's own: give another -o")
    for named, path in inputs.items():
        for name in (*names, RECORD):
            if identity_of(folder / name) not in identities([path]):
                continue
            # The photo that an earlier run wrote comes out again as it is.
            if name != PHOTO or not is_owned(path, owned.get(name, ())):
                raise BadInput(f"{named} is where the run would write: give another -o")
    return warnings


def _is_taken(path: Path) -> bool:
    """Whether anything is there; an empty folder is nothing."""
    empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    return os.path.lexists(path) and not empty


def _is_there(path: Path) -> bool:
    """Whether a path exists, be it as a dangling link; OSError where it cannot exist."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_run(folder: Path) -> Run:
    """A run folder's record; BadInput when it is none."""
    path = folder / RECORD
    try:
        return Run(folder, record_from_json(_json(path), path))
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{folder} is not a run folder: it has no run.json; name one that `run` has written"
        ) from None
    except (
        KeyError, TypeError, AttributeError, RecursionError,
        json.JSONDecodeError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise BadInput(f"{path} is damaged ({error}): repeat the run with another -o") from None


def read_scene(folder: Path) -> Scene:
    """The scene of a run folder; BadInput where scene.json is missing or damaged."""
    path = folder / SCENE
    try:
        return scene_from_json(_json(path))
    except BadInput as error:  # which knows no folder
        raise BadInput(f"{folder}: {error}: repeat the run") from None
    except (
        OSError, KeyError, TypeError, AttributeError, RecursionError,
        json.JSONDecodeError, UnicodeDecodeError,
    ):  # fmt: skip
        raise BadInput(f"{path} is missing or damaged: repeat the run") from None


def read_asset(folder: Path) -> dict[str, Any] | None:
    """The asset record of a run's scene.json; None where an older version wrote that. BadInput
    where it is missing or damaged."""
    read_scene(folder)
    return _json(folder / SCENE).get(ASSET)


def _json(path: Path) -> Any:
    """The value of a regular file; anything else that bears its name could keep us waiting."""
    if path.exists() and not path.is_file():
        raise TypeError("it is not a regular file")
    return json.loads(path.read_text("utf-8"))


def object_folder(index: int, o: SceneObject) -> Path:
    """objects/NN_name within a run's folder, the name cut to what every file system takes."""
    name = f"{index + 1:02d}_{o.name.replace(' ', '_')}"[:MAX_FOLDER_NAME_LENGTH]
    name = name.encode()[:MAX_FOLDER_NAME_BYTES].decode(errors="ignore")
    return Path(OBJECTS) / name.rstrip(". ")
