"""What differs between two runs and why: the data of `photoscene inspect RUN --diff RUN2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from flows.calls import WHOLE_SCENE
from flows.request import request_to_json
from photoscene.runs.changes import input_changes, named, own_changes, with_named_inputs
from photoscene.runs.folder import Run
from photoscene.runs.inspection import aligned, scene_objects, sources
from scene.types import FitReport

RECORDED = ("versions", "machine")  # what may change a result under the same key
# A request's files by their sha256; what a profile is called does not matter.
UNNAMED = ("profile.name",)
WORDS = ("support", "grade", "warnings")  # of a fit report; all else are figures
FIGURES = ("grade", *(f.name for f in fields(FitReport) if f.name not in WORDS), "rests_on",
           "failure")  # fmt: skip
EQUAL_FIGURES = 1e-9


@dataclass(frozen=True)
class Pairing:
    """Which object of the second run is which of the first: by mask, else by name.

    names: each run's object ids -> a name that both share; numbers: the same by place in its list.
    """

    names: tuple[Mapping[str, str], Mapping[str, str]]
    numbers: tuple[Sequence[str], Sequence[str]]


def comparison(first: Run, second: Run) -> dict[str, Any]:
    """The differences of two runs: in what was asked, step by step, and in the objects' fits."""
    objects = scene_objects(first), scene_objects(second)
    old, new = ({name: r.record[name] for name in RECORDED} for r in (first, second))
    pairing = pair_objects(*objects)
    steps = _steps(first, second, pairing)
    return {
        "runs": [str(first.folder), str(second.folder)],
        "same": all(s["state"] == "same" for s in steps),
        "asked": _asked(first, second),
        "environment": _changes(old, new),
        "steps": steps,
        "objects": _objects(objects, pairing),
    }


def comparison_text(found: Mapping[str, Any]) -> str:
    """The differences as text: what was asked, then the steps that differ, then the fits."""
    lines = [f"A  {found['runs'][0]}", f"B  {found['runs'][1]}"]
    lines += [f"asked: {change}" for change in found["asked"]]
    differing = [s for s in found["steps"] if s["state"] != "same"]
    equal = len(found["steps"]) - len(differing)
    if differing:
        lines += [f"environment: {change}" for change in found["environment"]]
        rows = [("stage", "object", "result", "why")]
        rows += [(s["stage"], s["object"], s["state"], ", ".join(s["why"])) for s in differing]
        lines += aligned(rows)
    lines += [
        f"object {o['name']}: {name} {_shown(a)} -> {_shown(b)}"
        for o in found["objects"]
        for name, (a, b) in o["changes"].items()
    ]
    lines.append("the runs are the same" if found["same"] else f"{equal} steps are the same")
    return "\n".join(lines)


def pair_objects(first: Sequence[Mapping], second: Sequence[Mapping]) -> Pairing:
    """Pair the objects of two runs; one without a partner keeps its name, marked A or B."""
    partner = {o["id"]: o["id"] for o in second if any(p["id"] == o["id"] for p in first)}
    for o in second:
        same_name = [p["id"] for p in first if p["name"] == o["name"]]
        if o["id"] not in partner and same_name and same_name[0] not in partner.values():
            partner[o["id"]] = same_name[0]
    paired = set(partner.values())
    name_in_first = {p["id"]: p["name"] for p in first}
    names_a = {p["id"]: p["name"] + ("" if p["id"] in paired else " (A)") for p in first}
    names_b = {
        o["id"]: name_in_first[partner[o["id"]]] if o["id"] in partner else o["name"] + " (B)"
        for o in second
    }
    numbers = [names_a[p["id"]] for p in first], [names_b[o["id"]] for o in second]
    return Pairing((names_a, names_b), numbers)


def _steps(first: Run, second: Run, pairing: Pairing) -> list[dict[str, Any]]:
    """Every step of both runs, in the order of the DAG, with how it differs."""
    told_a, told_b = (_by_subject(run, pairing, i) for i, run in enumerate((first, second)))
    return [
        {"stage": stage, "object": "" if name == WHOLE_SCENE else name,
         **_compared(told_a.get((stage, name)), told_b.get((stage, name)))}
        for stage, name in [*told_a, *(s for s in told_b if s not in told_a)]
    ]  # fmt: skip


def _by_subject(run: Run, pairing: Pairing, which: int) -> dict[tuple[str, str], dict[str, Any]]:
    """A run's steps by stage and shared object name; inputs are named by the objects too."""
    names: dict[str, str] = {**pairing.names[which], WHOLE_SCENE: WHOLE_SCENE}
    numbers, steps = pairing.numbers[which], run.record["steps"]
    return {
        (s["stage"], names.get(s["subject"]) or s["subject"]): {
            **with_named_inputs(s, numbers),
            "outputs": named(s["outputs"], numbers),
            "makers": {n: maker.split(" ")[0] for n, maker in named(read, numbers).items()},
        }
        for s, read in zip(steps, sources(steps), strict=True)
    }


def _compared(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> dict[str, Any]:
    """How one step of both runs differs: its state, and why."""
    if a is None or b is None:
        return {"state": "only in B" if a is None else "only in A", "why": []}
    why = [*own_changes(a, b), *input_changes(a, b, (a["makers"], b["makers"]))]
    if a["failure"] != b["failure"]:
        return {"state": "differs", "why": [*why, f"{_ended(a)} -> {_ended(b)}"]}
    if {n: o["sha256"] for n, o in a["outputs"].items()} == {
        n: o["sha256"] for n, o in b["outputs"].items()
    }:
        return {"state": "same result" if why else "same", "why": why}
    return {"state": "differs", "why": why or ["the same key gave another result: see environment"]}


def _ended(step: Mapping[str, Any]) -> str:
    return f"failed ({step['failure']})" if step["failure"] else "done"


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


def _objects(
    objects: tuple[Sequence[Mapping], Sequence[Mapping]], pairing: Pairing
) -> list[dict[str, Any]]:
    """The figures of each object that both runs have, where they differ."""
    found = [{pairing.names[i][o["id"]]: o for o in listed} for i, listed in enumerate(objects)]
    compared = []
    for name, a in found[0].items():
        b = found[1].get(name)
        if b is None:
            continue
        fits = [{**(o["fit"] or {}), **{n: o[n] for n in ("rests_on", "failure")}} for o in (a, b)]
        changes = {
            figure: [fits[0].get(figure), fits[1].get(figure)]
            for figure in FIGURES
            if not _equal(fits[0].get(figure), fits[1].get(figure))
        }
        if changes:
            compared.append({"name": name, "changes": changes})
    return compared


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
