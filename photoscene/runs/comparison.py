"""What differs between two runs and why: the data of `photoscene inspect RUN --diff RUN2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from flows.calls import WHOLE_SCENE
from flows.request import request_to_json
from photoscene.runs.changes import InputName, input_changes, named, own_changes
from photoscene.runs.fits import ObjectFit, object_fits
from photoscene.runs.folder import Run
from photoscene.runs.inspection import aligned, input_makers
from photoscene.runs.record import StepRecord
from scene.types import Artifact, FitReport

# A request's files by their sha256; what a profile is called does not matter.
UNNAMED = ("profile.name",)
NO_FIGURES = ("support", "grade", "warnings", "figures")  # of a fit report; `figures` by name
FIGURES = ("grade", *(f.name for f in fields(FitReport) if f.name not in NO_FIGURES))
EQUAL_FIGURES = 1e-9


@dataclass(frozen=True)
class StepDifference:
    """A step of either run: its stage and object ("" for the whole scene), how it differs ("same",
    "same result", "differs", "only in A" or "only in B"), and why."""

    stage: str
    object: str
    state: str
    why: list[str]


@dataclass(frozen=True)
class ObjectDifference:
    """An object of both runs: each figure that differs, in the first and in the second."""

    name: str
    changes: Mapping[str, list[Any]]


@dataclass(frozen=True)
class Comparison:
    """The differences of two runs: in what was asked, where they ran, step by step, in the fits."""

    runs: tuple[str, str]
    same: bool
    asked: list[str]
    environment: list[str]
    steps: list[StepDifference]
    objects: list[ObjectDifference]


@dataclass(frozen=True)
class Pairing:
    """Which object of the second run is which of the first: by mask, else by name.

    names: each run's object ids -> a name that both share; numbers: the same by place in its list.
    """

    names: tuple[Mapping[str, str], Mapping[str, str]]
    numbers: tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class _NamedStep:
    """A step with its inputs and outputs by kind and shared object name, and the stages that made
    the inputs."""

    record: StepRecord
    inputs: Mapping[InputName, Artifact]
    outputs: Mapping[InputName, Artifact]
    makers: Mapping[InputName, str]


def compare_runs(first: Run, second: Run) -> Comparison:
    """What differs between two runs."""
    objects = object_fits(first), object_fits(second)
    pairing = pair_objects(*objects)
    steps = _compare_steps(first, second, pairing)
    return Comparison(
        runs=(str(first.folder), str(second.folder)),
        same=all(s.state == "same" for s in steps),
        asked=_asked(first, second),
        environment=_changes(_environment(first), _environment(second)),
        steps=steps,
        objects=_compare_objects(objects, pairing),
    )


def comparison_to_json(found: Comparison) -> dict[str, Any]:
    """Plain JSON."""
    return asdict(found)


def comparison_text(found: Comparison) -> str:
    """The differences as text: what was asked, then the steps that differ, then the fits."""
    lines = [f"A  {found.runs[0]}", f"B  {found.runs[1]}"]
    lines += [f"asked: {change}" for change in found.asked]
    differing = [s for s in found.steps if s.state != "same"]
    equal = len(found.steps) - len(differing)
    if differing:
        lines += [f"environment: {change}" for change in found.environment]
        rows = [("stage", "object", "result", "why")]
        rows += [(s.stage, s.object, s.state, ", ".join(s.why)) for s in differing]
        lines += aligned(rows)
    lines += [
        f"object {o.name}: {name} {_shown(a)} -> {_shown(b)}"
        for o in found.objects
        for name, (a, b) in o.changes.items()
    ]
    lines.append("the runs are the same" if found.same else f"{equal} steps are the same")
    return "\n".join(lines)


def pair_objects(first: Sequence[ObjectFit], second: Sequence[ObjectFit]) -> Pairing:
    """Pair the objects of two runs; one without a partner keeps its name, marked A or B."""
    partner = {o.id: o.id for o in second if any(p.id == o.id for p in first)}
    for o in second:
        same_name = [p.id for p in first if p.name == o.name]
        if o.id not in partner and same_name and same_name[0] not in partner.values():
            partner[o.id] = same_name[0]
    paired = set(partner.values())
    name_in_first = {p.id: p.name for p in first}
    names_a = {p.id: p.name + ("" if p.id in paired else " (A)") for p in first}
    names_b = {
        o.id: name_in_first[partner[o.id]] if o.id in partner else o.name + " (B)" for o in second
    }
    numbers = [names_a[p.id] for p in first], [names_b[o.id] for o in second]
    return Pairing((names_a, names_b), numbers)


def _compare_steps(first: Run, second: Run, pairing: Pairing) -> list[StepDifference]:
    """Every step of both runs, in the order of the DAG, with how it differs."""
    steps_a, steps_b = (_by_subject(run, pairing, i) for i, run in enumerate((first, second)))
    found = []
    for stage, name in [*steps_a, *(s for s in steps_b if s not in steps_a)]:
        state, why = _compared(steps_a.get((stage, name)), steps_b.get((stage, name)))
        found.append(StepDifference(stage, "" if name == WHOLE_SCENE else name, state, why))
    return found


def _by_subject(run: Run, pairing: Pairing, which: int) -> dict[tuple[str, str], _NamedStep]:
    """A run's steps by stage and shared object name; inputs are named by the objects too."""
    names: dict[str, str] = {**pairing.names[which], WHOLE_SCENE: WHOLE_SCENE}
    numbers, steps = pairing.numbers[which], run.record.steps
    return {
        (s.stage, names.get(s.subject) or s.subject): _NamedStep(
            s,
            named(s.inputs, numbers),
            named(s.outputs, numbers),
            {n: maker.split(" ")[0] for n, maker in named(makers, numbers).items()},
        )
        for s, makers in zip(steps, input_makers(steps), strict=True)
    }


