"""What a person changed of a run's objects: masks, completions and meshes in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.request import EDITED_FILES, Edits, Request
from flows.steps import photo, segment
from photoscene.inputs.request import read_file
from photoscene.runs.folder import Run, object_folder, read_scene
from scene.bundles import numbered, unpack_masks
from scene.errors import BadInput
from scene.files import similarity_to_json
from scene.foreign_glb import mesh_from_glb
from scene.images import decode_cutout
from scene.keys import digest
from scene.store import Store
from scene.types import Artifact, CropCamera, Mask, Photo, Scene, SceneObject
from stages import edits as edited


@dataclass(frozen=True)
class Found:
    """A run's request with all edits of its folder, their files, and what is new, in words."""

    request: Request
    files: tuple[Path, ...]
    changes: tuple[str, ...]


def find_edits(run: Run, store: Store, only: str | None = None) -> Found:
    """Take the files that differ from what the run wrote into the store, and remember them.

    only: the id of the one object to look at. A file that is gone, or a mask that is again as it
    was found, ends its edit. Every new file is read and checked: BadInput names the one that is
    wrong, before anything is computed.
    """
    scene = read_scene(run.folder)
    known, files, changes = dict(run.request.edits), [], []
    for index, o in enumerate(scene.objects):
        folder = run.folder / object_folder(index, o)
        before = run.request.edits_of(o.id)
        after = before if only not in (None, o.id) else _edits(run, store, index, o, before)
        known[o.id] = after
        # What was edited of an object that is not asked for waits where it is.
        waiting = [name for name in EDITED_FILES if _now(folder, o, name, before, store)]
        files += [folder / EDITED_FILES[name] for name in waiting]
        changes += [
            f"{o.name}: {name} {'edited' if getattr(after, name) else 'as the run makes it'}"
            for name in EDITED_FILES
            if getattr(after, name) != getattr(before, name)
        ]
    request = replace(run.request, edits={i: e for i, e in known.items() if e.names})
    _check_masks(run, request, store, scene)
    return Found(request, tuple(files), tuple(changes))


def _edits(run: Run, store: Store, index: int, o: SceneObject, before: Edits) -> Edits:
    """The edits of one object as its files stand now."""
    folder = run.folder / object_folder(index, o)
    now = {name: _now(folder, o, name, before, store) for name in EDITED_FILES}
    if now["mask"] is not None and now["mask"].sha256.startswith(o.id):
        now["mask"] = None  # the one that was found
    found = Edits(mask=now["mask"])
    if now["completion"] is not None:
        camera = before.completion_camera or _output(run, "crop", "", numbered(index, "camera"))
        found = replace(found, completion=now["completion"], completion_camera=camera)
        if now["completion"] != before.completion:
            check = partial(_check_cutout, store, camera)
            _checked(folder / EDITED_FILES["completion"], check)
    if now["mesh"] is not None:
        camera = before.mesh_camera or _output(run, "frame", o.id, "camera")
        place = before.mesh_place
        if before.mesh is None and o.camera_from_object is not None:
            place = store.save(similarity_to_json(o.camera_from_object))
        found = replace(found, mesh=now["mesh"], mesh_camera=camera, mesh_place=place)
        if now["mesh"] != before.mesh:
            _checked(folder / EDITED_FILES["mesh"], mesh_from_glb)
    return found


def _now(folder: Path, o: SceneObject, name: str, before: Edits, store: Store) -> Artifact | None:
    """The edit that one of an object's files is: the earlier one, a new one, or none."""
    path, made = folder / EDITED_FILES[name], getattr(o, name)
    if not path.exists():
        return None
    data = read_file(path, "edited file")
    if made is not None and digest(data) == made.sha256:
        return getattr(before, name)
    return store.save_bytes(data, "file", path.suffix)


def _output(run: Run, stage: str, subject: str, name: str) -> Artifact:
    """What a step of the run made; BadInput where it did not come so far."""
    for step in run.record.steps:
        if step.stage == stage and subject in ("", step.subject) and name in step.outputs:
            return step.outputs[name]
    raise BadInput(f"{run.folder} has no {stage} of this object: repeat the run")


def _check_cutout(store: Store, camera: Artifact, data: bytes) -> None:
    edited.check_side(decode_cutout(data), store.load(camera, CropCamera))


def _check_masks(run: Run, request: Request, store: Store, scene: Scene) -> None:
    """Read the edited masks as the step will; where the store lost what that takes, it will say."""
    if request.edits == run.request.edits or not any(e.mask for e in request.edits.values()):
        return
    opened = store.lookup(photo.call(request).key)
    if opened is None:
        return
    opened_photo, size = (
        store.load(opened.outputs["photo"], Photo),
        store.load(opened.outputs["details"], dict),
    )
    masks: dict[int, Mask] = {}
    for index, o in enumerate(scene.objects):
        file = request.edits_of(o.id).mask
        if file is not None:
            path = run.folder / object_folder(index, o) / EDITED_FILES["mask"]
            name = o.name
            masks[index] = _checked(
                path,
                lambda data, i=index, n=name: segment.read_mask(data, i, n, opened_photo, size),
                ": ",
            )
    segmented = store.lookup(segment.call(request, store, opened.outputs).key)
    if segmented is not None:
        found = unpack_masks(store, segmented.outputs)
        names = [o.name for o in scene.objects]
        edited.edited_masks(found, {i: m.pixels for i, m in masks.items()}, names)


def _checked(path: Path, read: Callable[[bytes], Any], between: str = " ") -> Any:
    """What a file holds; BadInput begins with the file's name."""
    try:
        return read(read_file(path, "edited file"))
    except BadInput as error:
        raise BadInput(f"{path}{between}{error}") from None
