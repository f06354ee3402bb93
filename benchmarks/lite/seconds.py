"""How many CPU seconds does each step of a run take, from the photo alone?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.gallery import photo_entries
from benchmarks.lite.given import cases
from benchmarks.lite.runs import Run, run_scene, workshop
from benchmarks.lite.sources import Sources
from benchmarks.narrow import table
from photoscene.inputs.request import Arguments


def seconds_table(sources: Sources) -> str:
    """A row per kind of photos; models are read by the first run of all, which does not count."""
    kinds = {kind: [cases(f)["photo"] for f in folders] for kind, folders in sources.scenes()}
    kinds.pop("renders", None)  # they cost what the scenes do
    photos = [replace(e.arguments, masks=()) for e in photo_entries(sources.shared)]
    if photos:
        kinds["photos"] = photos[: sources.count]
    _run(next(iter(kinds.values()))[0])
    runs = {kind: [_run(one) for one in wanted] for kind, wanted in kinds.items()}
    steps = list(dict.fromkeys(s for made in runs.values() for run in made for s in run.cpu_s))
    rows = [
        [kind, str(len(made)), f"{np.mean([_objects(run) for run in made]):.1f}",
         *(f"{np.mean([run.cpu_s.get(step, 0) for run in made]):.2f}" for step in steps),
         f"{np.mean([sum(run.cpu_s.values()) for run in made]):.1f}"]
        for kind, made in runs.items()
    ]  # fmt: skip
    return table(["", "photos", "objects", *steps, "all"], rows)


def _run(arguments: Arguments) -> Run:
    with workshop() as at:
        return run_scene(arguments, at)


def _objects(run: Run) -> int:
    return 0 if run.scene is None else len(run.scene.objects)
