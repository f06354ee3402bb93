"""The plan of one photo's reconstruction: which calls, in which order, and the scene they make.

A plan is a generator: it yields lists of calls that may be carried out side by side, is sent what
came of them, and returns the scene. Who carries them out is a driver's business: from the store
alone (`cached.py`), by Prefect (`reconstruct.py`), or stage by stage over many scenes (`shard.py`).
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from flows.calls import ObjectInputs, Outcome, StageCall, lowered_call
from flows.request import Profile, Request
from flows.steps import (
    complete,
    compose,
    crop,
    edit,
    finish,
    frame,
    generate,
    map_points,
    photo,
    place,
    segment,
)
from flows.steps.place import unpack_placements
from scene.bundles import Bundle, notes_of, numbered, unpack_canonical
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact, CanonicalPose, PointMap, Scene, SceneObject
from stages.backends import find_backend
from stages.place import Placement
from stages.settings import make_settings

# All steps in the order of the DAG; segment and map_points run side by side where they can. "edit"
# is only there where a mask was changed by hand. A new step has its line here, and its call below.
STEPS = {
    step.name: step
    for step in (
        photo.STEP,
        segment.STEP,
        edit.STEP,
        map_points.STEP,
        crop.STEP,
        complete.STEP,
        frame.STEP,
        generate.STEP,
        finish.STEP,
        place.STEP,
        compose.STEP,
    )
}
PER_OBJECT = tuple(step.name for step in STEPS.values() if step.per_object)
# What a profile has an entry for, in the same order.
STAGES = {step.name: step.stage for step in STEPS.values() if step.stage is not None}
PER_OBJECT_STAGES = tuple(stage.name for stage in STAGES.values() if stage.per_object)

MAX_NAME_LENGTH = 64
RESERVED_NAMES = ("world", "photo_camera")  # nodes that the scene file has of its own
logger = logging.getLogger(__name__)

T = TypeVar("T")
Steps = Generator[list[StageCall], list[Outcome], T]  # yields calls, is sent what came of them
Plan = Steps[Scene]


class StageFailed(BadInput):
    """A step of the whole scene cannot use its input; the message names the stage and why."""


def code_versions(profile: Profile) -> dict[str, Any]:
    """The versions of all steps, and the profile's backends with theirs and their weights."""
    backends = {}
    for name, choice in profile.stages.items():
        backend = find_backend(STAGES[name], choice.backend)
        settings = make_settings(STAGES[name], choice.backend, choice.settings)
        backends[name] = [choice.backend, backend.version, backend.weights_digest(settings)]
    return {"steps": {name: step.version for name, step in STEPS.items()}, "backends": backends}


def carry_out(
    plan: Steps[T], run: Callable[[list[StageCall]], list[Outcome]]
) -> tuple[T, list[Outcome]]:
    """The scene of a plan, and what came of every call; run carries out calls side by side.

    Raises what is no failure of a call (`Outcome.error`) when all calls beside it have ended: what
    they made is in the store by then, where the next run finds it.
    """
    outcomes: list[Outcome] = []
    calls = next(plan)
    while True:
        ended = run(calls)
        outcomes += ended
        for outcome in ended:
            if outcome.error is not None:
                raise outcome.error
        try:
            calls = plan.send(ended)
        except StopIteration as end:
            return end.value, outcomes


