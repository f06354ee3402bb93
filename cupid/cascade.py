"""How does a picture become a shape, its colours and the pose of its camera? One page of steps.

Order of steps and of random numbers: Cupid, commit 10af9b2, pipelines/pipeline.py. The pose is
found by `cupid.pose` where the reference has the direct linear transform alone. Several views of
one object have its latents in common (the paper's fusion, `cupid.velocity.SharedFlow`), and a UV
cube and a pose each; the release has no code for that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
from cupid.velocity import SharedFlow, latent_velocity, structure_velocity
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
    of the cameras, in sides of the image, estimated where None; a crop that looks along the
    camera's axis has it in its centre. poses: of the cameras, one for each image, where they are
    known: then none is estimated.
    """

    seed: int = 42
    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    principal_point: tuple[float, float] | None = (0.5, 0.5)
    poses: tuple[CubePose, ...] = ()


@dataclass(frozen=True, eq=False)
class Generated:
    """A decoded object in its canonical frame, z up, and the cameras that see it as in the images.

    vertices (V, 3) float32, the cube [-0.5, 0.5]^3; faces (F, 3) int64, outward; colours (V, 3)
    float32 in [0, 1]; poses: one for each image; resolution: of the cubes that it was extracted
    from.
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    poses: tuple[CubePose, ...]
    resolution: int

    @property
    def pose(self) -> CubePose:
        """That of the first image's camera."""
        return self.poses[0]


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
    images: Sequence[ObjectImage],
    checkpoint: Checkpoint,
    borrow: Borrow,
    options: GenerationOptions,
    device: str | torch.device = "cpu",
    on_step: StepCallback | None = None,
) -> Generated:
    """Generate one object; same inputs, seed and device give the same output.

    images: views of it, in any order. borrow lends the networks of the checkpoint on the device.
    Raises NothingMade when no structure or no surface is predicted, PoseNotFound (one of them) when
    a cube tells no pose; ValueError without an image, or for another number of known poses.
    """
    if not images or len(options.poses) not in (0, len(images)):
        raise ValueError(f"{len(options.poses)} known poses for {len(images)} images")
    # The reference draws from the CPU's generator, seeded once: the same numbers everywhere.
    random = torch.Generator().manual_seed(options.seed)
    job = Job(checkpoint, borrow, options, torch.device(device), random, on_step or silent)
    encoded_images = encode_images(job, images)
    voxels, cubes = generate_structure(job, encoded_images)
    poses = options.poses or tuple(find_pose(job, cube) for cube in cubes)
    latents = generate_latents(job, encoded_images, voxels, cubes[0].side, poses)
    return decode(job, voxels, latents, poses)


def encode_images(job: Job, images: Sequence[ObjectImage]) -> list[EncodedImage]:
    """The images' tokens, one pass of DINOv2 each."""
    encoded = []
    with job.borrow("image_encoder") as encoder:
        for image in images:
            tokens = encoder(image.tokens[None].to(job.device))
            patches = encoder.patch_map(tokens)[0]
            visual = image.visual.to(job.device)
            encoded.append(EncodedImage(ImageContext(tokens[0]), patches, visual))
    return encoded


