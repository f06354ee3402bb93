"""Which samples is the lite generator trained on? Draws them once, on all cores, resumably.

`python -m training.make_data --out DATA` writes shards below DATA/SIZE; those that are there already
stay. Seeds below FIRST_SEED are for measuring and never drawn here.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.samples import save_shard
from training.shapes.draw import draw_sample

logger = logging.getLogger(__name__)

FIRST_SEED = 1_000_000
SHARD = 500  # samples in a shard


@dataclass(frozen=True)
class Amount:
    """How many procedural samples of a size are drawn, and from which seed on."""

    size_px: int
    shards: int
    first_seed: int


AMOUNTS = (Amount(64, 72, FIRST_SEED), Amount(128, 12, 2 * FIRST_SEED))


@dataclass(frozen=True)
class Job:
    """One shard: where it goes, its samples' size, number and seeds (first_seed and up)."""

    folder: Path
    size_px: int
    count: int
    first_seed: int


def main(argv: Sequence[str] | None = None) -> None:
    """Draw everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    jobs = [j for amount in AMOUNTS for j in jobs_of(amount, options.out)]
    make_all(jobs, options.processes)


def jobs_of(amount: Amount, out: Path) -> list[Job]:
    """The shards of one size."""
    step = 2 * SHARD  # room for the seeds that show next to nothing
    return [
        Job(out / str(amount.size_px) / f"shapes_{i:03d}", amount.size_px, SHARD,
            amount.first_seed + i * step)
        for i in range(amount.shards)
    ]  # fmt: skip


def make_all(jobs: list[Job], processes: int) -> None:
    """Draw the missing shards; what is in them depends on their seeds alone."""
    missing = [job for job in jobs if not job.folder.exists()]
    if processes == 1:
        for job in missing:
            make_shard(job)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(make_shard, missing), 1):
            logger.info("%d of %d shards", done, len(missing))


def make_shard(job: Job) -> None:
    """Draw one shard."""
    samples, seed = [], job.first_seed
    while len(samples) < job.count:
        sample = draw_sample(seed, job.size_px)
        seed += 1
        if sample is not None:
            samples.append(sample)
    save_shard(samples, job.folder)


if __name__ == "__main__":
    main()
