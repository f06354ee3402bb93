"""Sweeps the placement methods over known scenes made worse; writes docs/placement_sweep.md.

    python -m benchmarks.placement [--data DIR] [--seeds 20] [--workers 2] [--part P]

True meshes in their own crop frames isolate placement: what is measured is how each method copes
with a bad point map, bad masks, a wrong camera and bad shapes. Every method sees the same data.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np

from alignment.support import find_ground
from benchmarks.canonical import canonical_tables
from benchmarks.growth import growth_table
from benchmarks.known_scenes import GROUND_TRUTH, KnownScene, load_scene, scene_folders
from benchmarks.perturb import ROWS, Row
from benchmarks.piles import piles
from benchmarks.placement_errors import errors_of
from benchmarks.placement_figure import FIGURE_FILE, draw_slice
from benchmarks.placement_tables import Sweep, Trial, write_sweep
from benchmarks.report import replace_section
from benchmarks.touching import touching_table
from stages.place import Placer, icp, layout_refine, pixel_aligned, scale_depth, umeyama

SUMMARY, DOCUMENT = Path("docs/benchmarks.md"), Path("docs/placement_sweep.md")
SEEDS, WORKERS = 20, 2
CANONICAL_SEEDS = 12  # every path-traced scene twice
PARTS = ("sweep", "touching", "canonical", "growth")
OTHERS = {
    "scale_depth": lambda: scale_depth.load(scale_depth.Settings(), "cpu"),
    "umeyama": lambda: umeyama.load(umeyama.Settings(), "cpu"),
    "umeyama, no mask": lambda: umeyama.load(umeyama.Settings(mask_known=False), "cpu"),
    "icp": lambda: icp.load(icp.Settings(), "cpu"),
    "layout_refine": lambda: layout_refine.load(layout_refine.Settings(), "cpu"),
    "M1 alone": lambda: pixel_aligned.load(
        pixel_aligned.Settings(plane=0, contact=0, penetration=0, order=0), "cpu"
    ),
}
METHODS = {
    "pixel_aligned": lambda: pixel_aligned.load(pixel_aligned.Settings(), "cpu"),
    **OTHERS,
}


def main() -> None:
    """Run the sweep and everything beside it; rewrite the documents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/, objects/")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--part", choices=PARTS, help="default: all")
    asked = parser.parse_args()
    if not scene_folders(asked.data):
        print(f"no ground-truth scenes below {asked.data}/scenes: nothing measured")
        return
    if asked.part in (None, "sweep"):
        summary = write_sweep(run_sweep(asked.data, ROWS, asked.seeds, asked.workers), DOCUMENT)
        _write("Placement sweep", summary, SUMMARY)
    if asked.part in (None, "touching"):
        touching = touching_table(asked.data, asked.seeds, asked.workers)
        _write("Objects in contact", touching, DOCUMENT)
        draw_slice(known_scenes(asked.data), DOCUMENT.parent / FIGURE_FILE)
    if asked.part in (None, "canonical"):
        tables = canonical_tables(asked.data, min(asked.seeds, CANONICAL_SEEDS), asked.workers)
        _write("Canonical generators", tables, DOCUMENT)
    if asked.part in (None, "growth"):
        _write("Time by number of objects", growth_table(), DOCUMENT)


def _write(title: str, text: str, document: Path) -> None:
    replace_section(document, title, text)
    print(f"\n{title}\n{text}", flush=True)


def run_sweep(data: Path, rows: Sequence[Row], seeds: int, workers: int) -> Sweep:
    """All rows and seeds, spread over processes."""
    work = [(row.name, seed) for row in rows for seed in range(seeds)]
    with ProcessPoolExecutor(workers) as pool:
        trials = list(pool.map(partial(run_trial, data), work, chunksize=4))
    return Sweep(tuple(rows), tuple(METHODS), trials)


def run_trial(data: Path, work: tuple[str, int]) -> Trial:
    """One row and seed on one scene, by every method; the seed chooses the scene."""
    name, seed = work
    row = next(r for r in ROWS if r.name == name)
    known = scenes_for(data, row.kind)
    scene = known[seed % len(known)]
    case = row.make(scene, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    ground = find_ground(case.point_map, [o.mask for o in case.objects])
    errors, milliseconds = {}, {}
    for method, load in METHODS.items():
        placer: Placer = load()
        started = time.perf_counter()
        placements = placer.place(list(case.objects), case.point_map, ground)
        seconds = time.perf_counter() - started
        counted = [not row.kind or row.kind in o.kinds for o in scene.objects]
        found = errors_of(case, placements)
        errors[method] = [e for e, counts in zip(found, counted, strict=True) if counts]
        milliseconds[method] = 1000 * seconds / len(case.objects)
    return Trial(name, errors, milliseconds)


@cache
def known_scenes(data: Path) -> list[KnownScene]:
    """The path-traced scenes and the piles."""
    return [*map(load_scene, scene_folders(data)), *piles(data / "objects")]


def scenes_for(data: Path, kind: str) -> list[KnownScene]:
    """The scenes that have an object of a kind; all of them for no kind."""
    scenes = known_scenes(data)
    return [s for s in scenes if not kind or any(kind in o.kinds for o in s.objects)]


if __name__ == "__main__":
    main()
