"""The folder of a run: scene.glb, scene.json, overlay.png, objects/, report.html and run.json.

All of these but the last two are the same for the same input, byte for byte; run.json has the
times, the request, for every step its key, inputs, outputs and why it was computed, and the sha256
of every file that the run wrote. The report is made by `photoscene/report/page.py`.
"""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.calls import WHOLE_SCENE, Outcome
from flows.request import Request, request_from_json, request_to_json
from photoscene.choosing import MASKS
from photoscene.runs.changes import why_computed
from photoscene.runs.ownership import (
    FILES,
    RECORD,
    SEAL,
    identities,
    identity_of,
    is_owned,
    owned_files,
    read_record,
)
from photoscene.runs.transaction import Content, content_of, finish_interrupted, locked, renew
from scene.errors import BadInput
from scene.files import encode_json
from scene.scene_json import scene_from_json, scene_to_json
from scene.store import Store, artifact_from_json
from scene.text import printable
from scene.types import Artifact, Scene, SceneObject

FORMAT = "photoscene-run/1"
SCENE, REPORT, PHOTO, OBJECTS = "scene.json", "report.html", "photo.png", "objects"
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


def new_run(
    folder: Path,
    request: Request,
    store: Store,
    scene: Scene,
    outcomes: Sequence[Outcome],
    photo_name: str,
    seconds: float,
) -> Run:
    """A finished run as run.json will tell it; nothing is written yet."""
    before = _earlier_steps(folder)
    names = {o.id: o.name for o in scene.objects}
    record = {
        "format": FORMAT,
        "photo_name": printable(photo_name),
        "request": request_to_json(request),
        "store": store.address,
        "seconds": round(seconds, 3),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "versions": {name: metadata.version(name) for name in VERSIONS_OF},
        "steps": [_step(outcome, names, before) for outcome in outcomes],
    }
    return Run(folder, request, record)


def write_run(
    run: Run,
    store: Store,
    scene: Scene,
    pages: Mapping[str, bytes],
    inputs: Iterable[Path] = (),
) -> list[str]:
    """Write or renew a run's folder, all of it or nothing; returns lines to be said.

    pages: further files by name; inputs: the user's files that the run read, which stay as they
    are, wherever they lie. Only what an earlier run wrote is replaced or removed.
    """
    artifacts: dict[str, Artifact | None] = {"scene.glb": scene.glb, "overlay.png": scene.overlay}
    artifacts |= {"photo.png": scene.photo, "point_map.npz": scene.points}
    for index, o in enumerate(scene.objects):
        within = object_folder(index, o)
        artifacts |= _object_files(within, o, run.record["steps"])
        # What a person saved stays as it is, byte for byte.
        edited = run.request.edits_of(o.id).files
        artifacts |= {f"{within}/{file}": artifact for file, artifact in edited.items()}
    contents = {
        name: Content(artifact.sha256, partial(store.read, artifact))
        for name, artifact in artifacts.items()
        if artifact is not None
    }
    pages = {**pages, SCENE: encode_json(scene_to_json(scene))}
    contents |= {name: content_of(data) for name, data in pages.items()}
    return renew(run.folder, contents, run.record, identities(inputs), kept=[MASKS])


def write_page(run: Run, name: str, data: bytes) -> list[str]:
    """Write one more file into a run's folder; returns lines to be said."""
    record = {key: value for key, value in run.record.items() if key not in (FILES, SEAL)}
    kept = [*owned_files(run.folder)]
    return renew(run.folder, {name: content_of(data)}, record, kept=kept)


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


def check_contents(folder: Path, names: Sequence[str], inputs: Mapping[str, Path]) -> list[str]:
    """Refuse a folder in which a run would overwrite what is not its own; returns what to say.

    names: of files that the run will write; inputs: the user's files that it reads, by what they
    are called. An interrupted run is finished first. Raises BadInput.
    """
    if not folder.is_dir():
        return []
    with locked(folder) as held:
        said = finish_interrupted(folder, identities(inputs.values())) if held else []
        owned = owned_files(folder)
    record = read_record(folder)
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
    return said


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
        record = json.loads(_text(path))
        if record["format"] != FORMAT:
            raise BadInput(f"{path} has format {record['format']!r}, expected {FORMAT}: "
                             "repeat the run with this version and another -o")  # fmt: skip
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
        raise BadInput(f"{path} is damaged ({error}): repeat the run with another -o") from None


def read_scene(folder: Path) -> Scene:
    """The scene of a run folder; BadInput where scene.json is missing or damaged."""
    path = folder / SCENE
    try:
        return scene_from_json(json.loads(_text(path)))
    except (
        OSError, KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError,
    ):  # fmt: skip
        raise BadInput(f"{path} is missing or damaged: repeat the run") from None


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


def object_folder(index: int, o: SceneObject) -> Path:
    """objects/NN_name within a run's folder, the name cut to what every file system takes."""
    name = f"{index + 1:02d}_{o.name.replace(' ', '_')}"[:MAX_FOLDER_NAME_LENGTH]
    name = name.encode()[:MAX_FOLDER_NAME_BYTES].decode(errors="ignore")
    return Path(OBJECTS) / name.rstrip(". ")


def _object_files(
    folder: Path, o: SceneObject, steps: Sequence[Mapping[str, Any]]
) -> dict[str, Artifact | None]:
    framed = [
        s["outputs"]["image"]
        for s in steps
        if s["stage"] == "frame" and s["subject"] == o.id and s["outputs"]
    ]
    return {
        f"{folder}/mask.png": o.mask,
        f"{folder}/completion.png": o.completion,
        f"{folder}/object_crop.png": artifact_from_json(framed[-1]) if framed else None,
        f"{folder}/mesh.glb": o.mesh,
    }


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
