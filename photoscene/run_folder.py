"""The folder of a run: scene.glb, scene.json, overlay.png, objects/ and run.json.

All of these but run.json are the same for the same input, byte for byte; run.json has the times,
the request, and for every step its key, inputs, outputs and why it was computed. The report, a page
made from all of them, is written by `photoscene/report/page.py`.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.request import Request, request_from_json, request_to_json
from flows.steps import WHOLE_SCENE, Outcome
from photoscene.changes import why_computed
from scene.errors import BadInput
from scene.files import encode_json
from scene.keys import digest
from scene.scene_json import scene_to_json
from scene.store import Store, artifact_from_json, holds, write_together
from scene.text import printable
from scene.types import Artifact, Scene, SceneObject

FORMAT = "photoscene-run/1"
MAX_FOLDER_NAME_LENGTH, MAX_FOLDER_NAME_BYTES = 64, 200  # a file system takes 255 bytes
STEP_NAMES = {
    "stage", "subject", "name", "key", "backend", "version", "settings", "weights", "seed",
    "inputs", "outputs", "seconds", "computed", "failure", "why",
}  # fmt: skip
VERSIONS_OF = ("numpy", "scipy", "pillow", "opencv-python-headless", "trimesh", "prefect")


@dataclass(frozen=True)
class Run:
    """A run folder's request and its steps as they stand in run.json."""

    folder: Path
    request: Request
    record: Mapping[str, Any]


def write_run(
    folder: Path,
    request: Request,
    store: Store,
    scene: Scene,
    outcomes: Sequence[Outcome],
    photo_name: str,
    seconds: float,
) -> dict[str, Any]:
    """Write or renew a run folder; files that are right are left alone. Returns run.json."""
    files: dict[str, Artifact | None] = {"scene.glb": scene.glb, "overlay.png": scene.overlay}
    files |= {"photo.png": scene.photo, "point_map.npz": scene.points}
    for index, o in enumerate(scene.objects):
        files |= _object_files(_object_folder(index, o), o, outcomes)
    before = _earlier_steps(folder)
    names = {o.id: o.name for o in scene.objects}
    record = {
        "format": FORMAT,
        "photo_name": printable(photo_name),
        "request": request_to_json(request),
        "store": str(store.root),
        "seconds": round(seconds, 3),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "versions": {name: metadata.version(name) for name in VERSIONS_OF},
        "steps": [_step(outcome, names, before) for outcome in outcomes],
    }
    documents = {"scene.json": scene_to_json(scene), "run.json": record}
    write_together(_new_files(folder, store, files, documents))
    for name, artifact in files.items():
        if artifact is None:
            (folder / name).unlink(missing_ok=True)
    _drop_stale(
        folder / "objects", {_object_folder(i, o).name for i, o in enumerate(scene.objects)}
    )
    return record


def _new_files(
    folder: Path,
    store: Store,
    files: Mapping[str, Artifact | None],
    documents: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[Path, bytes]]:
    """Path and bytes of every file that is not there yet as it shall be."""
    for name, artifact in files.items():
        if artifact is not None and not holds(folder / name, artifact.sha256):
            yield folder / name, store.read(artifact)
    for name, value in documents.items():
        data = encode_json(value)
        if not holds(folder / name, digest(data)):
            yield folder / name, data


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


def _is_there(path: Path) -> bool:
    """Whether a path exists, be it as a dangling link; OSError where it cannot exist."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_run(folder: Path) -> Run:
    """A run folder's record; BadInput when it is none."""
    path = folder / "run.json"
    try:
        record = json.loads(_text(path))
        if record["format"] != FORMAT:
            raise BadInput(f"{path} has format {record['format']!r}, expected {FORMAT}: "
                             "repeat the run with this version")  # fmt: skip
        for step in record["steps"]:
            _check_step(step)
        return Run(folder, request_from_json(record["request"]), record)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{folder} is not a run folder: it has no run.json; name one that `run` has written"
        ) from None
    except (
        KeyError, TypeError, AttributeError, RecursionError,
        json.JSONDecodeError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise BadInput(f"{path} is damaged ({error}): repeat the run") from None


def _text(path: Path) -> str:
    """A regular file's text; anything else that bears its name could keep us waiting."""
    if path.exists() and not path.is_file():
        raise TypeError("it is not a regular file")
    return path.read_text("utf-8")


def _check_step(step: Mapping[str, Any]) -> None:
    """KeyError or TypeError for a step that lacks what its readers need."""
    missing = STEP_NAMES - set(step)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    for group in ("inputs", "outputs"):
        for value in step[group].values():
            artifact_from_json(value)


def _object_folder(index: int, o: SceneObject) -> Path:
    """objects/NN_name, the name cut to what every file system takes in one part of a path."""
    name = f"{index + 1:02d}_{o.name.replace(' ', '_')}"[:MAX_FOLDER_NAME_LENGTH]
    name = name.encode()[:MAX_FOLDER_NAME_BYTES].decode(errors="ignore")
    return Path("objects") / name.rstrip(". ")


def _object_files(
    folder: Path, o: SceneObject, outcomes: Sequence[Outcome]
) -> dict[str, Artifact | None]:
    framed = [
        r for r in outcomes if r.call.stage == "frame" and r.call.subject == o.id and r.manifest
    ]
    crop = framed[-1].manifest.outputs["image"] if framed and framed[-1].manifest else None
    return {
        f"{folder}/mask.png": o.mask,
        f"{folder}/completion.png": o.completion,
        f"{folder}/object_crop.png": crop,
        f"{folder}/mesh.glb": o.mesh,
    }


def _drop_stale(folder: Path, wanted: set[str]) -> None:
    """Remove the folders of objects that an earlier run had and this one has not."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.name not in wanted and (entry / "mask.png").exists():
                shutil.rmtree(entry)


def _earlier_steps(folder: Path) -> Sequence[Mapping[str, Any]]:
    """The steps of the run that the folder held before, none when it held no run."""
    try:
        return read_run(folder).record["steps"]
    except BadInput:
        return []


def _step(
    outcome: Outcome, names: Mapping[str, str], before: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    call, manifest = outcome.call, outcome.manifest
    step = {
        "stage": call.stage,
        "subject": call.subject,
        "name": names.get(call.subject, call.subject if call.subject == WHOLE_SCENE else ""),
        "key": call.key,
        "backend": call.backend,
        "version": call.version,
        "settings": dict(call.settings),
        "weights": call.weights,
        "seed": call.seed,
        "inputs": {name: asdict(a) for name, a in sorted(call.inputs.items())},
        "outputs": {n: asdict(a) for n, a in sorted(manifest.outputs.items())} if manifest else {},
        "seconds": manifest.seconds if manifest else 0.0,
        "computed": outcome.computed,
        "failure": outcome.failure,
    }
    return {**step, "why": why_computed(step, list(names.values()), before)}