def _compared(a: _NamedStep | None, b: _NamedStep | None) -> tuple[str, list[str]]:
    """How one step of both runs differs: its state, and why."""
    if a is None or b is None:
        return ("only in B" if a is None else "only in A"), []
    changes = input_changes(a.inputs, b.inputs, (a.makers, b.makers))
    why = [*own_changes(a.record, b.record), *changes]
    if a.record.failure != b.record.failure:
        return "differs", [*why, f"{_ended(a.record)} -> {_ended(b.record)}"]
    if {n: o.sha256 for n, o in a.outputs.items()} == {n: o.sha256 for n, o in b.outputs.items()}:
        return ("same result" if why else "same"), why
    return "differs", why or ["the same key gave another result: see environment"]


def _ended(step: StepRecord) -> str:
    return f"failed ({step.failure})" if step.failure else "done"


def _environment(run: Run) -> dict[str, Any]:
    """What may change a result under the same key."""
    return {"versions": run.record.versions, "machine": run.record.machine}


def _asked(first: Run, second: Run) -> list[str]:
    """What differs in the two requests, in words."""
    requests = (request_to_json(first.request), request_to_json(second.request))
    return [c for c in _changes(*requests) if not c.startswith(UNNAMED)]


def _changes(a: Any, b: Any, path: str = "") -> list[str]:
    """The differences of two JSON values, each as "path old -> new"."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = list(dict.fromkeys([*a, *b]))
        return [c for k in keys for c in _changes(a.get(k), b.get(k), f"{path}.{k}".strip("."))]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True), 1)
        return [c for i, (x, y) in pairs for c in _changes(x, y, f"{path} {i}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [f"{path}: {len(a)} -> {len(b)}"]
    return [] if a == b else [f"{path} {_shown(a)} -> {_shown(b)}"]


def _compare_objects(
    objects: tuple[Sequence[ObjectFit], Sequence[ObjectFit]], pairing: Pairing
) -> list[ObjectDifference]:
    """The figures of each object that both runs have, where they differ."""
    found = [{pairing.names[i][o.id]: o for o in listed} for i, listed in enumerate(objects)]
    compared = []
    for name in found[0]:
        if name not in found[1]:
            continue
        a, b = (_figures(listed[name]) for listed in found)
        changes = {
            figure: [a.get(figure), b.get(figure)]
            for figure in {**a, **b}
            if not _equal(a.get(figure), b.get(figure))
        }
        if changes:
            compared.append(ObjectDifference(name, changes))
    return compared


def _figures(o: ObjectFit) -> dict[str, Any]:
    """The figures that are compared; None for all of a fit where there is none."""
    fit = {name: None if o.fit is None else getattr(o.fit, name) for name in FIGURES}
    others = {} if o.fit is None else {figure.name: figure.value for figure in o.fit.figures}
    return {**fit, **others, "rests_on": o.rests_on, "failure": o.failure}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= EQUAL_FIGURES * max(abs(a), abs(b))
    return a == b


def _shown(value: Any) -> str:
    """A value in a line: short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "none" if value in (None, "", {}, [], ()) else str(value)
    return text if len(text) <= 60 else f"{text[:24]}...{text[-24:]}"
