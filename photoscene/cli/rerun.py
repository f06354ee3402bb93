"""`photoscene rerun`: objects of an earlier run once more, with other settings or from edits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.plan import PER_OBJECT, PER_OBJECT_STAGES
from flows.profile import with_setting
from flows.request import Request
from photoscene.cli.errors import store_root
from photoscene.cli.output import print_warnings
from photoscene.cli.reconstruct import Where, Work, reconstruct
from photoscene.device import check_device
from photoscene.inputs.request import (
    check_backends,
    check_seed,
)
from photoscene.runs.edits import find_edits
from photoscene.runs.fits import find_object, object_fits
from photoscene.runs.folder import (
    Run,
    check_contents,
    check_folder,
    read_run,
)
from photoscene.runs.reconstruction import InputNames
from scene.errors import BadInput
from scene.store import open_store


@dataclass(frozen=True)
class Rerunning:
    """What of a run is done again: one object or all, from a stage on or what follows from edits,
    with settings and a seed of their own."""

    object: str | None = None
    first: str | None = None
    settings: Sequence[str] = ()
    seed: int | None = None
    edited: bool = False


def rerun_objects(folder: Path, asked: Rerunning, where: Where, as_json: bool) -> int:
    """`photoscene rerun`: returns the exit status."""
    started = time.monotonic()
    check_device(where.device)
    if asked.first not in (None, *PER_OBJECT_STAGES):
        raise BadInput(f"--from {asked.first}: expected one of {', '.join(PER_OBJECT_STAGES)}")

    run = read_run(folder)
    check_folder(folder)
    print_warnings(check_contents(folder, [], {}))
    run = read_run(folder)
    if asked.first is not None and asked.first not in run.request.profile.stages:
        raise BadInput(f"--from {asked.first}: {folder} was made without this stage")
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
        print_warnings(found.changes or ["nothing was edited since"])
    stages = () if first is None else PER_OBJECT[PER_OBJECT.index(first) :]
    refresh = [f"{stage}:{object_id}" for stage in stages for object_id in objects]
    name = run.record.photo_name
    again = Work(folder, name, InputNames(f"photo {name}"), where.device, started, files)
    return reconstruct(request, store, again, refresh, as_json)


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
            named = ", ".join(PER_OBJECT_STAGES)
            raise BadInput(f"--set {assignment}: one object has settings of {named} only")
        if assignment.split("=")[0].endswith(".backend"):
            raise BadInput(f"--set {assignment}: the backend is the whole run's; use `run --set`")
        profile = with_setting(profile, assignment)
    check_backends(profile)
    check_seed(seed or 0)
    own = {
        stage: dict(profile.stages[stage].settings)
        for stage in PER_OBJECT_STAGES
        if stage in profile.stages and profile.stages[stage] != request.profile.stages.get(stage)
    }
    override |= {"settings": own} if own else {}
    override |= {"seed": seed} if seed is not None else {}
    if not override:
        return request
    return replace(request, overrides={**request.overrides, object_id: override})
