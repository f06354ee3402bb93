"""How does a picture become a shape and its colours? The released cascade, as one page of steps.

Order of steps, sizes and the order of random numbers: Pixal3D, commit cdbb2bb,
pipelines/pixal3d_image_to_3d.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pixal3d.checkpoints import Checkpoint
from pixal3d.dinov3 import ImageFeatures, encode_image
from pixal3d.flow import Condition
from pixal3d.images import PosedImages
from pixal3d.latent_vae import split_head
from pixal3d.projection import condition
from pixal3d.velocity import conditioned
from sparse3d.dual_grid import dual_grid_to_mesh
from sparse3d.errors import NothingMade
from sparse3d.lending import Borrow, StepCallback, silent
from sparse3d.sampling import Sampler, sample
from sparse3d.structure_vae import occupied_voxels
from sparse3d.surface import VoxelAttributes
from sparse3d.voxels import Voxels, full_grid, voxel_codes

logger = logging.getLogger(__name__)

STRUCTURE_GRID, STRUCTURE_CHANNELS = 16, 8
COARSE_GRID, COARSE_RESOLUTION = 32, 512
LATENT_CHANNELS = 32
LATENT_STRIDE = 16  # decoded voxels along the side of a latent voxel
REFINED_LEVELS = 4  # of the shape decoder: all of its subdivisions
MIN_RESOLUTION, RESOLUTION_STEP = 1024, 128
RESOLUTIONS = (1024, 1536)
NO_SURFACE = "the structure predicted for this picture has no surface: try another seed"


@dataclass(frozen=True)
class ImageUse:
    """Which image conditions a stage: its size, and that of NAF's feature map (None without)."""

    image_size: int
    naf_size: int | None


IMAGE_USES: Mapping[str, ImageUse] = {
    "structure": ImageUse(512, None),
    "shape_512": ImageUse(512, 512),
    "shape_1024": ImageUse(1024, 512),
    "texture_1024": ImageUse(1024, 1024),
}


@dataclass(frozen=True)
class GenerationOptions:
    """What is asked of a generation.

    resolution: 1024 or 1536; lowered in steps of 128 while there are max_tokens voxels or more.
    samplers: replace those of the checkpoint, by name ("structure", "shape", "texture").
    term_bytes: memory for projection terms kept over the steps. batch_rows: a guided step is one
    pass while both halves together have at most so many rows. image_uses: by stage.
    """

    resolution: int = 1024
    seed: int = 42
    max_tokens: int = 49152
    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    term_bytes: int = 1 << 30
    batch_rows: int = 16384
    image_uses: Mapping[str, ImageUse] = field(default_factory=lambda: IMAGE_USES)

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"resolution: expected 1024 or 1536, got {self.resolution}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1, got {self.max_tokens}")


@dataclass(frozen=True, eq=False)
class Generated:
    """A decoded object in Pixal3D's grid frame: x right, y up, z toward the front camera.

    vertices (V, 3) float32, the cube [-0.5, 0.5]^3; faces (F, 3) int64, not consistently wound;
    attributes: base colour, metallic, roughness and alpha per voxel. resolution: of the voxels; it
    is below the one asked for where that had too many of them.
    """

    vertices: Tensor
    faces: Tensor
    attributes: VoxelAttributes
    resolution: int


@dataclass(frozen=True, eq=False)
class Job:
    """One generation: what is made, with what, on which device, and its random numbers.

    features: pictures by size, as the image encoder sees them.
    """

    posed_images: PosedImages
    checkpoint: Checkpoint
    borrow: Borrow
    options: GenerationOptions
    device: torch.device
    random: torch.Generator
    features: Mapping[int, Sequence[ImageFeatures]]
    on_step: StepCallback


