"""The order of the stages: one photo's request -> its scene."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from flows import steps
from flows.request import Request
from flows.steps import ObjectInputs, Outcome, StageCall
from scene.errors import BadInput
from scene.files import fit_from_json, similarity_from_json
from scene.store import Store
from scene.types import Artifact, PointMap, Scene, SceneObject

MAX_NAME_LENGTH = 64
RESERVED_NAMES = ("world", "photo_camera")  # nodes that the scene file has of its own
logger = logging.getLogger(__name__)


class StageFailed(BadInput):
    """A step of the whole scene cannot use its input; the message names the stage and why."""


class Pending(Protocol):
    """A call under way."""

    def outcome(self) -> Outcome:
        """Wait for the call; raises nothing of what went wrong in it."""
        ...


Start = Callable[[StageCall], Pending]
Outputs = Mapping[str, Artifact]


@dataclass
class Progress:
    """Starts calls and keeps what came of every one of them, in order.

    lowered: calls that worked where the profile's own ran out of memory.
    """

    start: Start
    outcomes: list[Outcome] = field(default_factory=list)
    lowered: list[StageCall] = field(default_factory=list)

    def one(self, call: StageCall) -> Outputs:
        """The outputs of a call of the whole scene; StageFailed when it failed."""
        return self.finish(self.start(call))[0]

    def finish(self, *started: Pending) -> list[Outputs]:
        """Wait for started calls of the whole scene: the outputs of each."""
        outputs: list[Outputs] = []
        for outcome in self._ended(started):
            if outcome.manifest is None:
                raise StageFailed(f"{outcome.call.stage}: {outcome.failure}")
            outputs.append(outcome.manifest.outputs)
        return outputs

    def each(
        self,
        calls: Mapping[str, StageCall],
        lowered: Callable[[StageCall], StageCall | None] = lambda call: None,
    ) -> tuple[dict[str, Outputs], dict[str, str]]:
        """Run one call per object id side by side: outputs of some, failures of the others.

        lowered: the call to make instead of one that ran out of memory, if any.
        """
        outcomes = self._all(calls)
        instead = {
            name: call
            for name, outcome in outcomes.items()
            if outcome.out_of_memory and (call := lowered(outcome.call)) is not None
        }
        outcomes |= self._all(instead)
        outputs: dict[str, Outputs] = {}
        failures: dict[str, str] = {}
        for name, outcome in outcomes.items():
            if outcome.manifest is None:
                failures[name] = f"{outcome.call.stage}: {outcome.failure}"
            else:
                outputs[name] = outcome.manifest.outputs
                if name in instead:
                    self.lowered.append(outcome.call)
        return outputs, failures

    def _all(self, calls: Mapping[str, StageCall]) -> dict[str, Outcome]:
        ended = self._ended([self.start(call) for call in calls.values()])
        return dict(zip(calls, ended, strict=True))

    def _ended(self, started: Sequence[Pending]) -> list[Outcome]:
        """Wait for all of them; raises what is no failure of a call when every one has ended.

        What the others made is in the store by then, where the next run finds it.
        """
        outcomes = [pending.outcome() for pending in started]
        self.outcomes += outcomes
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return outcomes


def reconstruct_scene(request: Request, store: Store, progress: Progress) -> Scene:
    """Photo -> masks and point map -> per object: complete, frame, generate -> place -> compose.

    Stops after `request.until`. An object that fails is kept in the scene with its reason.
    """
    photo = progress.one(steps.photo_call(request))
    notes = (*_details(store, photo)["notes"], *request.notes)
    scene = Scene(photo["photo"], notes=notes)

    objects, point_map = _segment_and_map(request, store, progress, photo)
    logger.info("objects", extra={"names": {o.id: o.name for o in objects}})
    scene = replace(scene, objects=tuple(_scene_object(o) for o in objects))
    scene = replace(scene, notes=(*scene.notes, *_edit_notes(request, objects)))
    if point_map is not None:
        mapped = store.load(point_map, PointMap)
        notes = (*scene.notes, *mapped.notes)
        scene = replace(scene, points=point_map, camera=mapped.camera, notes=notes)
    if point_map is None or not objects or request.until in ("segment", "map_points"):
        return scene

    crops = progress.one(steps.crop_call(store, photo, point_map, objects))
    completed, failures = progress.each(
        {o.id: steps.complete_call(request, store, o, crops) for o in objects},
        lambda call: steps.lowered_call(request, call),
    )
    images = {i: outputs["image"] for i, outputs in completed.items()}
    scene = _with_made(scene, "completion", images, failures)
    scene = _with_notes(_with_lowered(scene, request, progress.lowered), store, completed)
    if request.until == "complete":
        return scene

    framed, lost = progress.each(
        {o.id: steps.frame_call(o, crops, completed[o.id], point_map)
         for o in objects if o.id in completed}
    )  # fmt: skip
    generated, failed = progress.each(
        {o.id: steps.generate_call(request, o, framed[o.id]) for o in objects if o.id in framed},
        lambda call: steps.lowered_call(request, call),
    )
    failures |= lost | failed
    meshes = {i: outputs["mesh"] for i, outputs in generated.items()}
    scene = _with_made(scene, "mesh", meshes, failures)
    scene = _with_notes(_with_lowered(scene, request, progress.lowered), store, generated)
    if request.until == "generate" or not generated:
        return scene

    made = {i: (mesh, framed[i]["camera"]) for i, mesh in meshes.items()}
    placed = progress.one(steps.place_call(request, point_map, crops, made, objects))
    scene = _with_places(scene, store, placed, objects)
    if request.until == "place":
        return scene

    composed = progress.one(
        steps.compose_call(request, store, photo, point_map, placed["placements"], meshes, objects)
    )
    return replace(scene, glb=composed["glb"], overlay=composed["overlay"])


def _with_lowered(scene: Scene, request: Request, lowered: Sequence[StageCall]) -> Scene:
    """The scene with a note, once, for every step that was done with settings of less memory."""
    names = {o.id: o.name for o in scene.objects}
    notes = list(scene.notes)
    for call in lowered:
        values = sorted(request.profile.stages[call.stage].on_out_of_memory.items())
        settings = ", ".join(f"{setting} {value}" for setting, value in values)
        notes.append(f"{names[call.subject]}: {call.stage} ran out of memory, made with {settings}")
    return replace(scene, notes=tuple(dict.fromkeys(notes)))


def _with_notes(scene: Scene, store: Store, made: Mapping[str, Outputs]) -> Scene:
    """The scene with what a step's backend said of its objects."""
    notes = list(scene.notes)
    for o in scene.objects:
        if "details" in made.get(o.id, {}):
            said = _details(store, made[o.id])["notes"]
            notes += [f"{o.name}: {note}" for note in said]
    return replace(scene, notes=tuple(notes))


