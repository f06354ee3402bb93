"""What do CUPID and Direct3D-S2 cost: FLOPs of a step beside Pixal3D's, memory of attention and
surface?

    python -m benchmarks.papers flops|memory

Random weights of the official sizes, on a CPU: one CPU-minute, or eight and 6 GB. Writes a section
of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.generator.machine import describe
from benchmarks.papers.flops import flops_table
from benchmarks.papers.memory import ALLOWED, CPU, attention_table, measure_layers, surface_text
from benchmarks.report import replace_section

DOCUMENT = Path("docs/benchmarks.md")
TITLES = {
    "flops": "CUPID and Direct3D-S2: FLOP of a sampling step",
    "memory": "Direct3D-S2: memory of sparse attention and marching cubes",
}
FLOPS_NOTE = (
    "Matrix products, convolutions and attention, two FLOP per multiply-add, of one object. The "
    "formula has all blocks; torch counts those that the table says, of which sparse attention and "
    "convolutions run on a CPU and all else on the meta device. Voxels: the whole grid, or three "
    "layers around a sphere. "
    "CUPID's transformer has half the resolution of its voxels. A guided step has a pass without "
    "the image as well. Sparse attention by formula: every query reads its 8 blocks whole, as if "
    "they were the fullest; Pixal3D's count is above."
)
ATTENTION_NOTE = (
    "One layer of spatial sparse attention, version 1.1, width 1024, 32 heads, float32, over the "
    "voxels of 128^3 nearest to a sphere: what its call takes beyond its input at the peak, output "
    "included."
)


def main() -> int:
    """Measure and write; 1 where a fast form is not its twin, or the surface too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=("flops", "memory"))
    part, head = parser.parse_args().part, f"Measured on: {describe(CPU)}."
    with torch.inference_mode():
        if part == "flops":
            replace_section(DOCUMENT, TITLES[part], f"{head}\n\n{FLOPS_NOTE}\n\n{flops_table()}")
            return 0
        surface, fits = surface_text()
        layers = measure_layers()
    text = f"{head}\n\n{ATTENTION_NOTE}\n\n{attention_table(layers, heads=32)}\n\n{surface}"
    replace_section(DOCUMENT, TITLES[part], text)
    agrees = all(cost.difference is None or cost.difference <= ALLOWED for cost in layers)
    return 0 if fits and agrees else 1


if __name__ == "__main__":
    sys.exit(main())
