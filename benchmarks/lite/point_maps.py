"""How right are the depths, the field of view and the upright that map_points tells?

Every backend is given the photo and, if it asks for them, the true masks, so that what is compared
is this stage alone. The upright is the one that `place` settles on for boards in place of objects.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.lite.given import cases
from benchmarks.lite.runs import (
    Figures,
    Workshop,
    camera_errors,
    mean_of,
    of_each,
    run_scene,
    with_settings,
    workshop,
)
from benchmarks.lite.sources import Sources, rivals
from benchmarks.narrow import table
from benchmarks.score_scene import Truth, read_truth
from photoscene.inputs.request import Arguments
from scene.types import Bool, Float32, PointMap
from stages import map_points

BOARDS = ("complete.backend=passthrough", "generate.backend=billboard")


def point_map_table(sources: Sources) -> str:
    """A row per kind of scenes and backend."""
    header = ["", "backend", "scenes", "depth", "inside objects", "focal length", "tilt, degrees",
              "upright"]  # fmt: skip
    rows = []
    for kind, folders in sources.scenes():
        for name, figures in of_each(rivals_figures, folders).items():
            cells = [mean_of(figures, "depth"), mean_of(figures, "inside")]
            cells += [mean_of(figures, figure, np.median) for figure in ("fov", "tilt_deg")]
            rows.append([kind, f"`{name}`", str(len(figures)), *cells, mean_of(figures, "level")])
    return table(header, rows)


def rivals_figures(folder: Path) -> dict[str, Figures]:
    """A scene's figures by backend."""
    truth, arguments = read_truth(folder), cases(folder)["photo, masks"]
    with workshop() as at:
        return {n: point_map_figures(n, arguments, truth, at) for n in rivals(map_points.STAGE)}


def point_map_figures(name: str, arguments: Arguments, truth: Truth, at: Workshop) -> Figures:
    """depth, inside: relative errors of all pixels and of the objects', after one scale each."""
    told = with_settings(arguments, f"map_points.backend={name}", *BOARDS)
    run = run_scene(replace(told, until="place"), at)
    if run.scene is None or run.scene.points is None:
        return {}
    depth, true = at.store.load(run.scene.points, PointMap).depth, truth.known.depth
    objects = np.any(truth.known.masks, axis=0)
    everywhere = np.ones_like(objects)
    errors = {"depth": scaled_error(depth, true, everywhere)}
    errors["inside"] = scaled_error(depth, true, objects)
    return {**errors, **camera_errors(run.scene, truth)}


def scaled_error(depth: Float32, true: Float32, where: Bool) -> float:
    """The mean relative error of depths (H, W) that are known, after the median ratio."""
    known = where & np.isfinite(depth)
    mine, goal = depth[known], true[known]
    scale = float(np.median(goal / mine))
    return float(np.mean(np.abs(scale * mine / goal - 1)))
