"""What the page says about the steps: the table, the time per stage, and the weights they used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from flows.plan import PER_OBJECT, STEPS
from photoscene.runs.record import StepRecord
from scene.bundles import indices_with

# The DAG as columns from left to right: steps of one column run side by side. Where no mask was
# edited there is no "edit".
COLUMNS = tuple(
    (name, "map_points") if name == "segment" else (name,) for name in STEPS if name != "map_points"
)
WEIGHT_TABLES = ("lite",)  # folders of the package `weights` with an index.json


@dataclass(frozen=True)
class StageSum:
    """All steps of one stage together; share is of the run's computing time, in percent."""

    name: str
    steps: int
    computed: int
    failed: int
    seconds: str
    percent: float
    per_object: bool


@dataclass(frozen=True)
class UsedWeights:
    """Weights that a step used; without a name they are in no table of ours."""

    sha256: str
    stages: str
    name: str = ""
    file: str = ""
    licence: str = ""
    source: str = ""
    task: str = ""


def seconds_text(seconds: float) -> str:
    """Seconds as a short text; steps too quick to measure are "< 0.01 s"."""
    if 0 < seconds < 0.01:
        return "< 0.01 s"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def stage_columns(steps: Sequence[StepRecord]) -> list[list[StageSum]]:
    """The DAG's columns with what each stage cost; stages that were not reached have no steps."""
    total = sum(s.seconds for s in steps) or 1.0
    known = {s.stage for s in steps}
    columns = [column for column in COLUMNS if column != ("edit",) or "edit" in known]
    return [[_stage_sum(stage, steps, total) for stage in column] for column in columns]


def _stage_sum(stage: str, steps: Sequence[StepRecord], total: float) -> StageSum:
    own = [s for s in steps if s.stage == stage]
    seconds = sum(s.seconds for s in own)
    return StageSum(
        name=stage,
        steps=len(own),
        computed=sum(s.state == "computed" for s in own),
        failed=sum(s.state == "failed" for s in own),
        seconds=seconds_text(seconds),
        percent=round(100 * seconds / total, 2),
        per_object=stage in PER_OBJECT,
    )


def waits_for_masks(steps: Sequence[StepRecord]) -> bool:
    """Whether this run's map_points read the masks, and so had to wait for segment."""
    own = [s for s in steps if s.stage == "map_points"]
    return any(indices_with("mask", s.inputs) for s in own)


def used_weights(steps: Sequence[StepRecord]) -> list[UsedWeights]:
    """Every weights file that a step named, looked up by its digest."""
    table = {entry["sha256"]: entry for entry in known_weights()}
    stages: dict[str, list[str]] = {}
    for step in steps:
        if step.weights and step.stage not in stages.setdefault(step.weights, []):
            stages[step.weights].append(step.stage)
    return [
        UsedWeights(**{"sha256": digest, **table.get(digest, {}), "stages": ", ".join(names)})
        for digest, names in sorted(stages.items())
    ]


def known_weights() -> list[dict[str, str]]:
    """The tables of the bundled weights: file, name, sha256, licence, source, task."""
    entries = []
    for folder in WEIGHT_TABLES:
        path = files("weights") / folder / "index.json"
        entries += json.loads(path.read_text("utf-8"))
    return entries
