"""What each step reads and how it is keyed: the calls that the pipeline makes.

A call names its inputs by artifact; equal calls have equal keys. How a call is carried out is in
`flows/compute.py`, so that looking keys up imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.request import Request
from scene.keys import object_seed, stage_key
from scene.store import Manifest, Store
from scene.types import Artifact
from stages.backends import (
    find_backend,
    local_settings,
    make_settings,
    settings_to_json,
    stage_version,
    weights_of,
)

BUILT_IN = "built-in"
EDITED = "edited"  # the backend of steps whose result a person made
WHOLE_SCENE = "scene"
# All steps in the order of the DAG; segment and map_points run side by side where they can.
# "edit" is only there where a mask was changed by hand.
STEP_ORDER = ("photo", "segment", "edit", "map_points", "crop", "complete", "frame", "generate",
              "place", "compose")  # fmt: skip
PER_OBJECT = ("complete", "frame", "generate")
# Raise one when the step's output changes; backends and stages have a VERSION of their own.
PHOTO_VERSION, CROP_VERSION, FRAME_VERSION = "3", "2", "1"
EDIT_VERSION = "2"  # of all that reads what a person made
MAX_PHOTO_SIDE_PX = 2048  # larger photos are worked on at this size


@dataclass(frozen=True)
class StageCall:
    """One step to do: for the whole scene, or for the object whose id is the subject.

    local: settings that say where and how to work on this machine; no part of the key.
    """

    stage: str
    subject: str
    inputs: Mapping[str, Artifact]
    backend: str = BUILT_IN
    version: str = "1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    seed: int = 0
    local: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The content key under which the result is kept."""
        return stage_key(
            self.stage,
            self.backend,
            self.version,
            self.settings,
            self.weights,
            self.inputs,
            self.seed,
        )


@dataclass(frozen=True)
class Outcome:
    """A call and its manifest, or why it failed; computed is False when the store had it.

    error: what ends the whole run instead, when the calls beside it have ended: a bug, or what this
    machine lacks.
    """

    call: StageCall
    manifest: Manifest | None
    computed: bool = False
    failure: str | None = None
    out_of_memory: bool = False
    error: BaseException | None = None


@dataclass(frozen=True)
class ObjectInputs:
    """What is known of an object once the masks are cut: its place in the list, id and name."""

    index: int
    id: str
    label: str
    name: str
    mask: Artifact


def photo_call(request: Request) -> StageCall:
    """Decode the photo: upright, sRGB, at most 2048 pixels long; read its focal length."""
    settings = {"max_side_px": MAX_PHOTO_SIDE_PX}
    return StageCall(
        "photo", WHOLE_SCENE, {"file": request.photo}, BUILT_IN, PHOTO_VERSION, settings
    )


def segment_call(request: Request, store: Store, photo: Mapping[str, Artifact]) -> StageCall:
    """Find the objects' visible masks."""
    asked = {
        "prompts": [asdict(p) for p in request.prompts],
        "labels": [m.label for m in request.masks],
    }
    inputs = {"photo": photo["photo"], "size": photo["details"], "asked": store.save(asked)}
    inputs |= {f"{i:03d}.file": m.file for i, m in enumerate(request.masks)}
    return _profile_call(request, "segment", WHOLE_SCENE, inputs)


def edit_call(
    request: Request, store: Store, photo: Mapping[str, Artifact], objects: list[ObjectInputs]
) -> StageCall:
    """Put the masks that a person changed in the place of those that were found."""
    inputs = {"photo": photo["photo"], "size": photo["details"]}
    inputs["names"] = store.save({"names": [o.name for o in objects]})
    for o in objects:
        inputs[f"{o.index:03d}.mask"] = o.mask
        mask = request.edits_of(o.id).mask
        if mask is not None:
            inputs[f"{o.index:03d}.file"] = mask
    return StageCall("edit", WHOLE_SCENE, inputs, EDITED, EDIT_VERSION)


def map_points_call(
    request: Request, store: Store, photo: Mapping[str, Artifact], masks: list[Artifact]
) -> StageCall:
    """Map the scene's depth; masks only for a backend that needs them."""
    inputs = {"photo": photo["photo"], "size": photo["details"]}
    inputs["camera"] = store.save(dict(request.camera))
    if request.point_map is not None:
        inputs["file"] = request.point_map
    inputs |= {f"{i:03d}.mask": mask for i, mask in enumerate(masks)}
    return _profile_call(request, "map_points", WHOLE_SCENE, inputs)


def map_points_needs_masks(request: Request) -> bool:
    """Whether the chosen map_points backend must wait for segment."""
    module = find_backend("map_points", request.profile.stages["map_points"].backend)
    return bool(getattr(module, "NEEDS_MASKS", False))


def crop_call(
    store: Store, photo: Mapping[str, Artifact], point_map: Artifact, objects: list[ObjectInputs]
) -> StageCall:
    """Cut every object's context crop, its visible mask and its occluders, with their labels."""
    inputs = {"photo": photo["photo"], "point_map": point_map}
    inputs["labels"] = store.save({"labels": [o.label for o in objects]})
    inputs |= {f"{o.index:03d}.mask": o.mask for o in objects}
    return StageCall("crop", WHOLE_SCENE, inputs, BUILT_IN, CROP_VERSION)