def plan_scene(request: Request, store: Store) -> Plan:
    """Photo -> masks and point map -> per object: complete, frame, generate, finish -> place ->
    compose.

    Stops after `request.until`. An object that fails is kept in the scene with its reason; raises
    StageFailed for a step of the whole scene.
    """
    opened = yield from _one(photo.call(request))
    scene = Scene(opened["photo"], notes=(*notes_of(store, opened), *request.notes))

    objects, point_map = yield from _segment_and_map(request, store, opened)
    logger.info("objects", extra={"names": {o.id: o.name for o in objects}})
    scene = replace(scene, objects=tuple(_scene_object(o) for o in objects))
    scene = replace(scene, notes=(*scene.notes, *_edit_notes(request, objects)))
    if point_map is not None:
        mapped = store.load(point_map, PointMap)
        notes = (*scene.notes, *mapped.notes)
        scene = replace(scene, points=point_map, camera=mapped.camera, notes=notes)
    if point_map is None or not objects or request.until in ("segment", "map_points"):
        return scene

    crops = yield from _one(crop.call(store, opened, point_map, objects))
    completed = yield from _each(
        request, {o.id: complete.call(request, store, o, crops) for o in objects}
    )
    scene = _with_made(scene, request, store, "completion", "image", completed)
    if request.until == "complete":
        return scene

    framed = yield from _each(
        request,
        {o.id: frame.call(o, crops, completed.bundles[o.id], point_map)
         for o in objects if o.id in completed.bundles},
    )  # fmt: skip
    generated = yield from _each(
        request,
        {o.id: generate.call(request, o, framed.bundles[o.id])
         for o in objects if o.id in framed.bundles},
    )  # fmt: skip
    failures = completed.failures | framed.failures
    generated = replace(generated, failures=failures | generated.failures)
    light = {i: bundle["mesh"] for i, bundle in generated.bundles.items()}
    if "finish" in request.profile.stages and request.until != "generate":
        generated = yield from _finished(request, objects, framed, generated)
    scene = _with_made(scene, request, store, "mesh", "mesh", generated)
    meshes = {i: bundle["mesh"] for i, bundle in generated.bundles.items()}
    if request.until == "generate" or request.until == "finish" or not meshes:
        return scene

    # An asset stands where its light mesh does, which has the same outline and is cast at once.
    made = {i: (light[i], framed.bundles[i]["camera"]) for i in meshes}
    canonical = {i: b["canonical"] for i, b in generated.bundles.items() if "canonical" in b}
    placed = yield from _one(place.call(request, point_map, crops, made, canonical, objects))
    scene = _with_places(scene, store, placed, generated.bundles, objects)
    if request.until == "place":
        return scene

    composed = yield from _one(
        compose.call(request, store, opened, point_map, placed["placements"], meshes, objects)
    )
    return replace(scene, glb=composed["glb"], overlay=composed["overlay"])


def _segment_and_map(
    request: Request, store: Store, opened: Bundle
) -> Steps[tuple[list[ObjectInputs], Artifact | None]]:
    """Both at once, unless the map needs the masks or one of them is not wanted."""
    masks_first = map_points.needs_masks(request)
    if request.until == "map_points" and not masks_first:
        mapped = yield from _one(map_points.call(request, store, opened, []))
        return [], mapped["point_map"]
    segmenting = segment.call(request, store, opened)
    if masks_first or request.until == "segment":
        segmented = yield from _one(segmenting)
        objects = yield from _edited(request, store, opened, _objects(store, segmented))
        if request.until == "segment":
            return objects, None
        masks = [o.mask for o in objects]
        mapped = yield from _one(map_points.call(request, store, opened, masks))
    else:
        mapping = map_points.call(request, store, opened, [])
        segmented, mapped = yield from _all_of(segmenting, mapping)
        objects = yield from _edited(request, store, opened, _objects(store, segmented))
    return objects, mapped["point_map"]


def _edited(
    request: Request, store: Store, opened: Bundle, objects: list[ObjectInputs]
) -> Steps[list[ObjectInputs]]:
    """The objects with the masks that a person changed; ids stay those of the masks as found."""
    if all(request.edits_of(o.id).mask is None for o in objects):
        return objects
    masks = yield from _one(edit.call(request, store, opened, objects))
    return [replace(o, mask=masks[numbered(o.index, "mask")]) for o in objects]


def _one(call: StageCall) -> Steps[Bundle]:
    """The outputs of a call of the whole scene; StageFailed when it failed."""
    (outputs,) = yield from _all_of(call)
    return outputs


def _all_of(*calls: StageCall) -> Steps[list[Bundle]]:
    """The outputs of calls of the whole scene that are carried out side by side."""
    outputs: list[Bundle] = []
    for outcome in (yield list(calls)):
        if outcome.manifest is None:
            raise StageFailed(f"{outcome.call.stage}: {outcome.failure}")
        outputs.append(outcome.manifest.outputs)
    return outputs


@dataclass(frozen=True)
class _Made:
    """What a step made of each object, by id: outputs of some, failures of the others; lowered:
    calls that worked where the profile's own ran out of memory."""

    bundles: dict[str, Bundle]
    failures: dict[str, str]
    lowered: Sequence[StageCall]


def _each(request: Request, calls: Mapping[str, StageCall]) -> Steps[_Made]:
    """One call per object id, side by side; one that ran out of memory again with lower settings,
    where the profile has such."""
    outcomes = dict(zip(calls, (yield list(calls.values())), strict=True)) if calls else {}
    lower = {
        name: call
        for name, outcome in outcomes.items()
        if outcome.out_of_memory and (call := _lowered(request, outcome.call)) is not None
    }
    if lower:
        outcomes |= dict(zip(lower, (yield list(lower.values())), strict=True))
    bundles = {i: o.manifest.outputs for i, o in outcomes.items() if o.manifest is not None}
    failures = {i: f"{o.call.stage}: {o.failure}" for i, o in outcomes.items() if i not in bundles}
    return _Made(bundles, failures, [outcomes[i].call for i in lower if i in bundles])


