"""How does an image become a mesh? The released cascade, as one page of steps.

Order of steps and sizes: Direct3D-S2, commit a1cf235, pipeline.py. Unlike there, the mesh of the
512^3 stage stays in its place when the voxels of the finer stage are chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from direct3d_s2.blocks import sort_by_block
from direct3d_s2.checkpoints import Checkpoint
from direct3d_s2.conditioning import (
    EncodedView,
    encode_views,
    object_tokens,
    projected_conditioning,
    released_tokens,
    token_points,
    without_image,
)
from direct3d_s2.dit import Conditioning, DenseDit, SparseDit
from direct3d_s2.images import ObjectImage, View
from direct3d_s2.schedule import Sampler, sample
from direct3d_s2.sdf import CHILDREN, DenseSdf, SparseSdf
from direct3d_s2.surface_voxels import voxels_at_surface
from direct3d_s2.voxels import active_voxels
from sparse3d.errors import NothingMade
from sparse3d.lending import Borrow, StepCallback, silent
from sparse3d.marching_cubes import marching_cubes
from sparse3d.voxels import Voxels

logger = logging.getLogger(__name__)

RESOLUTIONS = (512, 1024)
DITS = {"dense": "dense_dit", "sparse_512": "sparse_dit_512", "sparse_1024": "sparse_dit_1024"}
LEVEL = 0.2  # of the surface, in units of the truncation: a little outside of zero
REFINED_LEVEL = 0.4  # of the field that the 512^3 refiner smooths
NO_STRUCTURE = (
    "no structure was predicted for this image: try another seed, or a cut-out in which the object "
    "is larger and clear of its background"
)
NO_SURFACE = "the field predicted for this image has no surface: try another seed"


@dataclass(frozen=True)
class GenerationOptions:
    """resolution: of the field, 512 or 1024; samplers replace those of the checkpoint, by stage."""

    resolution: int = 1024
    seed: int = 42
    samplers: Mapping[str, Sampler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"resolution: expected 512 or 1024, got {self.resolution}")


@dataclass(frozen=True, eq=False)
class Generated:
    """vertices (V, 3) float32 in the cube [-0.5, 0.5]^3, x right, y up, z towards the front camera,
    of a canonical mesh towards its front; faces (F, 3) int64, counter-clockwise from outside. On
    the CPU. resolution: of the field."""

    vertices: Tensor
    faces: Tensor
    resolution: int


@dataclass(frozen=True, eq=False)
class Job:
    """One generation. condition: from a stage, and tokens' points in the cube, to the conditioning
    with the image and without."""

    checkpoint: Checkpoint
    borrow: Borrow
    options: GenerationOptions
    device: torch.device
    random: torch.Generator
    condition: Callable[[str, Tensor], tuple[Conditioning, Conditioning]]
    on_step: StepCallback


@torch.inference_mode()
def run_cascade(
    images: ObjectImage | Sequence[View],
    checkpoint: Checkpoint,
    borrow: Borrow,
    options: GenerationOptions,
    device: str | torch.device = "cpu",
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object; same inputs, seed and device give the same output.

    images: one framed image for released networks; views for pixel-aligned ones. borrow lends the
    networks of the checkpoint on the device. Raises NothingMade where no surface is predicted.
    """
    device = torch.device(device)
    random = torch.Generator().manual_seed(options.seed)
    condition = _conditioner(images, checkpoint, borrow, device)
    callback = on_step or silent
    job = Job(checkpoint, borrow, options, device, random, condition, callback)
    voxels = generate_structure(job)
    vertices, faces, side = generate_coarse(job, voxels)
    if options.resolution == 1024:
        finer = 2 * side
        nodes = vertices.to(device) * ((finer - 1) / (side - 1))
        vertices, faces, side = generate_fine(job, nodes, faces.to(device), finer)
    return Generated(vertices / (side - 1) - 0.5, faces, side)


def _conditioner(
    images: ObjectImage | Sequence[View],
    checkpoint: Checkpoint,
    borrow: Borrow,
    device: torch.device,
) -> Callable[[str, Tensor], tuple[Conditioning, Conditioning]]:
    """Encode the image or the views once; conditioning is made of them for each stage."""
    with borrow("image_encoder") as encoder:
        if isinstance(images, ObjectImage):
            if checkpoint.pixel_aligned:
                raise ValueError("pixel-aligned networks are given views, not a framed image")
            tokens = released_tokens(encoder, images, device)
            chosen = object_tokens(tokens, images, encoder)
            return partial(_released, checkpoint, tokens, chosen)
        if not checkpoint.pixel_aligned:
            raise ValueError("released networks are given a framed image, not views")
        return partial(_projected, borrow, encode_views(encoder, images, device))


def _released(
    checkpoint: Checkpoint,
    tokens: Tensor,
    chosen: tuple[Tensor, Tensor],
    stage: str,
    points: Tensor,
) -> tuple[Conditioning, Conditioning]:
    arguments = checkpoint.networks[DITS[stage]].spec.arguments
    if arguments.get("sparse_conditions", False):
        conditioning = Conditioning([chosen[0]], [chosen[1]])
    else:
        conditioning = Conditioning([tokens])
    return conditioning, without_image(conditioning)


