"""Which scenes are trained on? Renders them once, on all cores, resumably.

`python -m training.scenes.make_data --out DATA --archive train.tar.xz --data SHARED/data` writes
shards of scenes of one size below DATA/scenes; those that are there already stay. A shard's bytes
depend on its seeds alone. `--measuring DIR` renders those that only measure, of bodies, textures
and skies that training never shows and of the objects in DIR (z up, GLB), below DATA/measuring.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scene.types import Float32, Uint8
from training.common.shards import appearing, draw_missing, unpacked
from training.scenes.layout import FORMAT_PROBABILITIES, FORMATS, draw_scene
from training.scenes.library import (
    Library,
    load_bodies,
    make_bodies,
    public_bodies,
    read_library,
    save_bodies,
)
from training.scenes.render import render

logger = logging.getLogger(__name__)

FIRST_SEED = 50_000_000
SCENES_PER_SHARD = 50
SHARDS = 140
SAMPLES = 2  # rays per pixel; more look cleaner and teach no more
MEASURING_SEED, MEASURING_SHARDS = 90_000_000, 4
MIN_OBJECT_FRACTION = 0.004  # of the picture that the objects of a scene cover together


@dataclass(frozen=True, eq=False)
class Sample:
    """A rendered scene of one size.

    rgb (H, W, 3) uint8; log_depth (H, W) float16, inf where nothing is; labels (H, W) uint8, 0 for
    what surrounds the objects; up (3,) float32, against gravity, camera frame; log_focal ()
    float32, of the focal length over the longer side.
    """

    rgb: Uint8
    log_depth: NDArray[np.float16]
    labels: Uint8
    up: Float32
    log_focal: NDArray[np.float32]


NAMES = tuple(f.name for f in fields(Sample))


@dataclass(frozen=True)
class Job:
    """A shard: its folder, size, first seed and number of scenes; where bodies and data are; for
    measuring, the folder of more objects, and only what is kept for that is shown."""

    folder: Path
    size: tuple[int, int]
    first_seed: int
    count: int
    bodies: Path
    data: Path
    measuring: Path | None = None


def main(argv: Sequence[str] | None = None) -> None:
    """Render everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--archive", type=Path, required=True, help="meshes with an index.json")
    parser.add_argument("--data", type=Path, required=True, help="folder of env/ and textures/")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--measuring", type=Path, help="objects of scenes that only measure")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    bodies = options.out / "bodies.npz"
    if not bodies.exists():
        meshes = unpacked(options.archive, options.out / "meshes")
        save_bodies(make_bodies(meshes, options.processes), bodies)
    if options.measuring is None:
        jobs = jobs_of(options.out / "scenes", bodies, options.data, options.shards)
    else:
        jobs = measuring_jobs(options.out / "measuring", bodies, options.data, options.measuring)
    draw_missing(jobs, make_shard, options.processes)


def jobs_of(out: Path, bodies: Path, data: Path, shards: int) -> list[Job]:
    """The shards; their sizes take turns by their shares."""
    sizes = np.random.default_rng(FIRST_SEED).choice(len(FORMATS), 10_000, p=FORMAT_PROBABILITIES)
    return [
        Job(out / f"{i:04d}", FORMATS[sizes[i]], FIRST_SEED + 1000 * i, SCENES_PER_SHARD,
            bodies, data)
        for i in range(shards)
    ]  # fmt: skip


def measuring_jobs(out: Path, bodies: Path, data: Path, objects: Path) -> list[Job]:
    """The shards that only measure, one of each common size."""
    return [
        Job(out / f"{i:04d}", FORMATS[i], MEASURING_SEED + 1000 * i, SCENES_PER_SHARD, bodies, data,
            objects)
        for i in range(MEASURING_SHARDS)
    ]  # fmt: skip


def make_shard(job: Job) -> None:
    """Render one shard; the folder appears when it is whole."""
    library = _library(job.bodies, job.data, job.measuring)
    samples: list[Sample] = []
    seed = job.first_seed
    while len(samples) < job.count:
        sample = make_sample(library, seed, job.size)
        samples += [] if sample is None else [sample]
        seed += 1
    with appearing(job.folder) as unfinished:
        for name in NAMES:
            np.save(unfinished / f"{name}.npy", np.stack([getattr(s, name) for s in samples]))


def make_sample(library: Library, seed: int, size: tuple[int, int]) -> Sample | None:
    """The scene of a seed; None where it shows next to nothing."""
    drawn = draw_scene(library, seed, size=size)
    if drawn is None:
        return None
    shown = render(drawn.world, drawn.view, drawn.lighting, SAMPLES, seed)
    if (shown.labels > 0).mean() < MIN_OBJECT_FRACTION:
        return None
    with np.errstate(divide="ignore"):
        log_depth = np.log(shown.depth).astype(np.float16)
    log_focal = np.log(drawn.view.focal_px / max(size))
    return Sample(
        shown.rgb,
        log_depth,
        shown.labels,
        drawn.view.up.astype(np.float32),
        np.asarray(log_focal, np.float32),
    )


@cache
def _library(bodies: Path, data: Path, measuring: Path | None) -> Library:
    library = read_library(load_bodies(bodies), data)
    if measuring is None:
        return library.of("train")
    kept = library.of("kept")
    return replace(kept, bodies=(*kept.bodies, *public_bodies(measuring)))


if __name__ == "__main__":
    main()