def _edit_notes(request: Request, objects: list[ObjectInputs]) -> list[str]:
    """A note for every object that a person changed."""
    edited = [(o.name, request.edits_of(o.id).names) for o in objects]
    return [f"{name}: {' and '.join(files)} edited by hand" for name, files in edited if files]


def _segment_and_map(
    request: Request, store: Store, progress: Progress, photo: Outputs
) -> tuple[list[ObjectInputs], Artifact | None]:
    """Both at once, unless the map needs the masks or one of them is not wanted."""
    if request.until == "map_points" and not steps.map_points_needs_masks(request):
        mapped = progress.one(steps.map_points_call(request, store, photo, []))
        return [], mapped["point_map"]
    segmenting = progress.start(steps.segment_call(request, store, photo))
    if request.until == "segment":
        found = _objects(store, *progress.finish(segmenting))
        return _edited(request, store, progress, photo, found), None
    if steps.map_points_needs_masks(request):
        objects = _objects(store, *progress.finish(segmenting))
        objects = _edited(request, store, progress, photo, objects)
        masks = [o.mask for o in objects]
        mapped = progress.one(steps.map_points_call(request, store, photo, masks))
    else:
        mapping = progress.start(steps.map_points_call(request, store, photo, []))
        segmented, mapped = progress.finish(segmenting, mapping)
        objects = _edited(request, store, progress, photo, _objects(store, segmented))
    return objects, mapped["point_map"]


