"""Measures the lite profile: `python -m benchmarks.lite` writes its section of docs/benchmarks.md.

    python -m benchmarks.lite [--part NAME ...] [--data DIR] [--renders DIR] [--shared DIR]
        [--count N]

Photo alone, with masks, with depth; every stage beside its rivals, as far as this machine can run
them; seconds; contact sheets. Renders are drawn by `python -m benchmarks.lite.renders` beforehand;
below --shared lies what else is not in the repository. With --count only the first scenes and
photos of each kind are measured, and the tables only printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.lite.completions import completion_table
from benchmarks.lite.finding import finding_table
from benchmarks.lite.generators import cost_table, masks_only_table, measured_table
from benchmarks.lite.given import given_table
from benchmarks.lite.held_out import held_out_table
from benchmarks.lite.hidden_pairs import hidden_pair_table
from benchmarks.lite.object_sheets import object_sheet_list
from benchmarks.lite.photo_sheets import photo_sheet_list
from benchmarks.lite.point_maps import point_map_table
from benchmarks.lite.rendered_maps import rendered_map_table
from benchmarks.lite.seconds import seconds_table
from benchmarks.lite.sources import Sources
from benchmarks.lite.unseen_colours import unseen_table
from benchmarks.report import replace_section
from benchmarks.scenes import DOCUMENT
from photoscene.cli.errors import keep_quiet

PARTS: dict[str, tuple[str, Callable[[Sources], str]]] = {
    "given": ("Lite profile: what is given", given_table),
    "segment": ("Objects found without prompts", finding_table),
    "map_points": ("Lite profile: point maps", point_map_table),
    "rendered-maps": ("Lite point map: rendered scenes", rendered_map_table),
    "complete": ("Lite profile: completions", completion_table),
    "hidden-pairs": ("Lite completion: pairs with known truth", hidden_pair_table),
    "generate": ("Lite generator: masks and depth", measured_table),
    "generate-alone": ("Lite generator: masks alone", masks_only_table),
    "held-out": ("Lite generator: held-out objects", held_out_table),
    "unseen": ("Lite generator: colours of unseen faces", unseen_table),
    "cost": ("Lite generator: cost of an object", cost_table),
    "seconds": ("Lite profile: seconds", seconds_table),
    "photos": ("Lite profile: photos alone", photo_sheet_list),
    "objects": ("Lite generator: contact sheets", object_sheet_list),
}


def main() -> None:
    """Run the parts that were asked for, all by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="may be repeated")
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/, objects/")
    parser.add_argument("--renders", type=Path, default=Path("runs/lite_renders"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--count", type=int, help="of scenes and photos of each kind")
    options = parser.parse_args()
    keep_quiet()
    sources = Sources(options.data, options.renders, options.shared, options.count)
    kinds = [kind for kind, _ in sources.scenes()]
    if not kinds:
        print(f"no scenes below {options.data} and {options.renders}: nothing measured")
        return
    if "renders" not in kinds:
        print(f"no renders below {options.renders}: their rows are left out")
    for name in options.part or PARTS:
        title, make = PARTS[name]
        text = make(sources)
        if not text:
            print(f"\n{title}: what it needs is not here", flush=True)
            continue
        if options.count is None:
            replace_section(DOCUMENT, title, text)
        print(f"\n{title}\n{text}", flush=True)


if __name__ == "__main__":
    main()
