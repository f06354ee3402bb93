"""What does each generate backend make of known masks: told their depth, and without it?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.lite.cost import cost_of
from benchmarks.lite.runs import (
    Figures,
    mean_of,
    of_each,
    run_scene,
    scored,
    with_settings,
    workshop,
)
from benchmarks.lite.sources import Sources, rivals
from benchmarks.narrow import table
from benchmarks.scenes import COLUMNS, masks_and_depth
from benchmarks.score_scene import read_truth
from photoscene.inputs.request import Arguments
from stages import generate

ArgumentsOf = Callable[[Path], Arguments]
Settings = dict[str, tuple[str, ...]]  # by the name of the case
UNSEEN = "lite, depth only places"


def measured_table(sources: Sources) -> str:
    """Every backend told masks and depth; and the lite one when depth only places its objects."""
    settings = {name: (f"generate.backend={name}",) for name in rivals(generate.STAGE)}
    unseen = ("generate.backend=lite", "generate.depth=none")
    return _table(sources.scenes(), masks_and_depth, {**settings, UNSEEN: unseen})


def masks_only_table(sources: Sources) -> str:
    """Every backend told masks and the camera; on renders it would say the same again."""
    settings = {name: (f"generate.backend={name}",) for name in rivals(generate.STAGE)}
    return _table(islice(sources.scenes(), 1), _without_depth, settings)


def _without_depth(folder: Path) -> Arguments:
    return replace(masks_and_depth(folder), point_map=None)


def _table(
    kinds: Iterable[tuple[str, list[Path]]], arguments_of: ArgumentsOf, cases: Settings
) -> str:
    """Mean figures, a row per kind of scenes and case."""
    rows = []
    for kind, folders in kinds:
        found = of_each(partial(_figures, arguments_of, cases), folders)
        for name, figures in found.items():
            rows.append([kind, name, *(mean_of(figures, figure) for figure in COLUMNS)])
    return table(["", "backend", *COLUMNS.values()], rows)


def _figures(arguments_of: ArgumentsOf, cases: Settings, folder: Path) -> dict[str, Figures]:
    """A scene's figures by case."""
    truth, arguments = read_truth(folder), arguments_of(folder)
    with workshop() as at:
        made = {n: run_scene(with_settings(arguments, *s), at) for n, s in cases.items()}
        return {name: scored(run, truth, at) for name, run in made.items()}


def cost_table(sources: Sources) -> str:
    """Seconds and memory of one object."""
    _, folders = next(sources.scenes())
    cutout = sorted((folders[0] / "amodal").glob("*.png"))[0]
    costs = [(name, *cost_of(name, cutout)) for name in rivals(generate.STAGE)]
    rows = [[name, f"{seconds:.2f}", f"{peak_mb:.0f}"] for name, seconds, peak_mb in costs]
    return table(["backend", "seconds", "peak memory of the process, MB"], rows)
