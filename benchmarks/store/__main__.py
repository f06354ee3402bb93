"""`PYTHONPATH=tests python -m benchmarks.store [PART ...]`: measures and writes docs/benchmarks.md.

It needs obstore and moto, an S3 server for tests.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.report import replace_section
from benchmarks.store import cached, kills, listing, together

DOCUMENT = Path("docs/benchmarks.md")
PARTS: Mapping[str, tuple[str, Callable[[int, Path], str], int]] = {
    "kills": ("Store: killed writers", kills.kills_table, 200),
    "cached": ("Store: a batch that was made before", cached.cached_table, 1000),
    "together": ("Store: two batches at once", together.together_table, 8),
    "listing": ("Store: a million records", listing.listing_table, 1_000_000),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the parts that are named, or all; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if none is named")
    parser.add_argument("--count", type=int, help="of kills, scenes, or records")
    asked = parser.parse_args(argv)
    for name in asked.parts or PARTS:
        title, measure, count = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="photoscene-store-") as folder:
            text = measure(asked.count or count, Path(folder))
        replace_section(DOCUMENT, title, text)
        print(f"## {title}\n\n{text}\n", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