def generate_structure(
    job: Job, encoded_images: Sequence[EncodedImage]
) -> tuple[Voxels, list[UvCube]]:
    """Which voxels the surface goes through, and where each of them appears in each image.

    All views start from the same noise, so that a view given twice counts as one.
    """
    shared = job.checkpoint.networks["structure_decoder"].spec.arguments["latent_channels"]
    with job.borrow("structure_flow") as flow:
        channels, side = flow.config.in_channels, flow.config.grid_size
        noise = torch.randn(1, channels, side, side, side, generator=job.random)
        rows = noise.flatten(2)[0].T.contiguous().to(job.device)
        views = [structure_velocity(flow, image.context) for image in encoded_images]
        rows = torch.cat((rows, rows[:, shared:].repeat(1, len(views) - 1)), 1)
        velocity = SharedFlow(views, shared)
        latent = sample_flow(job, "structure_flow", "structure", rows, velocity)
    shape = (1, -1, side, side, side)
    grids = [rows.T.reshape(shape) for rows in velocity.rows_of_views(latent)]
    with job.borrow("structure_decoder") as decoder:
        occupancy = decoder(grids[0][:, :shared])
    with job.borrow("uv_decoder") as decoder:
        logits = [decoder(grid[:, shared:]) for grid in grids]
    voxels = Voxels((occupancy[:, 0] > 0).nonzero().int())
    if len(voxels) == 0:
        raise NothingMade(
            "no structure was predicted for this picture: try another seed, or a cut-out in which "
            "the object is larger and clear of its background"
        )
    logger.info("structure: %d voxels of %d^3", len(voxels), occupancy.shape[-1])
    return voxels, [read_uv_cube(occupancy, cube) for cube in logits]


def find_pose(job: Job, cube: UvCube) -> CubePose:
    """The camera that explains the cube; PoseNotFound with the reason where none does."""
    coords, uv = cube.voxels.coords[:, 1:].cpu().numpy(), cube.uv.cpu().numpy()
    pose = pose_from_cube(coords, uv, cube.side, job.options.principal_point)
    logger.info("pose: focal length %.3f, confidence %.2f", pose.focal, pose.confidence)
    return pose


def generate_latents(
    job: Job,
    encoded_images: Sequence[EncodedImage],
    voxels: Voxels,
    side: int,
    poses: Sequence[CubePose],
) -> Tensor:
    """Structured latents (N, C) of the voxels of a grid of side^3, as the decoder knows them."""
    uv = [_uv_of(job, voxels, side, pose) for pose in poses]
    seen = list(zip(encoded_images, uv, strict=True))
    with job.borrow("latent_encoder") as encoder:
        features = [encoder(sample_map(image.patches, at), voxels) for image, at in seen]
    with job.borrow("latent_flow") as flow:
        channels = flow.config.in_channels
        noise = torch.randn(len(voxels), channels, generator=job.random)
        views = [
            latent_velocity(flow, voxels, image.context, encoded, image.visual, at)
            for (image, at), encoded in zip(seen, features, strict=True)
        ]
        velocity = SharedFlow(views, channels)
        latent = sample_flow(job, "latent_flow", "latent", noise.to(job.device), velocity)
    return job.checkpoint.latents.restored(latent)


def _uv_of(job: Job, voxels: Voxels, side: int, pose: CubePose) -> Tensor:
    """Where a camera sees the voxels' centres, (N, 2)."""
    intrinsics, camera_from_object = (
        torch.as_tensor(matrix, dtype=torch.float32).to(job.device)
        for matrix in (pose.intrinsics, pose.extrinsic)
    )
    return voxel_uv(voxels.coords[:, 1:], side, intrinsics, camera_from_object)


def decode(job: Job, voxels: Voxels, latents: Tensor, poses: tuple[CubePose, ...]) -> Generated:
    """The surface and its colours."""
    with job.borrow("mesh_decoder") as decoder:
        cubes = decoder(latents, voxels)
    mesh = extract_mesh(cubes)
    if len(mesh.faces) == 0:
        raise NothingMade(NO_SURFACE)
    colours = mesh.colours
    if colours is None:
        colours = torch.full_like(mesh.vertices, 0.5)
    return Generated(mesh.vertices, mesh.faces, colours, poses, cubes.resolution)


def sample_flow(job: Job, name: str, kind: str, noise: Tensor, velocity: SharedFlow) -> Tensor:
    """Sample one flow from noise (N, C) to latents (N, C); `kind` names its sampler."""
    sampler = job.options.samplers.get(kind, job.checkpoint.samplers[kind])
    latent = noise
    for done, step in enumerate(sample(velocity, noise, sampler, (len(noise),)), start=1):
        latent = step.x
        job.on_step(name, done, sampler.steps)
    return latent
