"""Does a profile run here, what does it lack, and does it fit into the device's memory?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.plan import STAGES
from flows.profile import load_profile
from flows.request import StageChoice
from photoscene.doctor.backends import backend_state
from photoscene.doctor.memory import Need, needed_gb, profile_gb
from stages.backends import AnyStage, find_backend
from stages.model_table import known_model
from stages.settings import make_settings


def profile_states(
    names: Sequence[str], base_lacks: Sequence[Mapping[str, str]], device_gb: float | None
) -> dict[str, dict[str, Any]]:
    """By profile: whether it runs, what lacks and mends it, and its memory.

    base_lacks: gaps that hold for all; device_gb: memory of the largest device, None without one.
    """
    states = {name: _profile(name, base_lacks) for name in names}
    fitting = {
        name: state["memory"]["needed_gb"]
        for name, state in states.items()
        if device_gb is not None and 0 < state["memory"]["needed_gb"] <= device_gb
    }
    for state in states.values():
        memory = state["memory"]
        memory["device_gb"] = device_gb
        if not memory["needed_gb"] or device_gb is None:
            memory["fits"] = None
            continue
        memory["fits"] = memory["needed_gb"] <= device_gb
        if not memory["fits"]:
            smaller = max(fitting, key=lambda name: fitting[name], default="lite")
            what = f"{memory['needed_gb']:g} GB of device memory (there are {device_gb:g})"
            state["lacks"].append({"what": what, "remedy": f"photoscene run --profile {smaller}"})
            state["runs"] = False
    return states


def _profile(name: str, base_lacks: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    stages = load_profile(name).stages
    lacks = [dict(gap) for gap in base_lacks]
    needs: dict[str, Need] = {}
    for stage, choice in stages.items():
        state = backend_state(STAGES[stage], choice.backend, dict(choice.settings))
        lacks += [_of_profile(gap, name) for gap in state["lacks"]]
        need = _need(STAGES[stage], choice, [model["name"] for model in state["models"]])
        if need is not None:
            needs[stage] = need
    total, largest = profile_gb(needs)
    by_stage = {stage: need.working for stage, need in needs.items()}
    return {
        "runs": not lacks,
        "lacks": list({gap["what"]: gap for gap in lacks}.values()),
        "backends": {stage: choice.backend for stage, choice in stages.items()},
        "memory": {"needed_gb": total, "at_once": list(largest), "by_stage_gb": by_stage},
    }


def _of_profile(gap: Mapping[str, str], name: str) -> dict[str, str]:
    """A backend's gap as a profile's: one command pulls the weights of all its stages."""
    pulls = gap["remedy"].startswith("photoscene models pull ")
    return {**gap, "remedy": f"photoscene models pull --profile {name}"} if pulls else dict(gap)


def _need(stage: AnyStage, choice: StageChoice, models: Sequence[str]) -> Need | None:
    """What a stage's models take on the device; None where nothing is stated of them."""
    if not models:
        return None
    entries = [known_model(name) for name in models]
    settings = make_settings(stage, choice.backend, choice.settings)
    stated = [needed_gb(entry, settings) for entry in entries]
    figures = [gb for gb in stated if gb is not None]
    if not figures:
        return None
    backend = find_backend(stage, choice.backend)
    resting = 0.0 if backend.leaves_device(settings) else sum(e.gigabytes for e in entries)
    return Need(max(figures), min(max(figures), resting))