def _edited(
    request: Request, store: Store, progress: Progress, photo: Outputs, objects: list[ObjectInputs]
) -> list[ObjectInputs]:
    """The objects with the masks that a person changed; ids stay those of the masks as found."""
    if all(request.edits_of(o.id).mask is None for o in objects):
        return objects
    masks = progress.one(steps.edit_call(request, store, photo, objects))
    return [replace(o, mask=masks[f"{o.index:03d}.mask"]) for o in objects]


def _objects(store: Store, segmented: Outputs) -> list[ObjectInputs]:
    """Ids from the masks' content, and names that are unique and safe to show anywhere."""
    listed = _details(store, segmented)["objects"]
    names = unique_names([entry["label"] for entry in listed])
    masks = [segmented[f"{i:03d}.mask"] for i in range(len(listed))]
    return [
        ObjectInputs(i, mask.sha256[:12], entry["label"], name, mask)
        for i, (entry, name, mask) in enumerate(zip(listed, names, masks, strict=True))
    ]


def unique_names(labels: Sequence[str]) -> list[str]:
    """Node names: the label's printable text, else object_01; repeated ones get a number."""
    names = [*RESERVED_NAMES]
    for index, label in enumerate(labels):
        text = unicodedata.normalize("NFC", label)
        text = "".join(c if c.isprintable() and c not in '/\\<>"' else " " for c in text)
        text = re.sub(r"\s+", " ", text).strip(" .")[:MAX_NAME_LENGTH].strip(" .")
        base = text or f"object_{index + 1:02d}"
        name, again = base, 2
        while name in names:
            ending = f"_{again}"
            name, again = base[: MAX_NAME_LENGTH - len(ending)].rstrip(" .") + ending, again + 1
        names.append(name)
    return names[len(RESERVED_NAMES) :]


def _details(store: Store, outputs: Outputs) -> dict:
    return store.load(outputs["details"], dict)


def _scene_object(o: ObjectInputs) -> SceneObject:
    return SceneObject(o.id, o.label, o.name, o.mask)


def _with_objects(scene: Scene, change: Callable[[SceneObject], SceneObject]) -> Scene:
    return replace(scene, objects=tuple(change(o) for o in scene.objects))


def _with_made(
    scene: Scene, field_name: str, made: Mapping[str, Artifact], failures: Mapping[str, str]
) -> Scene:
    """The scene with what a step made of each object, None where it failed, and the failures."""
    return _with_objects(
        scene,
        lambda o: replace(o, **{field_name: made.get(o.id), "failure": failures.get(o.id)}),
    )


def _with_places(scene: Scene, store: Store, placed: Outputs, objects: list[ObjectInputs]) -> Scene:
    """The scene with every object's place, and its upright frame where one was found."""
    placements = store.load(placed["placements"], dict)
    numbers = {o.id: f"{o.index:03d}" for o in objects}
    scene = _with_objects(scene, lambda o: _placed(o, placements.get(numbers[o.id])))
    world = store.load(placed["world"], dict)["world_from_camera"]
    return replace(scene, world_from_camera=None if world is None else np.array(world))


def _placed(o: SceneObject, placement: Mapping | None) -> SceneObject:
    if placement is None:
        return o
    if placement["failure"]:
        return replace(o, failure=f"place: {placement['failure']}")
    return replace(
        o,
        camera_from_object=similarity_from_json(placement["camera_from_object"]),
        fit=fit_from_json(placement["fit"]),
    )
