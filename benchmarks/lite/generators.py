"""What does each generate backend make of known masks: told their depth, and without it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.lite.cost import cost_of
from benchmarks.lite.runs import mean_of, run_scene, scored, with_settings, workshop
from benchmarks.lite.sources import Sources, rivals
from benchmarks.narrow import table
from benchmarks.scenes import COLUMNS, masks_and_depth
from benchmarks.score_scene import read_truth
from photoscene.inputs.request import Arguments
from stages import generate
from stages.devices import ModelPool

ArgumentsOf = Callable[[Path], Arguments]
UNSEEN = "lite, depth only places"


def measured_table(sources: Sources) -> str:
    """Every backend told masks and depth; and the lite one when depth only places its objects."""
    settings = {name: (f"generate.backend={name}",) for name in rivals(generate.STAGE)}
    unseen = ("generate.backend=lite", "generate.depth=none")
    return _table(sources, masks_and_depth, {**settings, UNSEEN: unseen})


def masks_only_table(sources: Sources) -> str:
    """Every backend told masks and the camera."""
    settings = {name: (f"generate.backend={name}",) for name in rivals(generate.STAGE)}
    return _table(sources, _without_depth, settings)


def _without_depth(folder: Path) -> Arguments:
    return replace(masks_and_depth(folder), point_map=None)


def _table(sources: Sources, arguments_of: ArgumentsOf, cases: dict[str, tuple[str, ...]]) -> str:
    """Mean figures, a row per kind of scenes and case."""
    rows, pool = [], ModelPool()
    for kind, folders in sources.scenes():
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
        for folder in folders:
            truth = read_truth(folder)
            with workshop(pool) as at:
                for name, settings in cases.items():
                    run = run_scene(with_settings(arguments_of(folder), *settings), at)
                    found[name].append(scored(run, truth, at))
        for name, figures in found.items():
            rows.append([kind, name, *(mean_of(figures, figure) for figure in COLUMNS)])
    return table(["", "backend", *COLUMNS.values()], rows)


def cost_table(sources: Sources) -> str:
    """Seconds and memory of one object."""
    _, folders = next(sources.scenes())
    cutout = sorted((folders[0] / "amodal").glob("*.png"))[0]
    costs = [(name, *cost_of(name, cutout)) for name in rivals(generate.STAGE)]
    rows = [[name, f"{seconds:.2f}", f"{peak_mb:.0f}"] for name, seconds, peak_mb in costs]
    return table(["backend", "seconds", "peak memory of the process, MB"], rows)
