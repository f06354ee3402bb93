"""Measures the lite generator beside relief and billboard, and draws its contact sheets.

`python -m benchmarks.lite [--data DIR] [--shared ../shared]` writes its sections of
docs/benchmarks.md and the pictures of docs/lite_generator/. Below --shared lies what is not in the
repository: photos for the sheets, and the feasibility study's generator for a row of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.known_scenes import GROUND_TRUTH, scene_folders
from benchmarks.lite_cost import cost_of
from benchmarks.lite_sheets import draw_sheets
from benchmarks.report import replace_section
from benchmarks.scenes import COLUMNS, DOCUMENT, masks_and_depth, score
from flows.server import prefect_api
from photoscene.cli.errors import keep_quiet
from photoscene.inputs.request import Arguments
from scene.store import Store
from stages import generate
from stages.devices import ModelPool
from stages.generate.lite import Settings
from training.generator.held_out import (
    SHAPES,
    HeldOut,
    held_out_scans,
    held_out_shapes,
    held_out_study,
    means,
    measure,
)

ArgumentsOf = Callable[[Path], Arguments]
FIGURES = Path("docs/lite_generator")
BACKENDS = ("billboard", "relief", "lite")


@dataclass(frozen=True)
class Sources:
    """data: the scenes and objects that measure; shared: what is not in the repository."""

    data: Path
    shared: Path


def main() -> None:
    """Run the measurements that were asked for, all by default, and rewrite their sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/, objects/")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--section", choices=tuple(SECTIONS), action="append")
    options = parser.parse_args()
    keep_quiet()
    if not scene_folders(options.data):
        print(f"no ground-truth scenes below {options.data}/scenes: nothing measured")
        return
    sources = Sources(options.data, options.shared)
    for name in options.section or SECTIONS:
        title, make = SECTIONS[name]
        text = make(sources)
        replace_section(DOCUMENT, title, text)
        print(f"\n{title}\n{text}", flush=True)


def masks_only(scene: Path) -> Arguments:
    """Masks and the camera; how far away things are follows from the ground plane."""
    return replace(masks_and_depth(scene), point_map=None)


def with_backend(arguments_of: ArgumentsOf, backend: str, *settings: str) -> ArgumentsOf:
    """The same arguments with another generator."""

    def changed(scene: Path) -> Arguments:
        return replace(arguments_of(scene), settings=(f"generate.backend={backend}", *settings))

    return changed


def measured_table(sources: Sources) -> str:
    """Every backend told masks and depth; and the lite one when depth only places its objects."""
    cases = {b: with_backend(masks_and_depth, b) for b in BACKENDS}
    unseen = with_backend(masks_and_depth, "lite", "generate.depth=none")
    return scene_table({**cases, "lite, depth only places": unseen}, sources)


def masks_only_table(sources: Sources) -> str:
    """Every backend told masks and the camera."""
    return scene_table({b: with_backend(masks_only, b) for b in BACKENDS}, sources)


def scene_table(cases: dict[str, ArgumentsOf], sources: Sources) -> str:
    """Mean figures over the scenes."""
    rows = ["| backend | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---|" * len(COLUMNS)]
    with tempfile.TemporaryDirectory() as work, prefect_api():
        for i, (name, arguments_of) in enumerate(cases.items()):
            result = score(scene_folders(sources.data), Path(work) / str(i), arguments_of)
            rows.append(f"| {name} | {_cells(result['mean'])} |")
    return "\n".join(rows)


def _cells(mean: dict[str, float | None]) -> str:
    values = (mean.get(name) for name in COLUMNS)
    return " | ".join("-" if v is None else f"{v:.4f}" for v in values)


def held_out_table(sources: Sources) -> str:
    """IoU and depth errors from one picture alone, beside the inflated outline."""
    rows = ["| objects | pictures | IoU | inflated outline | margin | front error | back error |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    groups: list[tuple[str, Iterator[HeldOut]]] = [
        ("procedural, other seeds", held_out_shapes(SHAPES))
    ]
    study = sources.shared / "snippets" / "lite_study" / "gen.py"
    if study.is_file():
        groups.append(("procedural, the study's own", held_out_study(study)))
    else:
        print(f"{study} is absent (the study is not in the repository): its row is left out")
    groups.append(("scans, 12 views each", held_out_scans(sources.data / "objects")))
    with ModelPool().borrow(generate.STAGE, "lite", Settings()) as generator:
        for name, objects in groups:
            scores = [measure(generator, one) for one in objects]
            iou, front, back, inflated = means(scores)
            rows.append(f"| {name} | {len(scores)} | {iou:.3f} | {inflated:.3f} | "
                        f"{iou - inflated:+.3f} | {front:.3f} | {back:.3f} |")  # fmt: skip
    return "\n".join(rows)


def cost_table(sources: Sources) -> str:
    """Seconds and memory of one object."""
    cutout = sorted((scene_folders(sources.data)[0] / "amodal").glob("*.png"))[0]
    rows = ["| backend | seconds | peak memory of the process, MB |", "|---|---|---|"]
    for backend in BACKENDS:
        seconds, peak_mb = cost_of(backend, cutout)
        rows.append(f"| {backend} | {seconds:.2f} | {peak_mb:.0f} |")
    return "\n".join(rows)


def sheet_list(sources: Sources) -> str:
    """Draw the pictures; a line and a picture each."""
    with tempfile.TemporaryDirectory() as work, prefect_api():
        sheets = draw_sheets(sources.data, sources.shared, FIGURES, Store(Path(work)))
    lines = []
    for file, said in sheets:
        lines += [f"{said}.", ""] + ([f"![{file}](lite_generator/{file})", ""] if file else [])
    return "\n".join(lines).rstrip()


SECTIONS: dict[str, tuple[str, Callable[[Sources], str]]] = {
    "measured": ("Lite generator: masks and depth", measured_table),
    "alone": ("Lite generator: masks alone", masks_only_table),
    "held-out": ("Lite generator: held-out objects", held_out_table),
    "cost": ("Lite generator: cost of an object", cost_table),
    "sheets": ("Lite generator: contact sheets", sheet_list),
}


if __name__ == "__main__":
    main()
