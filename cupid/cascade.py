"""How does a picture become a shape, its colours and the pose of its camera? One page of steps.

Order of steps and of random numbers: Cupid, commit 10af9b2, pipelines/pipeline.py. The pose is
found by `cupid.pose` where the reference has the direct linear transform alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cupid.checkpoints import Checkpoint
from cupid.conditioning import sample_map, voxel_uv
from cupid.context import ImageContext
from cupid.flexicubes import extract_mesh
from cupid.images import ObjectImage
from cupid.pose import CubePose, pose_from_cube
from cupid.uv_cube import UvCube, read_uv_cube
from cupid.velocity import GuidedFlow, latent_velocity, structure_velocity
from sparse3d.errors import NothingMade
from sparse3d.lending import Borrow, StepCallback, silent
from sparse3d.sampling import Sampler, sample
from sparse3d.voxels import Voxels

logger = logging.getLogger(__name__)

NO_SURFACE = "the latents of this picture have no surface: try another seed"


@dataclass(frozen=True)
class GenerationOptions:
    """What is asked of a generation.

    samplers: replace those of the checkpoint, by name ("structure", "latent"). principal_point:
    of the camera, in sides of the image, estimated where None; a crop that looks along the
    camera's axis has it in its centre. pose: of the camera, where it is known: then none is
    estimated.
    """

    seed: int = 42
    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    principal_point: tuple[float, float] | None = (0.5, 0.5)
    pose: CubePose | None = None


@dataclass(frozen=True, eq=False)
class Generated:
    """A decoded object in its canonical frame, z up, and the camera that sees it as in the image.

    vertices (V, 3) float32, the cube [-0.5, 0.5]^3; faces (F, 3) int64, outward; colours (V, 3)
    float32 in [0, 1]; resolution: of the cubes that it was extracted from.
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    pose: CubePose
    resolution: int


@dataclass(frozen=True, eq=False)
class Job:
    """One generation: with what, on which device, and its random numbers."""

    checkpoint: Checkpoint
    borrow: Borrow
    options: GenerationOptions
    device: torch.device
    random: torch.Generator
    on_step: StepCallback


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """context: the image's tokens; patches: (C, h, w), one feature per patch; visual: (3, S, S)."""

    context: ImageContext
    patches: Tensor
    visual: Tensor


@torch.inference_mode()
def run_cascade(
    image: ObjectImage,
    checkpoint: Checkpoint,
    borrow: Borrow,
    options: GenerationOptions,
    device: str | torch.device = "cpu",
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object; same inputs, seed and device give the same output.

    borrow lends the networks of the checkpoint on the device. Raises NothingMade when no structure
    or no surface is predicted, PoseNotFound (one of them) when the cube tells no pose.
    """
    # The reference draws from the CPU's generator, seeded once: the same numbers everywhere.
    random = torch.Generator().manual_seed(options.seed)
    job = Job(checkpoint, borrow, options, torch.device(device), random, on_step or silent)
    encoded_image = encode_image(job, image)
    voxels, cube = generate_structure(job, encoded_image)
    pose = options.pose or find_pose(job, cube)
    latents = generate_latents(job, encoded_image, voxels, cube.side, pose)
    return decode(job, voxels, latents, pose)


def encode_image(job: Job, image: ObjectImage) -> EncodedImage:
    """The image's tokens, one pass of DINOv2."""
    with job.borrow("image_encoder") as encoder:
        tokens = encoder(image.tokens[None].to(job.device))
        patches = encoder.patch_map(tokens)[0]
    return EncodedImage(ImageContext(tokens[0]), patches, image.visual.to(job.device))


def generate_structure(job: Job, encoded_image: EncodedImage) -> tuple[Voxels, UvCube]:
    """Which voxels the surface goes through, and where each of them appears in the image."""
    with job.borrow("structure_flow") as flow:
        channels, side = flow.config.in_channels, flow.config.grid_size
        noise = torch.randn(1, channels, side, side, side, generator=job.random)
        rows = noise.flatten(2)[0].T.contiguous().to(job.device)
        velocity = structure_velocity(flow, encoded_image.context)
        latent = sample_flow(job, "structure_flow", "structure", rows, velocity)
    grid = latent.T.reshape(noise.shape)
    with job.borrow("structure_decoder") as decoder:
        split = decoder.config.latent_channels
        occupancy = decoder(grid[:, :split])
    with job.borrow("uv_decoder") as decoder:
        logits = decoder(grid[:, split:])
    voxels = Voxels((occupancy[:, 0] > 0).nonzero().int())
    if len(voxels) == 0:
        raise NothingMade(
            "no structure was predicted for this picture: try another seed, or a cut-out in which "
            "the object is larger and clear of its background"
        )
    logger.info("structure: %d voxels of %d^3", len(voxels), occupancy.shape[-1])
    return voxels, read_uv_cube(occupancy, logits)


def find_pose(job: Job, cube: UvCube) -> CubePose:
    """The camera that explains the cube; PoseNotFound with the reason where none does."""
    coords, uv = cube.voxels.coords[:, 1:].cpu().numpy(), cube.uv.cpu().numpy()
    pose = pose_from_cube(coords, uv, cube.side, job.options.principal_point)
    logger.info("pose: focal length %.3f, confidence %.2f", pose.focal, pose.confidence)
    return pose


def generate_latents(
    job: Job, encoded_image: EncodedImage, voxels: Voxels, side: int, pose: CubePose
) -> Tensor:
    """Structured latents (N, C) of the voxels of a grid of side^3, as the decoder knows them."""
    intrinsics, camera_from_object = (
        torch.as_tensor(matrix, dtype=torch.float32).to(job.device)
        for matrix in (pose.intrinsics, pose.extrinsic)
    )
    uv = voxel_uv(voxels.coords[:, 1:], side, intrinsics, camera_from_object)
    with job.borrow("latent_encoder") as encoder:
        features = encoder(sample_map(encoded_image.patches, uv), voxels)
    with job.borrow("latent_flow") as flow:
        noise = torch.randn(len(voxels), flow.config.in_channels, generator=job.random)
        velocity = latent_velocity(
            flow, voxels, encoded_image.context, features, encoded_image.visual, uv
        )
        latent = sample_flow(job, "latent_flow", "latent", noise.to(job.device), velocity)
    return job.checkpoint.latents.restored(latent)


def decode(job: Job, voxels: Voxels, latents: Tensor, pose: CubePose) -> Generated:
    """The surface and its colours."""
    with job.borrow("mesh_decoder") as decoder:
        cubes = decoder(latents, voxels)
    mesh = extract_mesh(cubes)
    if len(mesh.faces) == 0:
        raise NothingMade(NO_SURFACE)
    colours = mesh.colours
    if colours is None:
        colours = torch.full_like(mesh.vertices, 0.5)
    return Generated(mesh.vertices, mesh.faces, colours, pose, cubes.resolution)


def sample_flow(job: Job, name: str, kind: str, noise: Tensor, velocity: GuidedFlow) -> Tensor:
    """Sample one flow from noise (N, C) to latents (N, C); `kind` names its sampler."""
    sampler = job.options.samplers.get(kind, job.checkpoint.samplers[kind])
    latent = noise
    for done, step in enumerate(sample(velocity, noise, sampler, (len(noise),)), start=1):
        latent = step.x
        job.on_step(name, done, sampler.steps)
    return latent
