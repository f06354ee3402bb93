"""Calls: one step to do, by what it is keyed, and what came of it.

A call names its inputs by artifact; equal calls have equal keys. Each step's own call and how it is
carried out are in `flows/steps/NAME.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.request import Request
from scene.keys import object_seed, stage_key
from scene.store import Manifest
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
    def all_settings(self) -> dict[str, Any]:
        """The settings of both kinds: what a backend is borrowed with."""
        return {**self.settings, **self.local}

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


def lowered_call(request: Request, call: StageCall) -> StageCall | None:
    """The same step with the settings that the profile has for one that ran out of memory.

    A call of its own, with its own key; None where the profile has no such settings.
    """
    choice = request.profile.stages.get(call.stage)  # the built-in steps have none
    if call.backend == EDITED or choice is None or not choice.on_out_of_memory:
        return None
    values = {**call.all_settings, **choice.on_out_of_memory}
    other = backend_call(call.stage, call.backend, values, call.subject, call.inputs, call.seed)
    return None if other.key == call.key else other


def profile_call(
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
