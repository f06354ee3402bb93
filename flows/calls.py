"""Calls: one step to do, by what it is keyed, and what came of it.

A call names its inputs by artifact; equal calls have equal keys. Each step's own call and how it is
carried out are in `flows/steps/NAME.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.request import Request
from scene.keys import object_seed, stage_key
from scene.manifests import Manifest
from scene.store import Store
from scene.types import Artifact
from stages.backends import AnyStage, find_backend
from stages.devices import ModelPool
from stages.settings import NO_SETTINGS, make_settings, settings_to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BUILT_IN = "built-in"
EDITED = "edited"  # the backend of steps whose result a person made
EDITED_VERSION = "2"  # of all steps that read what a person made
WHOLE_SCENE = "scene"


@dataclass(frozen=True)
class StageCall:
    """One step to do: for the whole scene, or for the object whose id is the subject.

    settings: of the backend's own type; those that are `local` are no part of the key.
    """

    stage: str
    subject: str
    inputs: Mapping[str, Artifact]
    backend: str = BUILT_IN
    version: str = "1"
    settings: DataclassInstance = NO_SETTINGS
    weights: str = ""
    seed: int = 0

    @property
    def settings_json(self) -> dict[str, Any]:
        """The settings that decide what comes out, for the key and the manifest."""
        return settings_to_json(self.settings)

    @property
    def key(self) -> str:
        """The content key under which the result is kept."""
        return stage_key(
            self.stage,
            self.backend,
            self.version,
            self.settings_json,
            self.weights,
            self.inputs,
            self.seed,
        )


@dataclass(frozen=True)
class Step:
    """Everything that is asked of a step beside its own `call`: each file of `flows/steps/` ends
    with one.

    compute: the outputs of a call by name; version: of the code that makes them; stage: whose
    backends do, None for what photoscene does itself.
    """

    name: str
    compute: Callable[[StageCall, Store, ModelPool], Mapping[str, Artifact]]
    version: str
    per_object: bool = False
    stage: AnyStage | None = None


def stage_step(
    stage: AnyStage, compute: Callable[[StageCall, Store, ModelPool], Mapping[str, Artifact]]
) -> Step:
    """The step that a stage's backends carry out."""
    return Step(stage.name, compute, stage.version, stage.per_object, stage)


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


def built_in_call(
    step: Step,
    subject: str,
    inputs: Mapping[str, Artifact],
    settings: DataclassInstance = NO_SETTINGS,
) -> StageCall:
    """A call of a step that photoscene does itself."""
    return StageCall(step.name, subject, inputs, BUILT_IN, step.version, settings)


def edited_call(step: str, subject: str, inputs: Mapping[str, Artifact]) -> StageCall:
    """A call of a step whose result a person made."""
    return StageCall(step, subject, inputs, EDITED, EDITED_VERSION)


def profile_call(
    request: Request, stage: AnyStage, subject: str, inputs: Mapping[str, Artifact]
) -> StageCall:
    """A call of the profile's backend, with this object's own settings and seed if it has any."""
    choice = request.profile.stages[stage.name]
    override = request.overrides.get(subject, {})
    values = {**choice.settings, **override.get("settings", {}).get(stage.name, {})}
    seed = object_seed(override.get("seed", request.seed), subject) if stage.per_object else 0
    return backend_call(stage, choice.backend, values, subject, inputs, seed)


def lowered_call(request: Request, stage: AnyStage, call: StageCall) -> StageCall | None:
    """The same step with the settings that the profile has for one that ran out of memory.

    A call of its own, with its own key; None where the profile has no such settings.
    """
    lowered = request.profile.stages[stage.name].on_out_of_memory
    if call.backend == EDITED or not lowered:
        return None
    values = {**asdict(call.settings), **lowered}
    other = backend_call(stage, call.backend, values, call.subject, call.inputs, call.seed)
    return None if other.key == call.key else other


def backend_call(
    stage: AnyStage,
    name: str,
    values: Mapping[str, Any],
    subject: str,
    inputs: Mapping[str, Artifact],
    seed: int,
) -> StageCall:
    """A call of a stage's backend, with the settings that differ from its defaults.

    Its version joins the stage's (what `run` does and how its files are written) and the backend's.
    """
    backend = find_backend(stage, name)
    settings = make_settings(stage, name, values)
    return StageCall(
        stage.name,
        subject,
        inputs,
        name,
        f"{stage.version}.{backend.version}",
        settings,
        backend.weights_digest(settings),
        seed,
    )
