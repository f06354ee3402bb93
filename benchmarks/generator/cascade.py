"""How long does a whole object take on a graphics card, by its parts, and how much memory?

The cascade's own stages run, from pictures to decoded voxels and a baked mesh, with random weights;
which voxels there are is given (`objects`), because random weights predict none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.generator.cases import META, filled
from benchmarks.generator.decoding import decoder_flops
from benchmarks.generator.image import front_view
from benchmarks.generator.machine import (
    UNKNOWN,
    Machine,
    gigabytes,
    peak_bytes,
    random_tensor,
    start_peak,
    stopwatch,
)
from benchmarks.generator.objects import (
    GivenObject,
    attributes,
    decode,
    nested_spheres,
    surface,
    upsample,
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
from sparse3d.dual_grid import dual_grid_to_mesh
from sparse3d.mesh_repair import clean_mesh
from sparse3d.sampling import Sampler
from sparse3d.surface import bake_cleaned
from sparse3d.voxels import full_grid
from stages.devices import Keeping, NetworkPool

SHORT_TOKENS = 100  # of the object that loads and warms everything up
RUNS = ((1024, 16384), (1536, 49152))  # resolution, active voxels
KEEPING: tuple[Keeping, ...] = ("keep", "one_at_a_time")
FLOWS = tuple(name for name in CASCADE_NETWORKS if "flow" in name)
DECODERS = ("shape_decoder", "texture_decoder")
# After the last network: cleaning on the device; decimation, charts and baking on the CPU.
FINISHING = ("clean_mesh", "bake")
TEXTURE_PX, FACES = 1024, 20_000
COLUMNS = (
    "resolution", "tokens", "voxels", "networks", *FLOWS, "all flows", "image networks",
    *DECODERS, "decoders' share of the peak", *FINISHING, "whole object", "peak memory",
)  # fmt: skip


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
    """Seconds that each network, and each part of finishing, was at work in one generation, and the
    most memory in use, with the weights (None where the device does not tell). voxels: decoded;
    decoder_flops: of the whole object's decoders."""

    seconds: Mapping[str, float]
    peak_bytes: int | None
    voxels: int
    decoder_flops: int

    def total(self, names: tuple[str, ...]) -> float:
        """Seconds of some networks together."""
        return sum(self.seconds.get(name, 0.0) for name in names)


def cascade_table(machine: Machine) -> str:
    """Both resolutions, with all networks kept on the device and with one at a time."""
    rows, device = [], machine.device
    for resolution, tokens in RUNS:
        for keeping in KEEPING:
            named = [f"{resolution}", f"{tokens}"]
            if device.type != "cuda":
                missing = ["-", keeping, f"{UNKNOWN} (no GPU)"]
                rows.append([*named, *missing, *["-"] * (len(COLUMNS) - 5)])
                continue
            cost = measure_cascade(GenerationOptions(resolution), tokens, device, keeping)
            rows.append([*named, f"{cost.voxels}", keeping, *_cells(cost, machine)])
    return table(COLUMNS, rows)


def _cells(cost: CascadeCost, machine: Machine) -> list[str]:
    """The columns behind the names."""
    rate = cost.decoder_flops / cost.total(DECODERS)
    seconds = [
        *(cost.seconds[name] for name in FLOWS),
        cost.total(FLOWS),
        cost.total(("image_encoder", "upsampler")),
        *(cost.seconds[name] for name in DECODERS),
    ]
    return [
        *(f"{s:.3g} s" for s in seconds),
        f"{rate / machine.matmul[torch.bfloat16]:.0%}",
        *(f"{cost.seconds[name]:.3g} s" if name in cost.seconds else "-" for name in FINISHING),
        f"{cost.total(tuple(cost.seconds)):.3g} s",
        gigabytes(cost.peak_bytes),
    ]


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
    short, timed = (TimedPool(pool, device, keeping) for _ in range(2))
    few = nested_spheres(SHORT_TOKENS, COARSE_GRID, device)
    _generate(replace(options, samplers=one_step), few, few, device, short)
    grid = options.resolution // LATENT_STRIDE
    coarse = nested_spheres(tokens * COARSE_GRID**2 // grid**2, COARSE_GRID, device)
    fine = nested_spheres(tokens, grid, device)
    start_peak(device)
    made = _generate(options, coarse, fine, device, timed)
    peak = peak_bytes(device)
    pool.release()
    if keeping == "keep":  # it is the same, and long, under both policies
        _finish(*made, timed)
    # `upsample` stops before the last level, whose one convolution is a small part.
    decoded = {"shape_decoder": (coarse, fine), "texture_decoder": (fine,)}
    flops = sum(decoder_flops(specs[n], len(g.levels[0])) for n, gs in decoded.items() for g in gs)
    return CascadeCost(dict(timed.seconds), peak, len(fine.levels[-1]), flops)


def _samplers(options: GenerationOptions) -> dict[str, Sampler]:
    return {**OFFICIAL_SAMPLERS, **options.samplers}


def _generate(
    options: GenerationOptions,
    coarse: GivenObject,
    fine: GivenObject,
    device: torch.device,
    timed: TimedPool,
) -> tuple[GivenObject, torch.Tensor]:
    """The stages from pictures to decoded colours (M, 6) of the fine object's voxels."""
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
    latent = generate_shape(job, "512", coarse.levels[0], coarse.grid)
    with job.borrow("shape_decoder") as decoder:
        upsample(decoder, latent, coarse)
    shape = generate_shape(job, "1024", fine.levels[0], fine.grid)
    texture = generate_texture(job, fine.levels[0], shape, fine.grid)
    with job.borrow("shape_decoder") as decoder:
        decode(decoder, shape, fine)
    with job.borrow("texture_decoder") as decoder:
        return fine, decode(decoder, texture, fine)


def _finish(given: GivenObject, colours: torch.Tensor, timed: TimedPool) -> None:
    """From the given surface to a baked mesh, as stages/generate/pixal3d.py does it."""
    coords, vertices, crossed, side = surface(given)
    with stopwatch(timed.device) as passed:
        mesh = clean_mesh(*dual_grid_to_mesh(coords, vertices, crossed, None, side))
    timed.seconds["clean_mesh"] = passed[0]
    found = attributes(given, colours)
    found = replace(found, coords=found.coords.cpu(), values=found.values.cpu().nan_to_num())
    corners, faces = (part.cpu() for part in mesh)
    with stopwatch(torch.device("cpu")) as passed:
        bake_cleaned(corners, faces, found, TEXTURE_PX, FACES)
    timed.seconds["bake"] = passed[0]
