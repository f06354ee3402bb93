"""What the commands do, and how they print it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.plan import PER_OBJECT, PER_OBJECT_STAGES
from flows.profile import known_stage, with_setting
from flows.request import Request
from photoscene.choosing import MASKS
from photoscene.cli.choose import choose_objects
from photoscene.cli.errors import store_root
from photoscene.cli.options import Choosing
from photoscene.cli.progress import show_progress
from photoscene.device import check_device, device_for
from photoscene.inputs.request import (
    Arguments,
    build_request,
    check_backends,
    check_local,
    check_seed,
    input_files,
)
from photoscene.runs.fits import GOOD, has_failed
from photoscene.runs.folder import (
    REPORT,
    Run,
    check_contents,
    check_folder,
    default_folder,
    files_until,
    read_run,
)
from photoscene.runs.reconstruction import InputNames, check_files, reconstruct_photo
from photoscene.runs.writing import Reconstruction, write_report, write_run
from scene.errors import BadInput
from scene.store import Store, open_store
from scene.text import printable
from scene.types import Scene, SceneObject

DONE, INCOMPLETE = 0, 1


@dataclass(frozen=True)
class Inspecting:
    """What of a run is looked at, and how: one object, one stage, only the paths of the files, the
    page, or the differences from another run."""

    object: str | None = None
    stage: str | None = None
    open: bool = False
    html: bool = False
    diff: Path | None = None


@dataclass(frozen=True)
class Rerunning:
    """What of a run is done again: one object or all, from a stage on or what follows from edits,
    with settings and a seed of their own."""

    object: str | None = None
    first: str | None = None
    settings: Sequence[str] = ()
    seed: int | None = None
    edited: bool = False


@dataclass(frozen=True)
class Where:
    """The store as given (None: the default one), and the device as `--device` names it."""

    store: str | None
    device: str = "auto"


def run_photo(
    arguments: Arguments,
    output: Path | None,
    where: Where,
    refresh: Sequence[str],
    choosing: Choosing,
    as_json: bool,
) -> int:
    """`photoscene run` and `photoscene segment`: returns the exit status."""
    folder = output or default_folder(arguments.photo)
    choosing.check()
    check_device(where.device)
    check_local(folder, "-o")
    known_stage(arguments.until)
    for stage in refresh:
        known_stage(stage)
    store = open_store(store_root(where.store))
    request = build_request(arguments, store)
    called = InputNames(f"photo {arguments.photo}", f"--pointmap {arguments.point_map}")
    check_folder(folder)
    names = files_until(arguments.until) + ([MASKS] if choosing.by_hand else [])
    _say(check_contents(folder, names, input_files(arguments)))
    if choosing.by_hand:
        check_files(request, store, called)
        device = device_for(where.device, request.profile)
        chosen = choose_objects(
            request, store, folder, arguments.photo.name, choosing, as_json, device
        )
        if chosen is None:
            return INCOMPLETE
        request = chosen
    started = time.monotonic()
    inputs = tuple(input_files(arguments).values())
    run = Work(folder, arguments.photo.name, called, where.device, started, inputs)
    return _reconstruct(request, store, run, refresh, as_json)


def rerun_objects(folder: Path, asked: Rerunning, where: Where, as_json: bool) -> int:
    """`photoscene rerun`: returns the exit status."""
    started = time.monotonic()
    check_device(where.device)
    if asked.first not in (None, *PER_OBJECT_STAGES):
        raise BadInput(f"--from {asked.first}: expected {' or '.join(PER_OBJECT_STAGES)}")
    from photoscene.runs.edits import find_edits
    from photoscene.runs.fits import find_object, object_fits

    run = read_run(folder)
    check_folder(folder)
    _say(check_contents(folder, [], {}))
    run = read_run(folder)
    store = open_store(store_root(where.store or run.record.store))
    chosen = None if asked.object is None else find_object(run, asked.object)
    objects = [o.id for o in object_fits(run)] if chosen is None else [chosen]
    first = asked.first or (None if asked.edited else PER_OBJECT_STAGES[0])
    request, files = run.request, ()
    for object_id in objects:
        request = _with_override(request, object_id, asked.settings, asked.seed)
    if first is not None and run.request.until in ("segment", "map_points"):
        raise BadInput(
            f"{folder} stopped after {run.request.until}: `photoscene run` the photo further first"
        )
    if asked.edited:
        found = find_edits(Run(folder, replace(run.record, request=request)), store, chosen)
        request, files = found.request, found.files
        _say(found.changes or ["nothing was edited since"])
    stages = () if first is None else PER_OBJECT[PER_OBJECT.index(first) :]
    refresh = [f"{stage}:{object_id}" for stage in stages for object_id in objects]
    name = run.record.photo_name
    again = Work(folder, name, InputNames(f"photo {name}"), where.device, started, files)
    return _reconstruct(request, store, again, refresh, as_json)


def inspect_run(folder: Path, asked: Inspecting, store_path: str | None, as_json: bool) -> int:
    """`photoscene inspect`: returns the exit status."""
    from photoscene.runs import inspection
    from photoscene.runs.comparison import compare_runs, comparison_text, comparison_to_json
    from photoscene.runs.fits import find_object

    run = read_run(folder)
    if asked.diff is not None:
        compared = compare_runs(run, read_run(asked.diff))
        _print(comparison_to_json(compared), comparison_text(compared), as_json)
        return DONE
    store = open_store(store_root(store_path or run.record.store))
    if asked.html:
        _say(write_report(folder, store))
        print(folder / REPORT)
        return DONE
    object_id = None if asked.object is None else find_object(run, asked.object)
    found = inspection.only(inspection.inspect_run(run, store), object_id, asked.stage)
    if asked.open:
        print("\n".join(inspection.paths_of(found)))
    else:
        table = inspection.inspection_table(found)
        _print(inspection.inspection_to_json(found), table, as_json)
    return DONE if found.intact else INCOMPLETE


def show_doctor(store_path: str | None, as_json: bool) -> int:
    """`photoscene doctor`: returns the exit status."""
    from photoscene.doctor import diagnose, diagnosis_table

    found = diagnose(Path(store_root(store_path)))
    _print(found, diagnosis_table(found), as_json)
    return DONE if found["profiles"]["lite"]["runs"] else INCOMPLETE


def _say(lines: Sequence[str]) -> None:
    """Lines on standard error, about what a person should know of their files."""
    for line in lines:
        print(f"photoscene: {printable(line)}", file=sys.stderr)


def _print(value: dict[str, Any], text: str, as_json: bool) -> None:
    """A JSON document for machines, or lines for people."""
    lines = (printable(line) for line in text.splitlines())
    print(json.dumps(value, indent=1) if as_json else "\n".join(lines))


def _with_override(
    request: Request, object_id: str, settings: Sequence[str], seed: int | None
) -> Request:
    """The request with settings and a seed that hold for one object only, besides earlier ones."""
    override: dict[str, Any] = dict(request.overrides.get(object_id, {}))
    stages = dict(request.profile.stages)
    for stage, values in override.get("settings", {}).items():
        stages[stage] = replace(stages[stage], settings={**stages[stage].settings, **values})
    profile = replace(request.profile, stages=stages)
    for assignment in settings:
        if assignment.split(".")[0] not in PER_OBJECT_STAGES:
            named = " and ".join(PER_OBJECT_STAGES)
            raise BadInput(f"--set {assignment}: one object has settings of {named} only")
        if assignment.split("=")[0].endswith(".backend"):
            raise BadInput(f"--set {assignment}: the backend is the whole run's; use `run --set`")
        profile = with_setting(profile, assignment)
    check_backends(profile)
    check_seed(seed or 0)
    own = {
        stage: dict(profile.stages[stage].settings)
        for stage in PER_OBJECT_STAGES
        if profile.stages[stage] != request.profile.stages[stage]
    }
    override |= {"settings": own} if own else {}
    override |= {"seed": seed} if seed is not None else {}
    if not override:
        return request
    return replace(request, overrides={**request.overrides, object_id: override})


@dataclass(frozen=True)
class Work:
    """One run: its folder, what its inputs are called and where they lie, the device, and when it
    was started."""

    folder: Path
    photo_name: str
    names: InputNames
    device: str
    started: float
    inputs: Sequence[Path] = ()


def _reconstruct(
    request: Request, store: Store, work: Work, refresh: Sequence[str], as_json: bool
) -> int:
    folder = work.folder
    with show_progress():
        scene, outcomes = reconstruct_photo(
            request, store, refresh=refresh, device=work.device, names=work.names
        )
        seconds = time.monotonic() - work.started
        made = Reconstruction(request, scene, outcomes, work.photo_name, seconds)
        warnings = write_run(folder, made, store, work.inputs)
    _say(warnings)
    computed = sum(outcome.computed for outcome in outcomes)
    failed = [o for o in scene.objects if has_failed(o)]
    status = INCOMPLETE if failed or not scene.objects else DONE
    if request.until == "map_points" and scene.points is not None:
        status = DONE
    summary = _summary(scene, folder, computed, seconds, status)
    _print(summary, _scene_text(scene, folder, computed, len(outcomes), seconds), as_json)
    if not scene.objects and status == INCOMPLETE:
        print("photoscene: no object found; point at one with --point or --box", file=sys.stderr)
    return status


def _summary(
    scene: Scene, folder: Path, computed: int, seconds: float, status: int
) -> dict[str, Any]:
    return {
        "status": status,
        "run": str(folder),
        "scene": str(folder / "scene.glb") if scene.glb else None,
        "report": str(folder / REPORT),
        "objects": [_object_summary(number, o) for number, o in enumerate(scene.objects, 1)],
        "notes": list(scene.notes),
        "steps_computed": computed,
        "seconds": round(seconds, 3),
    }


def _object_summary(number: int, o: SceneObject) -> dict[str, Any]:
    """What `--json` says of an object; the fit's figures are None where it was not placed."""
    fit = o.fit
    return {
        "number": number,
        "id": o.id,
        "name": o.name,
        "grade": fit and fit.grade,
        "silhouette_iou": fit and round(fit.silhouette_iou, 4),
        "depth_error": fit and _rounded(fit.depth_error),
        "perspective": fit and _rounded(fit.perspective),
        "support": fit and fit.support,
        "warnings": list(fit.warnings) if fit else [],
        "failure": o.failure,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _scene_text(scene: Scene, folder: Path, computed: int, steps: int, seconds: float) -> str:
    """What a person wants to know of a scene: notes, a line per object, cost, where it is, and
    last what is wrong with it."""
    lines = [f"note: {note}" for note in scene.notes]
    lines += [_object_line(number, o) for number, o in enumerate(scene.objects, 1)]
    lines.append(f"{computed} of {steps} steps computed in {seconds:.1f} s")
    if (folder / MASKS).exists() and scene.points is None:
        lines.append(f"masks: {folder / MASKS}")
    if scene.glb:
        lines += [f"scene: {folder / 'scene.glb'}", f"overlay: {folder / 'overlay.png'}"]
    lines.append(f"report: {folder / REPORT}")
    for number, o in enumerate(scene.objects, 1):
        if o.failure:
            lines.append(f"FAILED {number} {o.name}: {o.failure}")
        elif o.fit and o.fit.grade != GOOD:
            mark = "FAILED" if has_failed(o) else o.fit.grade
            lines.append(f"{mark} {number} {o.name}: {'; '.join(o.fit.warnings)}")
    return "\n".join(lines)


def _object_line(number: int, o: SceneObject) -> str:
    line = f"{number:3d}  {o.name}"
    if o.fit:
        line += f"  distance {o.fit.distance:.3g}, outline {o.fit.silhouette_iou:.2f}"
    if has_failed(o):
        return f"{line}  FAILED"
    return f"{line}  {o.fit.grade}" if o.fit and o.fit.grade != GOOD else line
