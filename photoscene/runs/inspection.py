"""What a run's steps read and made, with every file checked: the data of `photoscene inspect`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flows.calls import STEP_ORDER, WHOLE_SCENE
from photoscene.runs.fits import FAILED, percent_of_depth, support_name
from photoscene.runs.folder import Run
from scene.errors import BadInput
from scene.files import fit_from_json
from scene.keys import digest
from scene.store import Store, artifact_from_json

COLUMNS = ("stage", "object", "backend", "version", "key", "state", "seconds", "reads", "why")
OBJECT_COLUMNS = ("object", "name", "grade", "scale", "distance", "residual", "90 %", "agree",
                  "points", "outline", "depth error", "perspective", "rests on",
                  "remarks")  # fmt: skip
GIVEN = "given"  # what no step made: the user's files and words


def inspection(run: Run, store: Store) -> dict[str, Any]:
    """Per step: key, backend, version, settings, inputs, files with sha256 and state, cost, why."""
    found = inspected_steps(run.record["steps"], store)
    return {
        "run": str(run.folder),
        "photo": run.record["photo_name"],
        "profile": run.request.profile.name,
        "store": store.address,
        "seconds": run.record["seconds"],
        "intact": _intact(found),
        "objects": scene_objects(run),
        "steps": found,
    }


def inspected_steps(steps: Sequence[Mapping[str, Any]], store: Store) -> list[dict[str, Any]]:
    """The steps of a record with every file looked at and every input's maker."""
    return [_inspected(step, store, read) for step, read in zip(steps, sources(steps), strict=True)]