@torch.inference_mode()
def run_cascade(
    posed_images: PosedImages,
    checkpoint: Checkpoint,
    borrow: Borrow,
    options: GenerationOptions,
    device: str | torch.device = "cpu",
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object; same inputs, seed and device give the same output.

    borrow lends the networks of the checkpoint on the device. Raises NothingMade when no structure
    is predicted.
    """
    # The reference draws from the CPU's generator, seeded once: the same numbers everywhere.
    random = torch.Generator().manual_seed(options.seed)
    features = encode_images(posed_images, borrow, options, torch.device(device))
    job = Job(
        posed_images, checkpoint, borrow, options, torch.device(device), random, features,
        on_step or silent,
    )  # fmt: skip
    voxels = generate_structure(job)
    coarse = generate_shape(job, "512", voxels, COARSE_GRID)
    voxels, resolution = refine_voxels(job, voxels, coarse)
    shape = generate_shape(job, "1024", voxels, resolution // LATENT_STRIDE)
    texture = generate_texture(job, voxels, shape, resolution // LATENT_STRIDE)
    return decode(job, voxels, shape, texture, resolution)


def encode_images(
    posed_images: PosedImages, borrow: Borrow, options: GenerationOptions, device: torch.device
) -> dict[int, list[ImageFeatures]]:
    """One pass of the image encoder per picture and size; all stages share them."""
    sizes = {use.image_size for use in options.image_uses.values()}
    with borrow("image_encoder") as encoder:
        return {
            size: [encode_image(encoder, image.to(device)) for image in posed_images.images[size]]
            for size in sorted(sizes)
        }


def generate_structure(job: Job) -> Voxels:
    """Which of 32^3 voxels the surface goes through."""
    voxels = full_grid(1, STRUCTURE_GRID, job.device)
    noise = _noise(job, 1, STRUCTURE_CHANNELS, *(STRUCTURE_GRID,) * 3)
    conditioning = project_conditioning(job, "structure", voxels, STRUCTURE_GRID)
    rows = noise.flatten(2)[0].T.contiguous()
    latent = sample_flow(
        job, "structure_flow", "structure", rows, voxels, conditioning, unbiased_spread=True
    )
    with job.borrow("structure_decoder") as decoder:
        occupancy = decoder(latent.T.reshape(noise.shape))
    occupied = occupied_voxels(occupancy, pool=occupancy.shape[-1] // COARSE_GRID)
    if len(occupied.coords) == 0:
        raise NothingMade(
            "no structure was predicted for this picture: try another seed, or a cut-out in which "
            "the object is larger and clear of its background"
        )
    logger.info("structure: %d voxels of %d^3", len(occupied.coords), COARSE_GRID)
    return occupied


def generate_shape(job: Job, tier: str, voxels: Voxels, grid_size: int) -> Tensor:
    """Shape latents (N, 32) of the voxels, as the shape decoder knows them."""
    noise = _noise(job, len(voxels.coords), LATENT_CHANNELS)
    conditioning = project_conditioning(job, f"shape_{tier}", voxels, grid_size)
    latent = sample_flow(job, f"shape_flow_{tier}", "shape", noise, voxels, conditioning)
    return job.checkpoint.shape_latents.restored(latent)


def refine_voxels(job: Job, voxels: Voxels, latent: Tensor) -> tuple[Voxels, int]:
    """The coarse shape's voxels of 512^3 on the finer latent grid, and its resolution."""
    with job.borrow("shape_decoder") as decoder:
        fine = decoder.upsample(latent, voxels, REFINED_LEVELS)
    if len(fine) == 0:
        raise NothingMade(NO_SURFACE)
    coords, resolution = choose_grid(fine.coords, job.options.resolution, job.options.max_tokens)
    logger.info("shape: %d voxels, resolution %d", len(coords), resolution)
    return Voxels(coords), resolution


def generate_texture(job: Job, voxels: Voxels, shape: Tensor, grid_size: int) -> Tensor:
    """Texture latents (N, 32), generated beside the shape's."""
    concatenated = job.checkpoint.shape_latents.normalised(shape)
    noise = _noise(job, len(voxels.coords), LATENT_CHANNELS)
    conditioning = project_conditioning(job, "texture_1024", voxels, grid_size)
    latent = sample_flow(
        job, "texture_flow_1024", "texture", noise, voxels, conditioning, concatenated
    )
    return job.checkpoint.texture_latents.restored(latent)


def decode(job: Job, voxels: Voxels, shape: Tensor, texture: Tensor, resolution: int) -> Generated:
    """The surface and the voxels' attributes; colours follow the shape's subdivisions."""
    with job.borrow("shape_decoder") as decoder:
        decoded = decoder(shape, voxels)
    with job.borrow("texture_decoder") as decoder:
        colours = decoder(texture, voxels, decoded.subdivisions)
    coords, head = decoded.voxels.coords[:, 1:], split_head(decoded.features)
    vertices, faces = dual_grid_to_mesh(
        coords, head.dual_vertices, head.intersected, head.split_weight, resolution
    )
    if len(faces) == 0:
        raise NothingMade(NO_SURFACE)
    attributes = VoxelAttributes(coords, colours * 0.5 + 0.5, resolution)
    return Generated(vertices, faces, attributes, resolution)


def project_conditioning(job: Job, stage: str, voxels: Voxels, grid_size: int) -> Condition:
    """The image features of each voxel, averaged over the views."""
    use = job.options.image_uses[stage]
    views = list(zip(job.posed_images.views, job.features[use.image_size], strict=True))
    coords, scale = voxels.coords[:, 1:], job.posed_images.mesh_scale
    if use.naf_size is None:
        return condition(views, coords, grid_size, scale)
    with job.borrow("upsampler") as naf:
        return condition(views, coords, grid_size, scale, naf, use.naf_size)


def sample_flow(
    job: Job,
    name: str,
    kind: str,
    noise: Tensor,
    voxels: Voxels,
    conditioning: Condition,
    concatenated: Tensor | None = None,
    unbiased_spread: bool = False,
) -> Tensor:
    """Sample one flow from noise (N, C) to latents (N, C); `kind` names its sampler."""
    sampler = job.options.samplers.get(kind, job.checkpoint.samplers[kind])
    with job.borrow(name) as flow:
        velocity = conditioned(
            flow, voxels, conditioning, concatenated, job.options.term_bytes, job.options.batch_rows
        )
        latent = noise
        steps = sample(velocity, noise, sampler, voxels.lengths, unbiased_spread)
        for done, step in enumerate(steps, start=1):
            latent = step.x
            job.on_step(name, done, sampler.steps)
    return latent


def choose_grid(fine: Tensor, resolution: int, max_tokens: int) -> tuple[Tensor, int]:
    """Voxels of 512^3 (N, 4) on the latent grid of a resolution: (M, 4) unique, sorted rows.

    The resolution comes down in steps of 128 until there are fewer than max_tokens rows; 1024 is
    taken however many it has.
    """
    while True:
        coords = finer_nodes(fine, resolution)
        if len(coords) < max_tokens or resolution == MIN_RESOLUTION:
            return coords, resolution
        resolution -= RESOLUTION_STEP


def finer_nodes(fine: Tensor, resolution: int) -> Tensor:
    """Pixal3D's rule: cell centres of 512^3 to the nearest node of a grid that has its ends at the
    cube's faces, as projection has them; halves go to the even node. Rows sorted and unique."""
    nodes = resolution // LATENT_STRIDE - 1
    return _moved(fine, ((fine[:, 1:] + 0.5) / COARSE_RESOLUTION * nodes).round())


def finer_cells(fine: Tensor, resolution: int) -> Tensor:
    """TRELLIS.2's rule: cell centres of 512^3 to the cell that they lie in."""
    cells = resolution // LATENT_STRIDE
    return _moved(fine, ((fine[:, 1:] + 0.5) / COARSE_RESOLUTION * cells).floor())


def _moved(fine: Tensor, to: Tensor) -> Tensor:
    """Unique sorted rows; by one number per cell, since sorting rows is slow for millions."""
    coords = torch.cat([fine[:, :1], to.to(fine.dtype)], 1)
    codes, _ = voxel_codes(coords, margin=0)
    order = codes.argsort(stable=True)
    first = torch.ones_like(codes, dtype=torch.bool)
    first[1:] = codes[order][1:] != codes[order][:-1]
    return coords[order[first]]


def _noise(job: Job, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=job.random).to(job.device)
