"""Why a step was computed: what differs from the same step of the run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def why_computed(step: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> str:
    """One phrase for a step of run.json, given the steps of the run folder's earlier run."""
    if not step["computed"]:
        return "failed" if step["failure"] else "in the store"
    earlier = [s for s in before if s["stage"] == step["stage"] and s["subject"] == step["subject"]]
    if not earlier:
        return "first time in this run folder"
    changes = differences(earlier[-1], step)
    return ", ".join(changes) if changes else "asked for again, or its stored result was lost"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two records of one step, in words."""
    inputs = [f"input {name} {verb}" for name, verb in changed_inputs(old, new)]
    return [*own_changes(old, new), *inputs]


def own_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
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


def changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """The inputs that differ, each with "new", "gone" or "changed"."""
    changes = []
    for name in sorted({*old["inputs"], *new["inputs"]}):
        a, b = old["inputs"].get(name), new["inputs"].get(name)
        if a != b:
            changes.append((name, "new" if a is None else "gone" if b is None else "changed"))
    return changes
