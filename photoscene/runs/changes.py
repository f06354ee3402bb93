"""Why a step was computed: what differs from the same step of the run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.calls import EDITED

Step = Mapping[str, Any]
# An input's kind and the object that it belongs to, "" for one of the whole scene.
InputName = tuple[str, str]
SAID = {
    "asked": "what was asked for",
    "kept": "kept place",
}  # inputs whose own names say too little


def why_computed(step: Step, objects: Sequence[str], before: Sequence[Step]) -> str:
    """One phrase for a step of run.json, given the steps of the run folder's earlier run.

    objects: the names of this run's objects, in their order.
    """
    if step["backend"] == EDITED and not step["failure"]:
        return "edited by hand"
    if not step["computed"]:
        return "failed" if step["failure"] else "in the store"
    earlier = [s for s in before if s["stage"] == step["stage"] and s["subject"] == step["subject"]]
    if not earlier:
        return "first time in this run folder"
    old, new = (
        with_named_inputs(earlier[-1], object_names(before)),
        with_named_inputs(step, objects),
    )
    changes = [*own_changes(old, new), *input_changes(old, new)]
    return ", ".join(changes) if changes else "asked for again, or its stored result was lost"


def object_names(steps: Sequence[Step]) -> list[str]:
    """The names of a run's objects in their order: each is completed, in that order."""
    return [s["name"] for s in steps if s["stage"] == "complete"]


def with_named_inputs(step: Step, objects: Sequence[str]) -> dict[str, Any]:
    """The step with its inputs named by kind and object: "002.mesh" as ("mesh", "mug")."""
    return {**step, "inputs": named(step["inputs"], objects)}


def named(values: Mapping[str, Any], objects: Sequence[str]) -> dict[InputName, Any]:
    """Values by input name, by kind and object instead."""
    result: dict[InputName, Any] = {}
    for key, value in values.items():
        number, _, kind = key.partition(".")
        known = kind and number.isdecimal() and int(number) < len(objects)
        result[(kind, objects[int(number)]) if known else (key, "")] = value
    return result


def own_changes(old: Step, new: Step) -> list[str]:
    """What differs in how a step is done: backend, version, weights, seed, settings."""
    changes = []
    if old["backend"] != new["backend"]:
        changes.append(f"backend {old['backend']} -> {new['backend']}")
    elif old["version"] != new["version"]:
        changes.append(f"version {old['version']} -> {new['version']}")
    if old["weights"] != new["weights"]:
        changes.append("other weights")
    if old["seed"] != new["seed"]:
        changes.append("other seed")
    if old["backend"] == new["backend"]:
        for name in sorted({*old["settings"], *new["settings"]}):
            a, b = old["settings"].get(name), new["settings"].get(name)
            if a != b:
                changes.append(f"{name} {a} -> {b}")
    return changes


def input_changes(
    old: Step, new: Step, makers: tuple[Mapping[InputName, str], ...] = ()
) -> list[str]:
    """The named inputs that differ, several objects' in one phrase.

    makers: for the old and the new step which stage made each input; it is said, if given.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in sorted({*old["inputs"], *new["inputs"]}):
        a, b = old["inputs"].get(name), new["inputs"].get(name)
        if a != b:
            verb = "new" if a is None else "gone" if b is None else "changed"
            maker = f" ({makers[b is not None][name]})" if makers else ""
            groups.setdefault((name[0], verb, maker), []).append(name[1])
    return [
        f"{SAID.get(kind, kind)}{' of ' + ', '.join(owners) if any(owners) else ''} {verb}{maker}"
        for (kind, verb, maker), owners in groups.items()
    ]