def complete_call(
    request: Request, store: Store, o: ObjectInputs, crops: Mapping[str, Artifact]
) -> StageCall:
    """Complete one object's hidden parts inside its context crop.

    The labels of what hides it, and what of the crop is outside the photo, where there are any. A
    completion that a person edited is taken instead.
    """
    edits = request.edits_of(o.id)
    if edits.completion is not None and edits.completion_camera is not None:
        files = {"file": edits.completion, "edited_camera": edits.completion_camera}
        files["camera"] = crops[f"{o.index:03d}.camera"]
        return StageCall("complete", o.id, files, EDITED, EDIT_VERSION)
    names = ("image", "occluder", "camera", "occluder_labels", "outside")
    cut = {name: crops.get(f"{o.index:03d}.{name}") for name in names}
    inputs = {name: artifact for name, artifact in cut.items() if artifact is not None}
    inputs["label"] = store.save({"label": o.label})
    return _profile_call(request, "complete", o.id, inputs)


def frame_call(
    o: ObjectInputs,
    crops: Mapping[str, Artifact],
    completed: Mapping[str, Artifact],
    point_map: Artifact,
) -> StageCall:
    """Re-centre the completed object: the object crop, its camera and the depth within it."""
    inputs = {
        "image": completed["image"],
        "context_camera": crops[f"{o.index:03d}.camera"],
        "point_map": point_map,
        "mask": o.mask,
    }
    return StageCall("frame", o.id, inputs, BUILT_IN, FRAME_VERSION)


def generate_call(request: Request, o: ObjectInputs, framed: Mapping[str, Artifact]) -> StageCall:
    """Generate one object's mesh from its object crop alone, or take the one a person edited."""
    edited = request.edits_of(o.id).mesh
    if edited is not None:
        return StageCall("generate", o.id, {"file": edited}, EDITED, EDIT_VERSION)
    inputs = {name: framed[name] for name in ("image", "depth", "camera")}
    return _profile_call(request, "generate", o.id, inputs)


def lowered_call(request: Request, call: StageCall) -> StageCall | None:
    """The same step with the settings that the profile has for one that ran out of memory.

    A call of its own, with its own key; None where the profile has no such settings.
    """
    if call.backend == EDITED:
        return None
    lower = request.profile.stages[call.stage].on_out_of_memory
    values = {**call.settings, **call.local, **lower}
    other = backend_call(call.stage, call.backend, values, call.subject, call.inputs, call.seed)
    return None if not lower or other.key == call.key else other


def place_call(
    request: Request,
    point_map: Artifact,
    crops: Mapping[str, Artifact],
    made: Mapping[str, tuple[Artifact, Artifact]],
    objects: list[ObjectInputs],
) -> StageCall:
    """Place all generated objects at once; `made` maps an object's id to its mesh and camera.

    A mesh that a person edited has the camera it was edited for, and stays where it stood.
    """
    inputs = {"point_map": point_map}
    for o in objects:
        number = f"{o.index:03d}"
        inputs[f"{number}.mask"] = o.mask
        if o.id in made:
            inputs[f"{number}.mesh"], inputs[f"{number}.camera"] = made[o.id]
            inputs[f"{number}.hidden_by"] = crops[f"{number}.hidden_by"]
        edits = request.edits_of(o.id)
        if o.id in made and edits.mesh_camera is not None:
            inputs[f"{number}.camera"] = edits.mesh_camera
        if o.id in made and edits.mesh_place is not None:
            inputs[f"{number}.kept"] = edits.mesh_place
    return _profile_call(request, "place", WHOLE_SCENE, inputs)


def compose_call(
    request: Request,
    store: Store,
    photo: Mapping[str, Artifact],
    point_map: Artifact,
    placements: Artifact,
    meshes: Mapping[str, Artifact],
    objects: list[ObjectInputs],
) -> StageCall:
    """Write the scene file and its overlay; `meshes` maps an object's id to its mesh."""
    inputs = {"photo": photo["photo"], "point_map": point_map, "placements": placements}
    names = {f"{o.index:03d}": {"id": o.id, "name": o.name, "label": o.label} for o in objects}
    inputs["names"] = store.save(names)
    for o in objects:
        inputs[f"{o.index:03d}.mask"] = o.mask
        if o.id in meshes:
            inputs[f"{o.index:03d}.mesh"] = meshes[o.id]
    return _profile_call(request, "compose", WHOLE_SCENE, inputs)


def _profile_call(
    request: Request, stage: str, subject: str, inputs: Mapping[str, Artifact]
) -> StageCall:
    """A call of the profile's backend, with this object's own settings and seed if it has any."""
    choice = request.profile.stages[stage]
    override = request.overrides.get(subject, {})
    values = {**choice.settings, **override.get("settings", {}).get(stage, {})}
    per_object = stage in ("complete", "generate")
    seed = object_seed(override.get("seed", request.seed), subject) if per_object else 0
    return backend_call(stage, choice.backend, values, subject, inputs, seed)


def backend_call(
    stage: str,
    backend: str,
    values: Mapping[str, Any],
    subject: str,
    inputs: Mapping[str, Artifact],
    seed: int,
) -> StageCall:
    """A call of a backend by name, with the settings that differ from its defaults.

    Its version joins the stage's (what `run` does and how its files are written) and the backend's.
    """
    module = find_backend(stage, backend)
    settings = make_settings(stage, backend, values)
    return StageCall(
        stage,
        subject,
        inputs,
        backend,
        f"{stage_version(stage)}.{module.VERSION}",
        settings_to_json(settings),
        weights_of(stage, backend, settings),
        seed,
        local_settings(settings),
    )
