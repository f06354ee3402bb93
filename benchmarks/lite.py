"""Measures the lite generator beside relief and billboard, and draws its contact sheets.

`python -m benchmarks.lite [--shared ../shared]` writes its sections of docs/benchmarks.md and the
pictures of docs/lite_generator/.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.lite_cost import cost_of
from benchmarks.lite_sheets import draw_sheets
from benchmarks.report import replace_section
from benchmarks.scenes import COLUMNS, DOCUMENT, masks_and_depth, score
from flows.server import prefect_api
from photoscene.cli.errors import keep_quiet
from photoscene.inputs import Arguments
from scene.store import Store
from stages.backends import make_settings
from stages.devices import ModelPool
from training.held_out import SHAPES, HeldOut, held_out_scans, held_out_shapes, means, measure

Told = Callable[[Path], Arguments]
PICTURES = Path("docs/lite_generator")
BACKENDS = ("billboard", "relief", "lite")


def main() -> None:
    """Run all measurements and rewrite the document's sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    shared = parser.parse_args().shared
    keep_quiet()
    sections = {"Lite generator: held-out objects": held_out_table(shared)}
    folders = sorted((shared / "data" / "scenes").glob("*/camera.json"))
    if folders:
        scenes = [f.parent for f in folders]
        with tempfile.TemporaryDirectory() as work, prefect_api():
            sections["Lite generator: scenes"] = scene_table(scenes, shared, Path(work))
            sheets = draw_sheets(shared, PICTURES, Store(Path(work) / "sheets"))
        sections["Lite generator: contact sheets"] = sheet_list(sheets)
        sections["Lite generator: cost of an object"] = cost_table(scenes[0])
    for title, text in sections.items():
        replace_section(DOCUMENT, title, text)
        print(f"\n{title}\n{text}")


def masks_alone(scene: Path) -> Arguments:
    """Masks and the camera; how far away things are follows from the ground plane."""
    return replace(masks_and_depth(scene), point_map=None)


def with_backend(told: Told, backend: str, *settings: str) -> Told:
    """The same arguments with another generator."""

    def changed(scene: Path) -> Arguments:
        return replace(told(scene), settings=(f"generate.backend={backend}", *settings))

    return changed


def scene_table(scenes: list[Path], shared: Path, work: Path) -> str:
    """Mean figures of every backend: told masks and depth, and masks without depth."""
    cases: dict[str, Told] = {}
    for backend in BACKENDS:
        cases[f"masks and depth, {backend}"] = with_backend(masks_and_depth, backend)
    cases["masks; depth for placing only, lite"] = with_backend(
        masks_and_depth, "lite", "generate.depth=none"
    )
    for backend in BACKENDS:
        cases[f"masks, {backend}"] = with_backend(masks_alone, backend)
    rows = ["| given, backend | " + " | ".join(COLUMNS.values()) + " |",
            "|---|" + "---|" * len(COLUMNS)]  # fmt: skip
    for i, (name, told) in enumerate(cases.items()):
        result = score(scenes, work / str(i), shared, told)
        rows.append(f"| {name} | {_cells(result['mean'])} |")
    return "\n".join(rows)


def _cells(mean: dict[str, float | None]) -> str:
    values = (mean.get(name) for name in COLUMNS)
    return " | ".join("-" if v is None else f"{v:.4f}" for v in values)


def held_out_table(shared: Path) -> str:
    """IoU and depth errors from one picture alone, beside the inflated outline."""
    make_settings("generate", "lite", {})
    rows = ["| objects | pictures | IoU | inflated outline | margin | front error | back error |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    groups: list[tuple[str, Iterator[HeldOut]]] = [
        ("procedural, other seeds", held_out_shapes(SHAPES))
    ]
    public = shared / "data" / "objects" / "public"
    if public.is_dir():
        groups.append(("scans, 12 views each", held_out_scans(public)))
    with ModelPool().borrow("generate", "lite", {}) as generator:
        for name, objects in groups:
            scores = [measure(generator, one) for one in objects]
            iou, front, back, inflated = means(scores)
            rows.append(f"| {name} | {len(scores)} | {iou:.3f} | {inflated:.3f} | "
                        f"{iou - inflated:+.3f} | {front:.3f} | {back:.3f} |")  # fmt: skip
    return "\n".join(rows)


def cost_table(scene: Path) -> str:
    """Seconds and memory of one object."""
    cutout: Any = sorted((scene / "amodal").glob("*.png"))[0]
    rows = ["| backend | seconds | peak memory of the process, MB |", "|---|---|---|"]
    for backend in BACKENDS:
        seconds, peak_mb = cost_of(backend, cutout)
        rows.append(f"| {backend} | {seconds:.2f} | {peak_mb:.0f} |")
    return "\n".join(rows)


def sheet_list(sheets: list[tuple[str, str]]) -> str:
    """The pictures in order, a line each."""
    lines = []
    for file, said in sheets:
        lines += [f"{said}.", ""] + ([f"![{file}](lite_generator/{file})", ""] if file else [])
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    main()