def sources(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each step, in the order of the DAG, which step made each of its inputs, by input name.

    Content may be equal by chance (a completion that changed nothing): then the output of the same
    name counts, and of those the latest.
    """
    made: dict[str, list[tuple[str, str]]] = {}  # sha256 -> (output name, step) in order
    read = []
    for step in steps:
        read.append({n: _maker(n, made.get(a["sha256"], [])) for n, a in step["inputs"].items()})
        subject = "" if step["subject"] == WHOLE_SCENE else f" {step['name']}"
        for name, artifact in step["outputs"].items():
            made.setdefault(artifact["sha256"], []).append((name, step["stage"] + subject))
    return read


def _maker(name: str, candidates: Sequence[tuple[str, str]]) -> str:
    kind = name.rpartition(".")[2]
    best = [step for output, step in candidates if output.rpartition(".")[2] == kind]
    return (best or [step for _, step in candidates] or [GIVEN])[-1]


def only(
    found: Mapping[str, Any], object_id: str | None = None, stage: str | None = None
) -> dict[str, Any]:
    """The part of an inspection that is about one object, one stage, or both.

    Raises BadInput for a stage that the run has not.
    """
    stages = list(dict.fromkeys(s["stage"] for s in found["steps"]))
    if stage is not None and stage not in stages:
        raise BadInput(f"--stage {stage}: the run has {', '.join(stages)}")
    steps = [
        s
        for s in found["steps"]
        if stage in (None, s["stage"]) and object_id in (None, s["subject"])
    ]
    objects = [o for o in found["objects"] if object_id in (None, o["id"])]
    return {**found, "objects": objects, "steps": steps, "intact": _intact(steps)}


def inspection_table(found: Mapping[str, Any]) -> str:
    """The steps as text, one line each; then the objects' fits likewise, and what is damaged."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for s in found["steps"]:
        state = "failed" if s["failure"] else "computed" if s["computed"] else "stored"
        why = s["failure"] or s["why"]
        rows.append((s["stage"], s["name"], s["backend"], s["version"], s["key"][:12], state,
                     f"{s['seconds']:.2f}", _brief(s["reads"]), why))  # fmt: skip
    lines = aligned(rows)
    if found["objects"]:
        lines += ["", *aligned([OBJECT_COLUMNS, *(_object_row(o) for o in found["objects"])])]
    lines += [
        f"damaged or missing: {s['stage']} {s['name']} {name} ({f['path']}); run again to remake it"
        for s in found["steps"]
        for name, f in s["files"].items()
        if not f["intact"]
    ]
    return "\n".join(lines)


def paths_of(found: Mapping[str, Any]) -> list[str]:
    """The files that the steps made, in their order, each once."""
    return list(dict.fromkeys(f["path"] for s in found["steps"] for f in s["files"].values()))


def scene_objects(run: Run) -> list[dict[str, Any]]:
    """Number, id, name, fit, failure and support (by name) of a run's objects, by scene.json."""
    path = run.folder / "scene.json"
    try:
        listed = json.loads(path.read_text("utf-8"))["objects"]
        names = [o["name"] for o in listed]
        return [_scene_object(number, o, names) for number, o in enumerate(listed, 1)]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise BadInput(f"{path} is missing or damaged: repeat the run") from None


def _scene_object(number: int, o: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    fit = o["fit"] and fit_from_json(o["fit"])  # fills in what an older run did not measure
    return {
        "number": number,
        **{name: o[name] for name in ("id", "name", "label", "failure")},
        "fit": fit and {**asdict(fit), "warnings": list(fit.warnings)},
        "rests_on": support_name(fit.support, names) if fit else "",
    }


def find_object(run: Run, wanted: str) -> str:
    """The id of a run's object by number (from 1), name or id; BadInput lists what there is."""
    objects = scene_objects(run)
    for o in objects:
        if wanted in (str(o["number"]), o["name"], o["id"]):
            return o["id"]
    listed = ", ".join(f"{o['number']} ({o['name']})" for o in objects) or "none"
    raise BadInput(f"--object {wanted}: the run has {listed}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def _inspected(step: Mapping[str, Any], store: Store, read: Mapping[str, str]) -> dict[str, Any]:
    files = {}
    for name, value in step["outputs"].items():
        path = store.path(artifact_from_json(value))
        intact = path.exists() and digest(path.read_bytes()) == value["sha256"]
        files[name] = {"path": str(path), "sha256": value["sha256"], "kind": value["kind"],
                       "intact": intact}  # fmt: skip
    inputs = {name: value["sha256"] for name, value in step["inputs"].items()}
    rest = {k: v for k, v in step.items() if k not in ("inputs", "outputs")}
    reads = sorted(set(read.values()), key=_order)
    return {**rest, "inputs": inputs, "reads": reads, "files": files}


def _intact(steps: Sequence[Mapping[str, Any]]) -> bool:
    return all(f["intact"] for s in steps for f in s["files"].values())


def _order(source: str) -> tuple[int, str]:
    """Sources in the order of the DAG, what was given first."""
    stages = (GIVEN, *STEP_ORDER)
    return stages.index(source.split(" ")[0]), source


def _brief(sources: Sequence[str]) -> str:
    """Sources with the objects of one stage counted."""
    counts: dict[str, int] = {}
    for source in sources:
        stage = source.split(" ")[0]
        counts[stage] = counts.get(stage, 0) + 1
    return " ".join(stage if n == 1 else f"{stage}({n})" for stage, n in counts.items())


def _object_row(o: Mapping[str, Any]) -> tuple[str, ...]:
    """An object as a row below `OBJECT_COLUMNS`; "-" for what was not measured."""
    fit = o["fit"]
    if not fit:
        unknown = ("-",) * (len(OBJECT_COLUMNS) - 4)
        grade, remark = (FAILED, o["failure"]) if o["failure"] else ("-", "not placed")
        return (str(o["number"]), o["name"], grade, *unknown, remark)
    error, perspective = fit["depth_error"], fit["perspective"]
    return (
        str(o["number"]), o["name"], fit["grade"], f"{fit['scale']:.4g}", f"{fit['distance']:.4g}",
        percent_of_depth(fit["residual_median"]), percent_of_depth(fit["residual_p90"]),
        f"{fit['inlier_share']:.0%}", str(fit["points"]), f"{fit['silhouette_iou']:.3f}",
        "-" if error is None else percent_of_depth(error),
        "-" if perspective is None else f"{perspective:.3f}",
        o["rests_on"] or "-", "; ".join(fit["warnings"]),
    )  # fmt: skip
