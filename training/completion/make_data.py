"""Which cut-outs is the completion network trained on? Objects of the lite generator, drawn once.

`python -m training.completion.make_data --out DATA --archive train.tar.xz` writes shards below
DATA; those that are there already stay.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from training.common.shards import draw_missing, unpacked
from training.generator.make_data import FIRST_SEED, Amount, jobs_of, make_shard
from training.generator.scans import usable_files

# The seeds of the generator's own data: none of them is measured on.
AMOUNT = Amount(64, 4, FIRST_SEED, 24, 3 * FIRST_SEED, 3, 5 * FIRST_SEED)
MESHES = 204  # the archive's first ones

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--archive", type=Path, help="meshes with an index.json, as .tar.xz")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    meshes = []
    if options.archive is None or not options.archive.exists():
        logger.warning("no archive of meshes at %s: the weights will differ", options.archive)
    else:
        meshes = usable_files(unpacked(options.archive, options.out / "meshes"))[:MESHES]
    draw_missing(jobs_of(AMOUNT, options.out, meshes), make_shard, options.processes)


if __name__ == "__main__":
    main()
