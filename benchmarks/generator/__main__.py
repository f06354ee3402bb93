"""How fast is the generator, how much memory does it take, and what does each shortcut save?

    python -m benchmarks.generator [--device cuda] [--budget-s 600] [--launches | --convolution]

Random weights of the official sizes. Writes a section of docs/benchmarks.md: "Generator" on a CPU
(few of the 30 blocks), "Generator on a GPU" on a graphics card. What does not fit into the time or
the memory is named as not measured. --launches writes what is counted without measuring: "Launches
of the generator"; --convolution the comparisons of sparse convolution alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.generator.cascade import cascade_table
from benchmarks.generator.compare import Comparison, NotMeasured, comparison_table
from benchmarks.generator.decoding import launches_table
from benchmarks.generator.flops import flops_table
from benchmarks.generator.image import (
    compare_naf,
    compare_naf_forms,
    compare_projection,
    image_passes,
)
from benchmarks.generator.machine import Budget, Machine, OtherWork, measure_machine, peak_table
from benchmarks.generator.shortcuts import (
    compare_batched,
    compare_compiled,
    compare_terms,
    compare_unconditional,
)
from benchmarks.generator.steps import steps_table
from benchmarks.generator.voxels import (
    LEVELS,
    compare_chunks,
    compare_convolution,
    compare_tables,
)
from benchmarks.report import replace_section

DOCUMENT = Path("docs/benchmarks.md")
TITLES = {"cpu": "Generator", "cuda": "Generator on a GPU"}
# For comparisons and steps; on a GPU whole objects take four minutes more.
BUDGETS_S = {"cpu": 600.0, "cuda": 150.0}
LAUNCHES = "Launches of the generator"
CONVOLUTION_TITLES = {
    "cpu": "Sparse convolution of the generator",
    "cuda": "Sparse convolution of the generator on a GPU",
}
# Steps come last and take what is left; comparisons stop here, so that something is.
STEPS_PART = 1 / 3
COMPARISONS: dict[str, Callable[[torch.device], Comparison | NotMeasured]] = {
    "unconditional pass": compare_unconditional,
    "projection terms": compare_terms,
    "batched guidance": compare_batched,
    "torch.compile": compare_compiled,
    "NAF": compare_naf,
    "NAF in tiles": compare_naf_forms,
    "projection, 64^3": lambda device: compare_projection(64, 12288, device),
    "projection, 96^3": lambda device: compare_projection(96, 49152, device),
}
CONVOLUTIONS: dict[str, Callable[[torch.device], Comparison | NotMeasured]] = {
    "neighbour tables": compare_tables,
    "sparse convolution, level 1": lambda device: compare_convolution(*LEVELS[0], device),
    "sparse convolution, level 3": lambda device: compare_convolution(*LEVELS[1], device),
    "slices of rows": compare_chunks,
}
FLOPS_NOTE = (
    "Matrix products and attention, two FLOP per multiply-add, counted by torch without computing. "
    "The conditional pass reuses projection terms that were computed before the first step; with "
    '"projection in the pass" it computes them itself. "Every parameter on every token" also '
    "counts the keys and values of the five context tokens for each voxel: this rough count gives "
    "the usual estimates of 94 and 580 TFLOP for 16k and 49k tokens, and is more than what runs."
)
STEPS_NOTE = (
    "Both passes of a guided step run one after the other. The memory beside the weights holds the "
    "image's features and the projection terms. Achieved: FLOP of the conditional pass over its "
    "seconds; its share of the peak refers to the best matrix product of the same dtype, above."
)
COMPARISONS_NOTE = (
    "The plain and the fast version alternate in one process, on random weights of official "
    "widths: least time and most memory of each. Memory is what a call adds at its peak, its "
    "result included."
)
CASCADE_NOTE = (
    "Released samplers, 30 blocks in bfloat16, random weights on given voxels: nested spheres with "
    "as many latent voxels as real objects. shape_decoder includes the voxels of 512^3 that the "
    "coarse shape becomes. The decoders' share of the peak counts all 27 taps. clean_mesh is on "
    "the device, bake (20,000 faces, 1024 px) on the CPU, after the loan. The peak of memory "
    "includes the weights; the whole object has no time to read them."
)
LAUNCHES_NOTE = (
    "Counted by torch for a device other than a CPU, official sizes: the shape decoder for 11,000 "
    "latent voxels at resolution 1024 in slices of 1 GiB, float16; a flow's steps between its "
    "matrix products for 16,384 tokens, bfloat16. Operations are what torch hands to the device; "
    "waits are those of the host for a result, beside the few of each level that decide how many "
    "voxels the next one has. Moved: what operations read and write. Nothing here is a time."
)


def main() -> int:
    """Measure and write; 1 where a shortcut does not give the numbers it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", choices=tuple(TITLES), default="cpu")
    parser.add_argument("--budget-s", type=float, default=None)
    parser.add_argument("--launches", action="store_true")
    parser.add_argument("--convolution", action="store_true")
    asked = parser.parse_args()
    if asked.launches:
        replace_section(DOCUMENT, LAUNCHES, f"{LAUNCHES_NOTE}\n\n{launches_table()}")
        return 0
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no graphics card here: nothing measured")
        return 1
    with torch.inference_mode():
        if asked.convolution:
            title, (text, agrees) = CONVOLUTION_TITLES[asked.device], measure_convolution(device)
        else:
            budget = Budget(asked.budget_s or BUDGETS_S[asked.device])
            title, (text, agrees) = TITLES[asked.device], measure(device, budget)
    replace_section(DOCUMENT, title, text)
    return 0 if agrees else 1


def measure_convolution(device: torch.device) -> tuple[str, bool]:
    """The comparisons of sparse convolution as Markdown; and whether all agree."""
    others, machine = OtherWork(), measure_machine(device)
    rows = [run(device) for run in CONVOLUTIONS.values()]
    head = f"Measured on: {machine.name}. {others.describe()}"
    return f"{head}\n\n{comparison_table(rows)}", all(row.agrees for row in rows)


def measure(device: torch.device, budget: Budget) -> tuple[str, bool]:
    """All tables as Markdown, printed as they come; and whether every shortcut agrees."""
    others, machine = OtherWork(), measure_machine(device)
    parts = [f"Measured on: {machine.name}.", peak_table(machine)]
    print("\n\n".join(parts), flush=True)

    def add(title: str, note: str, text: str) -> None:
        parts.extend((f"### {title}", note, text))
        print(f"\n{title}\n{text}", flush=True)

    add("FLOP of a pass", FLOPS_NOTE, flops_table())
    rows = comparisons(machine, budget)
    add("Speed-ups", COMPARISONS_NOTE, f"{comparison_table(rows)}\n\n{image_passes()}")
    add("Sampling steps", STEPS_NOTE, steps_table(machine, budget))
    add("Whole objects", CASCADE_NOTE, cascade_table(machine))
    parts[0] += f" {others.describe()}"
    return "\n\n".join(parts), all(row.agrees for row in rows)


def comparisons(machine: Machine, budget: Budget) -> list[Comparison | NotMeasured]:
    """Every comparison for which there is time."""
    rows = []
    for name, run in COMPARISONS.items():
        if budget.left_s < STEPS_PART * budget.seconds:
            rows.append(NotMeasured(name, "-", f"{max(0, budget.left_s):.0f} s left"))
        else:
            rows.append(run(machine.device))
            print(f"{name}: done, {budget.left_s:.0f} s left", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
