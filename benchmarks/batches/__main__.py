r"""`python -m benchmarks.batches [PART ...]`: measures batches and writes docs/benchmarks.md.

    PYTHONPATH=tests python -m benchmarks.batches scaling kills faults orchestration cached \
        reads memory

All parts take two hours on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.batches import costs, faults, kills, memory, reads, routes, scaling
from benchmarks.report import replace_section

DOCUMENT = Path("docs/benchmarks.md")
PARTS: Mapping[str, tuple[str, Callable[[Path], str]]] = {
    "scaling": ("Batches: two workers", scaling.measure),
    "kills": ("Batches: killed workers", kills.measure),
    "pool_kills": ("Batches: killed workers and servers of a pool", kills.measure_pool),
    "routes": ("Batches: every way to run one", routes.measure),
    "faults": ("Batches: faults", faults.measure),
    "orchestration": ("Batches: cost of a scene beside its steps", costs.orchestration),
    "cached": ("Batches: nothing to do", costs.cached),
    "reads": ("Batches: reads of weights, one network at a time", reads.measure),
    "memory": ("Batches: memory of a worker", memory.measure),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the parts that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if none is named")
    for name in parser.parse_args(argv).parts or PARTS:
        title, measure = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="photoscene-batches-") as folder:
            text = measure(Path(folder))
        replace_section(DOCUMENT, title, text)
        print(f"## {title}\n\n{text}\n", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
