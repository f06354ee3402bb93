"""How long do the cascade's networks take on a graphics card, and how much memory?

The cascade's own stages run, from pictures to texture latents, with random weights; the active
voxels are given, because random weights predict none. The decoders are loaded and not run: how much
they decode depends on their weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.generator.cases import META, filled, shell
from benchmarks.generator.image import front_view
from benchmarks.generator.machine import (
    UNKNOWN,
    gigabytes,
    peak_bytes,
    random_tensor,
    start_peak,
    stopwatch,
)
from benchmarks.narrow import table
from pixal3d.cascade import (
    COARSE_GRID,
    LATENT_STRIDE,
    STRUCTURE_CHANNELS,
    STRUCTURE_GRID,
    GenerationOptions,
    Job,
    encode_images,
    generate_shape,
    generate_texture,
    project_conditioning,
    sample_flow,
)
from pixal3d.checkpoints import OFFICIAL_SAMPLERS, Checkpoint
from pixal3d.generation import CASCADE_NETWORKS
from pixal3d.images import PosedImages
from pixal3d.networks import OFFICIAL, NetworkSpec, build_network
from pixal3d.sampling import Sampler
from pixal3d.voxels import full_grid
from stages.devices import Keeping, NetworkPool

RUNS = ((1024, 16384), (1536, 49152))  # resolution, active voxels
KEEPING: tuple[Keeping, ...] = ("keep", "one_at_a_time")
FLOWS = tuple(name for name in CASCADE_NETWORKS if "flow" in name)
COLUMNS = ("resolution", "tokens", "networks", *FLOWS, "all flows", "image networks", "peak memory")


@dataclass(frozen=True, eq=False)
class TimedPool:
    """Lends networks and adds up how long each was lent, without the time to bring it."""

    pool: NetworkPool
    device: torch.device
    keeping: Keeping
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def borrow(self, name: str) -> Iterator[Any]:
        """Lend a network."""
        with self.pool.borrow(name, self.keeping) as network:
            with stopwatch(self.device) as passed:
                yield network
            self.seconds[name] += passed[0]


@dataclass(frozen=True)
class CascadeCost:
    """Seconds that each network was at work in one generation, and the most memory in use, with
    the weights (None where the device does not tell)."""

    seconds: Mapping[str, float]
    peak_bytes: int | None

    def total(self, names: tuple[str, ...]) -> float:
        """Seconds of some networks together."""
        return sum(self.seconds.get(name, 0.0) for name in names)


def cascade_table(device: torch.device) -> str:
    """Both resolutions, with all networks kept on the device and with one at a time."""
    rows = []
    for resolution, tokens in RUNS:
        for keeping in KEEPING:
            named = [f"{resolution}", f"{tokens}", keeping]
            if device.type != "cuda":
                rows.append([*named, f"{UNKNOWN} (no GPU)", *["-"] * (len(COLUMNS) - 4)])
                continue
            cost = measure_cascade(GenerationOptions(resolution), tokens, device, keeping)
            seconds = [
                *(cost.seconds[name] for name in FLOWS),
                cost.total(FLOWS),
                cost.total(("image_encoder", "upsampler")),
            ]
            rows.append([*named, *(f"{s:.3g} s" for s in seconds), gigabytes(cost.peak_bytes)])
    return table(COLUMNS, rows)


def measure_cascade(
    options: GenerationOptions,
    tokens: int,
    device: torch.device,
    keeping: Keeping,
    specs: Mapping[str, NetworkSpec] = OFFICIAL,
) -> CascadeCost:
    """One generation of so many voxels after a short one that loads and warms everything up."""

    def load(name: str, where: str) -> torch.nn.Module:
        with META:
            network = build_network(specs[name].kind, specs[name].arguments)
        return filled(network, torch.device(where))

    pool = NetworkPool(load, str(device))
    for name in CASCADE_NETWORKS:
        with pool.borrow(name, keeping):
            pass
    one_step = {name: replace(s, steps=1) for name, s in _samplers(options).items()}
    _generate(replace(options, samplers=one_step), tokens, device, TimedPool(pool, device, keeping))
    start_peak(device)
    timed = TimedPool(pool, device, keeping)
    _generate(options, tokens, device, timed)
    peak = peak_bytes(device)
    pool.release()
    return CascadeCost(dict(timed.seconds), peak)


def _samplers(options: GenerationOptions) -> dict[str, Sampler]:
    return {**OFFICIAL_SAMPLERS, **options.samplers}


def _generate(
    options: GenerationOptions, tokens: int, device: torch.device, timed: TimedPool
) -> None:
    """The stages from pictures to texture latents, on shells of voxels."""
    sizes = {use.image_size for use in options.image_uses.values()}
    images = {size: [random_tensor(0, (3, size, size), device).sigmoid()] for size in sizes}
    pictures = PosedImages([front_view()], images)
    features = encode_images(pictures, timed.borrow, options, device)
    job = Job(
        pictures, Checkpoint(Path(), {}), timed.borrow, options, device,
        torch.Generator().manual_seed(0), features, lambda *_: None,
    )  # fmt: skip
    everywhere = full_grid(1, STRUCTURE_GRID, device)
    noise = random_tensor(1, (STRUCTURE_GRID**3, STRUCTURE_CHANNELS), device)
    seen = project_conditioning(job, "structure", everywhere, STRUCTURE_GRID)
    sample_flow(job, "structure_flow", "structure", noise, everywhere, seen, unbiased_spread=True)
    grid = options.resolution // LATENT_STRIDE
    coarse = shell(COARSE_GRID, tokens * COARSE_GRID**2 // grid**2, device)
    generate_shape(job, "512", coarse, COARSE_GRID)
    fine = shell(grid, tokens, device)
    generate_texture(job, fine, generate_shape(job, "1024", fine, grid), grid)