def _projected(
    borrow: Borrow, views: Sequence[EncodedView], stage: str, points: Tensor
) -> tuple[Conditioning, Conditioning]:
    with borrow("upsampler") as naf, borrow("back_projection") as layers:
        conditioning = projected_conditioning(views, points, naf, layers, stage)
        return conditioning, without_image(conditioning, layers, stage)


def generate_structure(job: Job) -> Voxels:
    """Which voxels of the coarse latent grid may have a part of the surface."""
    with job.borrow("dense_dit") as dit:
        assert isinstance(dit, DenseDit)
        grid, channels = dit.config.grid, dit.config.in_channels
        noise = _noise(job, 1, channels, grid, grid, grid)
        axis = torch.arange(grid // dit.config.patch_size, device=job.device)
        cells = torch.cartesian_prod(axis, axis, axis)
        with_image, without = (
            dit.prepare(c) for c in job.condition("dense", _points(job, "512", cells, len(axis)))
        )
        latent = _sample(
            job, "dense", noise, lambda x, t: dit(x, t, with_image), lambda x, t: dit(x, t, without)
        )
    with job.borrow("dense_decoder") as decoder:
        voxels = active_voxels(decoder(_restored(job, "dense_decoder", latent)))
    if len(voxels) == 0:
        raise NothingMade(NO_STRUCTURE)
    logger.info("structure: %d voxels", len(voxels))
    return voxels


def _points(job: Job, resolution: str, cells: Tensor, count: int) -> Tensor:
    """Points of the cube at the middle of tokens, `count` of which are along an edge."""
    arguments = job.checkpoint.networks[f"sdf_decoder_{resolution}"].spec.arguments
    side = CHILDREN * arguments.get("resolution", 64)
    return token_points(cells, side // count, side)


def generate_coarse(job: Job, voxels: Voxels) -> tuple[Tensor, Tensor, int]:
    """The mesh of the 512^3 stage: vertices in nodes, faces, and nodes along an edge."""
    sdf = _decode_stage(job, "512", voxels, with_features=True)
    with job.borrow("refiner") as refiner:
        refined = refiner(sdf)
    return _mesh(DenseSdf(refined.values.float().cpu()), REFINED_LEVEL)


def generate_fine(
    job: Job, vertices: Tensor, faces: Tensor, side: int
) -> tuple[Tensor, Tensor, int]:
    """The mesh of the 1024^3 stage from that of the coarse one, vertices in its own nodes."""
    voxels = voxels_at_surface(vertices, faces, side)
    sdf = _decode_stage(job, "1024", voxels)
    with job.borrow("refiner_1024") as refiner:
        signed = refiner(sdf)
    return _mesh(signed.for_meshing(), LEVEL)


def _mesh(sdf: SparseSdf | DenseSdf, level: float) -> tuple[Tensor, Tensor, int]:
    vertices, faces = marching_cubes(sdf, level)
    if len(faces) == 0:
        raise NothingMade(NO_SURFACE)
    logger.info("surface: %d faces at %d^3", len(faces), sdf.side)
    return vertices, faces, sdf.side


def _decode_stage(
    job: Job, resolution: str, voxels: Voxels, with_features: bool = False
) -> SparseSdf:
    """Sample the latents of a sparse stage and decode their field."""
    stage = f"sparse_{resolution}"
    with job.borrow(f"sparse_dit_{resolution}") as dit:
        assert isinstance(dit, SparseDit) and dit.config.attention is not None
        block = dit.config.attention.selection_block
        voxels = Voxels(sort_by_block(voxels.coords, block))
        noise = _noise(job, len(voxels), dit.config.in_channels)
        points = _points(job, resolution, voxels.coords[:, 1:], dit.config.grid)
        with_image, without = (dit.prepare(c) for c in job.condition(stage, points))
        plan = dit.plan(voxels)
        latent = _sample(
            job, stage, noise,
            lambda x, t: dit(x, t, plan, with_image), lambda x, t: dit(x, t, plan, without),
        )  # fmt: skip
    logger.info("%s: %d voxels", stage.replace("_", " "), len(voxels))
    decoder_name = f"sdf_decoder_{resolution}"
    with job.borrow(decoder_name) as decoder:
        return decoder(_restored(job, decoder_name, latent), voxels, with_features)


def _restored(job: Job, decoder: str, latent: Tensor) -> Tensor:
    """Latents as a decoder knows them, by the scale and shift of its VAE."""
    arguments = job.checkpoint.networks[decoder].spec.arguments
    return latent / arguments.get("latents_scale", 1.0) + arguments.get("latents_shift", 0.0)


def _sample(
    job: Job,
    stage: str,
    noise: Tensor,
    conditional: Callable[[Tensor, Tensor], Tensor],
    unconditional: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    sampler = job.options.samplers.get(stage, job.checkpoint.samplers[stage])

    def at(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, time: float) -> Tensor:
        return velocity(x, torch.tensor([time], dtype=torch.float32, device=x.device))

    latent = noise
    steps = sample(partial(at, conditional), partial(at, unconditional), noise, sampler)
    for done, reached in enumerate(steps, start=1):
        latent = reached
        job.on_step(stage, done, sampler.steps)
    return latent


def _noise(job: Job, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=job.random).to(job.device)
