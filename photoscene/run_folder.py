"""The folder of a run: scene.glb, scene.json, overlay.png, objects/ and run.json.

Everything but run.json is the same for the same input, byte for byte; run.json has the times, the
request, and for every step its key, inputs, outputs and why it was computed.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.request import Request, request_from_json, request_to_json
from flows.steps import WHOLE_SCENE, Outcome
from photoscene.changes import why_computed
from scene.files import encode_json
from scene.scene_json import scene_to_json
from scene.store import Store, copy_artifact, write_atomically
from scene.types import Artifact, Scene, SceneObject

FORMAT = "photoscene-run/1"
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
    for name, artifact in files.items():
        if artifact is None:
            (folder / name).unlink(missing_ok=True)
        else:
            copy_artifact(store, artifact, folder / name)
    _drop_stale(
        folder / "objects", {_object_folder(i, o).name for i, o in enumerate(scene.objects)}
    )
    _write_if_new(folder / "scene.json", encode_json(scene_to_json(scene)))
    before = _earlier_steps(folder)
    names = {o.id: o.name for o in scene.objects}
    record = {
        "format": FORMAT,
        "photo_name": photo_name,
        "request": request_to_json(request),
        "store": str(store.root),
        "seconds": round(seconds, 3),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "versions": {name: metadata.version(name) for name in VERSIONS_OF},
        "steps": [_step(outcome, names, before) for outcome in outcomes],
    }
    write_atomically(folder / "run.json", encode_json(record))
    return record


def check_folder(folder: Path) -> None:
    """Raise OSError now, not after the work, when a run folder cannot be made there."""
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    if not os.access(nearest, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))


def read_run(folder: Path) -> Run:
    """A run folder's record; ValueError when it is none."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"{path} has format {record['format']!r}, expected {FORMAT}")
        return Run(folder, request_from_json(record["request"]), record)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} is not a run folder: it has no run.json") from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): repeat the run") from None


def _object_folder(index: int, o: SceneObject) -> Path:
    return Path("objects") / f"{index + 1:02d}_{o.name.replace(' ', '_')}"


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


def _write_if_new(path: Path, data: bytes) -> None:
    if not (path.exists() and path.read_bytes() == data):
        write_atomically(path, data)


def _earlier_steps(folder: Path) -> Sequence[Mapping[str, Any]]:
    """The steps of the run that the folder held before, none when it held no run."""
    try:
        return read_run(folder).record["steps"]
    except ValueError:
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
    return {**step, "why": why_computed(step, before)}
