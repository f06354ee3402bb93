"""Why a step was computed: what differs from the same step of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from flows.calls import EDITED
from photoscene.runs.record import StepRecord
from scene.bundles import split_name
from scene.types import Artifact

T = TypeVar("T")
# An input's kind and the object that it belongs to, "" for one of the whole scene.
InputName = tuple[str, str]
# Inputs whose own names would not be understood.
SHOWN_KINDS = {"asked": "what was asked for", "kept": "kept place"}


def why_computed(step: StepRecord, objects: Sequence[str], earlier: Sequence[StepRecord]) -> str:
    """One phrase for a step, given the steps of the run folder's earlier run.

    objects: the names of this run's objects, in their order.
    """
    if step.backend == EDITED and not step.failure:
        return "edited by hand"
    if not step.computed:
        return "failed" if step.failure else "in the store"
    same = [s for s in earlier if s.stage == step.stage and s.subject == step.subject]
    if not same:
        return "first time in this run folder"
    old = same[-1]
    inputs = named(old.inputs, object_names(earlier)), named(step.inputs, objects)
    changes = [*own_changes(old, step), *input_changes(*inputs)]
    return ", ".join(changes) if changes else "asked for again, or its stored result was lost"


def object_names(steps: Sequence[StepRecord]) -> list[str]:
    """The names of a run's objects in their order: each is completed, in that order."""
    return [s.name for s in steps if s.stage == "complete"]


def named(values: Mapping[str, T], objects: Sequence[str]) -> dict[InputName, T]:
    """Values by input name, by kind and object instead: "002.mesh" as ("mesh", "mug")."""
    result: dict[InputName, T] = {}
    for key, value in values.items():
        index, kind = split_name(key)
        if index is None or index >= len(objects):
            result[key, ""] = value
        else:
            result[kind, objects[index]] = value
    return result


def own_changes(old: StepRecord, new: StepRecord) -> list[str]:
    """What differs in how a step is done: backend, version, weights, seed, settings."""
    changes = []
    if old.backend != new.backend:
        changes.append(f"backend {old.backend} -> {new.backend}")
    elif old.version != new.version:
        changes.append(f"version {old.version} -> {new.version}")
    if old.weights != new.weights:
        changes.append("other weights")
    if old.seed != new.seed:
        changes.append("other seed")
    if old.backend == new.backend:
        for name in sorted({*old.settings, *new.settings}):
            a, b = old.settings.get(name), new.settings.get(name)
            if a != b:
                changes.append(f"{name} {a} -> {b}")
    return changes


def input_changes(
    old: Mapping[InputName, Artifact],
    new: Mapping[InputName, Artifact],
    makers: tuple[Mapping[InputName, str], ...] = (),
) -> list[str]:
    """The named inputs that differ, several objects' in one phrase.

    makers: for the old and the new step which stage made each input; it is added, if given.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if a != b:
            verb = "new" if a is None else "gone" if b is None else "changed"
            maker = f" ({makers[b is not None][name]})" if makers else ""
            groups.setdefault((name[0], verb, maker), []).append(name[1])
    return [
        f"{SHOWN_KINDS.get(kind, kind)}{' of ' + ', '.join(owners) if any(owners) else ''} "
        f"{verb}{maker}"
        for (kind, verb, maker), owners in groups.items()
    ]