def _finished(
    request: Request, objects: Sequence[ObjectInputs], framed: _Made, generated: _Made
) -> Steps[_Made]:
    """What was generated, with the assets of its meshes; a mesh that a person edited stays."""
    calls = {
        o.id: finish.call(request, o, framed.bundles[o.id], generated.bundles[o.id])
        for o in objects
        if o.id in generated.bundles and request.edits_of(o.id).mesh is None
    }
    made = yield from _each(request, calls)
    known = {i: b for i, b in generated.bundles.items() if i not in made.failures}
    return _Made(
        {i: {**bundle, **made.bundles.get(i, {})} for i, bundle in known.items()},
        generated.failures | made.failures,
        [*generated.lowered, *made.lowered],
    )


def _lowered(request: Request, call: StageCall) -> StageCall | None:
    """The call with the profile's settings of less memory; None where it has none for it."""
    stage = STEPS[call.stage].stage
    return None if stage is None else lowered_call(request, stage, call)


def _with_lowered(scene: Scene, request: Request, lowered: Sequence[StageCall]) -> Scene:
    """The scene with a note, once, for every step that was done with settings of less memory."""
    names = {o.id: o.name for o in scene.objects}
    notes = list(scene.notes)
    for call in lowered:
        values = sorted(request.profile.stages[call.stage].on_out_of_memory.items())
        settings = ", ".join(f"{setting} {value}" for setting, value in values)
        notes.append(f"{names[call.subject]}: {call.stage} ran out of memory, made with {settings}")
    return replace(scene, notes=tuple(dict.fromkeys(notes)))


def _with_notes(scene: Scene, store: Store, made: Mapping[str, Bundle]) -> Scene:
    """The scene with what a step's backend said of its objects."""
    notes = list(scene.notes)
    for o in scene.objects:
        notes += [f"{o.name}: {note}" for note in notes_of(store, made.get(o.id, {}))]
    return replace(scene, notes=tuple(notes))


def _edit_notes(request: Request, objects: list[ObjectInputs]) -> list[str]:
    """A note for every object that a person changed."""
    edited = [(o.name, request.edits_of(o.id).names) for o in objects]
    return [f"{name}: {' and '.join(files)} edited by hand" for name, files in edited if files]


def _objects(store: Store, segmented: Bundle) -> list[ObjectInputs]:
    """Ids from the masks' content, and names that are unique and safe to show anywhere."""
    listed = store.load(segmented["details"], dict)["objects"]
    names = unique_names([entry["label"] for entry in listed])
    masks = [segmented[numbered(i, "mask")] for i in range(len(listed))]
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


def _scene_object(o: ObjectInputs) -> SceneObject:
    return SceneObject(o.id, o.label, o.name, o.mask)


def _with_objects(scene: Scene, change: Callable[[SceneObject], SceneObject]) -> Scene:
    return replace(scene, objects=tuple(change(o) for o in scene.objects))


def _with_made(
    scene: Scene, request: Request, store: Store, field_name: str, output: str, made: _Made
) -> Scene:
    """The scene with what a step made of each object (None where it failed), and its notes."""
    artifacts = {i: bundle[output] for i, bundle in made.bundles.items()}
    scene = _with_objects(
        scene,
        lambda o: replace(
            o, **{field_name: artifacts.get(o.id), "failure": made.failures.get(o.id)}
        ),
    )
    return _with_notes(_with_lowered(scene, request, made.lowered), store, made.bundles)


def _with_places(
    scene: Scene,
    store: Store,
    placed: Bundle,
    generated: Mapping[str, Bundle],
    objects: Sequence[ObjectInputs],
) -> Scene:
    """The scene with every object's place, and its upright frame where one was found."""
    found = unpack_placements(store, placed["placements"])
    by_id = {o.id: found.get(o.index) for o in objects}
    canonical = {i: unpack_canonical(store, bundle) for i, bundle in generated.items()}
    scene = _with_objects(scene, lambda o: _placed(o, by_id[o.id], canonical.get(o.id)))
    world = store.load(placed["world"], dict)["world_from_camera"]
    return replace(scene, world_from_camera=None if world is None else np.array(world))


def _placed(
    o: SceneObject, placement: Placement | None, canonical: CanonicalPose | None
) -> SceneObject:
    if placement is None:
        return o
    if placement.failure:
        return replace(o, failure=f"place: {placement.failure}")
    place = placement.camera_from_object
    posed = place and canonical and place.after(canonical.object_from_canonical)
    return replace(o, camera_from_object=place, fit=placement.fit, camera_from_canonical=posed)
