"""Which samples is the lite generator trained on? Draws them once, on all cores, resumably.

`python -m training.generator.make_data --out DATA --archive train.tar.xz` writes shards below
DATA/SIZE; those that are there already stay. Seeds below FIRST_SEED are for measuring and never
drawn here.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.common.shards import draw_missing, unpacked
from training.generator.samples import MESHES, SHAPES, TABLES, Sample, save_shard
from training.generator.scans import read_surface, scan_sample, usable_files
from training.generator.shapes.draw import Tracer, draw_shot, traced_samples
from training.generator.shapes.grammar import MORE, STUDY, TABLE, Family
from training.generator.shapes.tracing import trace_each

logger = logging.getLogger(__name__)

FIRST_SEED = 1_000_000
SHAPES_PER_SHARD = 500
MESHES_PER_SHARD = 12
SEEDS_PER_MESH = 1000


@dataclass(frozen=True)
class Amount:
    """How much is drawn at a size: shards of procedural shapes of all families, views of every
    mesh, shards of what stands on tables; and the first seed of each."""

    size_px: int
    shards: int
    shapes_seed: int
    views: int
    meshes_seed: int
    table_shards: int
    table_seed: int


# A GPU learns from as many pictures in ten minutes as two cores do in a day.
AMOUNTS = {
    "cpu": (
        Amount(64, 120, FIRST_SEED, 40, 3 * FIRST_SEED, 32, 5 * FIRST_SEED),
        Amount(128, 2, 2 * FIRST_SEED, 8, 4 * FIRST_SEED, 1, 6 * FIRST_SEED),
    ),
    "cuda": (
        Amount(64, 500, FIRST_SEED, 60, 3 * FIRST_SEED, 130, 5 * FIRST_SEED),
        Amount(128, 10, 2 * FIRST_SEED, 8, 4 * FIRST_SEED, 3, 6 * FIRST_SEED),
    ),
}


@dataclass(frozen=True)
class Job:
    """One shard of a size: `count` procedural shapes of families from a seed on, or of each mesh in
    `files`; device: what traces the shapes' rays."""

    folder: Path
    size_px: int
    count: int
    first_seed: int
    families: tuple[Family, ...] = STUDY + MORE
    files: tuple[Path, ...] = ()
    device: str = "cpu"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--archive", type=Path, help="meshes with an index.json, as .tar.xz")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=tuple(AMOUNTS), default=best_device())
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    meshes = []
    if options.archive is None or not options.archive.exists():
        logger.warning(
            "no archive of meshes at %s: a fifth of the samples will be missing and the weights "
            "will differ; docs/lite_generator.md says what it holds, MESHES=FILE names it to make",
            options.archive,
        )
    else:
        meshes = usable_files(unpacked(options.archive, options.out / "meshes"))
    amounts, device = AMOUNTS[options.device], options.device
    jobs = [j for amount in amounts for j in jobs_of(amount, options.out, meshes, device)]
    jobs.sort(key=lambda job: not job.files)  # those that take longest first
    draw_missing(jobs, make_shard, options.processes)


def best_device() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    from numba import cuda

    return "cuda" if cuda.is_available() else "cpu"


def jobs_of(amount: Amount, out: Path, meshes: list[Path], device: str = "cpu") -> list[Job]:
    """The shards of one size."""
    folder, size, jobs = out / str(amount.size_px), amount.size_px, []
    kinds = (
        (SHAPES, STUDY + MORE, amount.shards, amount.shapes_seed),
        (TABLES, TABLE, amount.table_shards, amount.table_seed),
    )
    for kind, families, shards, first_seed in kinds:
        for i in range(shards):
            # Twice the seeds, since a few objects show next to nothing and are passed over.
            seed = first_seed + 2 * SHAPES_PER_SHARD * i
            shard = folder / f"{kind}_{i:04d}"
            jobs.append(Job(shard, size, SHAPES_PER_SHARD, seed, families, device=device))
    for i in range(0, len(meshes), MESHES_PER_SHARD):
        files = tuple(meshes[i : i + MESHES_PER_SHARD])
        seed = amount.meshes_seed + SEEDS_PER_MESH * i
        jobs.append(Job(folder / f"{MESHES}_{i:04d}", size, amount.views, seed, files=files))
    return jobs


def make_shard(job: Job) -> None:
    """Draw one shard."""
    samples = [] if job.files else shape_samples(job)
    for i, file in enumerate(job.files):
        surface, seed = read_surface(file), job.first_seed + i * SEEDS_PER_MESH
        drawn = (scan_sample(surface, seed + view, job.size_px) for view in range(job.count))
        samples += [sample for sample in drawn if sample is not None]
    save_shard(samples, job.folder)


def shape_samples(job: Job) -> list[Sample]:
    """The first `count` procedural shapes from a seed on that show something."""
    samples, seed = [], job.first_seed
    while len(samples) < job.count:
        seeds = range(seed, seed + job.count - len(samples))
        drawn = (draw_shot(seed, job.families) for seed in seeds)
        shots = [shot for shot in drawn if shot is not None]
        traced = traced_samples(shots, job.size_px, _tracer(job.device))
        samples += [sample for sample in traced if sample is not None]
        seed = seeds.stop
    return samples


def _tracer(device: str) -> Tracer:
    if device == "cpu":
        return trace_each
    from training.generator.shapes.tracing_cuda import trace_all

    return trace_all


if __name__ == "__main__":
    main()
