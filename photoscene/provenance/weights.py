"""Which weights did a run use, whose are they, and under which licence?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from flows.plan import STAGES
from flows.request import Profile
from photoscene.runs.record import StepRecord
from scene.errors import BadInput
from stages.backends import find_backend
from stages.model_table import model_table
from stages.settings import local_settings, make_settings

OWN_FOLDER = "a folder of the user's own, in place of the pinned revision"


def weights_used(steps: Sequence[StepRecord], profile: Profile) -> list[dict[str, Any]]:
    """Every weights file or model that a step's backend reads, once, in the order of the steps.

    Bundled files have their sha256; models of the table have repository, revision, licence, and
    the sha256 over all files that the step read. revision is None where an own folder was read.
    profile: has the settings that are no part of a step's key, such as folders of weights.
    """
    listed: dict[tuple[str, str], dict[str, Any]] = {}
    for step in steps:
        if step.stage not in STAGES:
            continue
        for entry in _of_step(step, profile):
            known = listed.setdefault((entry["name"], entry["sha256"]), {**entry, "stages": []})
            if step.stage not in known["stages"]:
                known["stages"].append(step.stage)
    return list(listed.values())


@cache
def bundled_weights() -> Mapping[str, Mapping[str, str]]:
    """The files of weights/lite by name: name, file, sha256, licence, source, task."""
    text = (files("weights") / "lite" / "index.json").read_text("utf-8")
    return {entry["file"]: entry for entry in json.loads(text)}


def _of_step(step: StepRecord, profile: Profile) -> list[dict[str, Any]]:
    stage, choice = STAGES[step.stage], profile.stages.get(step.stage)
    local = choice.settings if choice and choice.backend == step.backend else {}
    try:
        backend = find_backend(stage, step.backend)
        settings = make_settings(stage, step.backend, {**local, **step.settings})
    except BadInput:  # of an older version: what it read is known by its digest only
        return [_unknown(step)] if step.weights else []
    entries = [_bundled(name) for name in backend.bundled]
    own = bool(backend.weights_folder(settings))
    for name in backend.models(settings):
        for each in (name, *model_table()[name].also):
            entries.append(_of_table(each, step.weights, own))
        own = False  # the folder stands for the first; others are named by themselves
    for setting in sorted(local_settings(settings) - {"weights"}):
        if _is_path(getattr(settings, setting)):
            entries.append({**_unknown(step), "name": f"{setting} of the user's own"})
    return entries or ([_unknown(step)] if step.weights else [])


def _of_table(name: str, sha256: str, own: bool) -> dict[str, Any]:
    row = model_table()[name]
    return {"name": name, "sha256": sha256, "source": OWN_FOLDER if own else row.page,
            "revision": None if own else row.revision or None,
            "licence": row.licence, "restrictions": row.restrictions}  # fmt: skip


def _is_path(value: object) -> bool:
    return isinstance(value, str) and any(separator in value for separator in "/\\")


def _bundled(file: str) -> dict[str, Any]:
    row = bundled_weights()[file]
    return {"name": row["name"], "sha256": row["sha256"], "source": row["source"],
            "revision": None, "licence": row["licence"], "restrictions": ""}  # fmt: skip


def _unknown(step: StepRecord) -> dict[str, Any]:
    return {"name": f"weights of {step.backend}", "sha256": step.weights, "source": "unknown",
            "revision": None, "licence": "unknown", "restrictions": ""}  # fmt: skip
