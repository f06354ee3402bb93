"""Generate backend `cupid`: a shape in a canonical frame, and the camera that sees it so.

The mesh is turned by its camera into the object frame of its crop, where it is pixel-aligned as
every other; its canonical pose goes with it.
"""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from scene.normals import smooth_normals
from scene.seams import is_closed
from scene.types import DenseMesh, Material, ObjectCrop, ObjectMesh
from stages.backends import Keeping
from stages.devices import NetworkPool, retrying_after_freeing
from stages.generate import GenerateBackend
from stages.generate.shared.canonical import posed_by_camera
from stages.generate.shared.released import (
    LIBRARIES,
    body_dtype,
    changed_samplers,
    check_limits,
    digest_of,
    log_steps,
    our_errors,
)
from stages.loans import after_the_loan
from stages.settings import local
from stages.weights import weights_folder

if TYPE_CHECKING:
    from torch import Tensor

    from cupid import (
        Checkpoint,
        CubePose,
        Generated,
        GenerationOptions,
        RuntimeOptions,
        TexturedMesh,
        VoxelAttributes,
    )

IMAGE_ENCODER = "dinov2-registers-large"  # the model of the table that the release lacks
REMEDY = "set generate.memory=one_at_a_time"
# What lies in a folder of weights, in the layout that `cupid.checkpoints` knows.
WEIGHT_FILES = ("pipeline.json", "ckpts/*.json", "ckpts/*.safetensors", "dinov2/*")
IMAGE_FILES = ("config.json", "model.safetensors")
# For a lockstep (`NetworkPool`): between these an object holds most, its image's features.
JOINED = (("structure_decoder", "uv_decoder"), ("latent_encoder", "latent_flow"))
DOUBTFUL = 0.5  # confidence of a pose below which the object says so
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """steps, guidance: of both flows, null as released; precision: of the networks' bodies
    (official on a CPU: float32); convolution: by torch or spconv; faces, texture_px: of the mesh
    that is kept; dense: whether the decoded surface is kept beside it, for the stage finish. model
    or weights: whose weights, or their folder; memory: whether networks stay on the device."""

    steps: int | None = None
    guidance: float | None = None
    precision: Literal["official", "bfloat16", "float32"] = "official"
    convolution: Literal["torch", "spconv"] = "torch"
    faces: int = 20000
    texture_px: int = 1024
    dense: bool = False
    model: Literal["cupid"] = local("cupid")
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        check_limits(self.steps, self.guidance, self.faces, self.texture_px)


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    folder = _folder(settings)
    return digest_of(folder, WEIGHT_FILES, _image_folder(folder), IMAGE_FILES)


@dataclass(frozen=True, eq=False)
class Decoded:
    """An object in main memory: its surface cleaned, and coarsened for the bake."""

    vertices: Tensor
    faces: Tensor
    coarse: tuple[Tensor, Tensor]
    attributes: VoxelAttributes
    pose: CubePose


@dataclass(frozen=True, eq=False)
class Cupid:
    """The released cascade over a folder of weights.

    loaded: the checkpoint and its networks, lent one by one, once they were wanted; busy: one
    object fills the machine, on a CPU too.
    """

    settings: Settings
    device: str
    folder: Path
    runtime: RuntimeOptions
    loaded: list[tuple[Checkpoint, NetworkPool]] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The mesh of one crop, which is not framed again, as the camera of its cube sees it."""
        with our_errors():
            return self._make(crop, seed)

    @property
    def held_bytes(self) -> int:
        """What the networks hold on the device now."""
        return sum(networks.held_bytes for _, networks in list(self.loaded))

    def release(self) -> None:
        """Let go of all networks; they are read again when they are wanted."""
        for _, networks in self.loaded:
            networks.release()

    def _make(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        kept = self.settings.memory == "keep"  # else one call at a time is lent the model
        with self.busy if kept else nullcontext():
            checkpoint, networks = self.checkpoint()
            options = generation_options(self.settings, seed, checkpoint)
            work = partial(self._work, crop, checkpoint, networks, options)
            decoded = retrying_after_freeing(work, self.release, "one object", REMEDY)
        with after_the_loan():
            return self._finish(decoded, crop)

    def _work(
        self,
        crop: ObjectCrop,
        checkpoint: Checkpoint,
        networks: NetworkPool,
        options: GenerationOptions,
    ) -> Decoded:
        """The decoded surface, cleaned on the device, and coarsened there."""
        from cupid import clean_mesh, coarsened, from_crop, generate, voxel_attributes

        borrow = partial(networks.borrow, keeping=self.settings.memory)
        image = from_crop(crop.rgba)
        made: Generated = generate(image, checkpoint, options, self.device, borrow, log_steps)
        logger.info("decoded %d faces", len(made.faces))
        vertices, faces = clean_mesh(made.vertices, made.faces)
        coarse = coarsened(vertices, faces, self.settings.faces)
        found = voxel_attributes(made)
        attributes = replace(found, coords=found.coords.cpu(), values=found.values.cpu())
        on_cpu = (coarse[0].cpu(), coarse[1].cpu())
        return Decoded(vertices.cpu(), faces.cpu(), on_cpu, attributes, made.pose)

    def _finish(self, made: Decoded, crop: ObjectCrop) -> ObjectMesh:
        from cupid import bake_cleaned, sample_attributes

        px, faces = self.settings.texture_px, self.settings.faces
        baked = bake_cleaned(made.vertices, made.faces, made.attributes, px, faces, made.coarse)
        mesh = object_mesh(baked, _notes(made.pose))
        if self.settings.dense:
            values = sample_attributes(made.attributes, made.vertices)
            mesh = replace(mesh, dense=dense_mesh(made.vertices, made.faces, values))
        pose = made.pose
        return posed_by_camera(
            mesh, pose.rotation, pose.translation, pose.focal, pose.confidence, crop.camera
        )

    def checkpoint(self) -> tuple[Checkpoint, NetworkPool]:
        """The checkpoint, opened when first wanted, and the pool of its networks."""
        if not self.loaded:
            from cupid import load_named, open_checkpoint

            opened = open_checkpoint(self.folder, _image_folder(self.folder))
            read = partial(load_named, opened, runtime=self.runtime, computing_device=self.device)
            self.loaded.append((opened, NetworkPool(read, self.device, JOINED)))
        return self.loaded[0]


def object_mesh(mesh: TexturedMesh, notes: tuple[str, ...] = ()) -> ObjectMesh:
    """A baked mesh with its material, in the frame that it was baked in."""
    material = Material(double_sided=not is_closed(mesh.vertices, mesh.faces))  # matt
    normals = smooth_normals(mesh.vertices, mesh.faces)
    return ObjectMesh(
        mesh.vertices, mesh.faces, mesh.uv, mesh.base_colour, notes, material, normals
    )


def dense_mesh(vertices: Tensor, faces: Tensor, values: Tensor) -> DenseMesh:
    """A decoded surface, vertices (V, 3), faces (M, 3), values (V, 6), in the same frame."""
    levels = (values * 255).clamp(0, 255).byte().numpy()
    return DenseMesh(vertices.numpy(), faces.numpy().astype(np.int32), levels)


def load(settings: Settings, device: str) -> Cupid:
    """Weights are read when they are first wanted, so that a wrong folder fails the first call."""
    return Cupid(settings, device, _folder(settings), _runtime_options(settings))


def _folder(settings: Settings) -> Path:
    return weights_folder(settings.weights, settings.model, "generate")


def _image_folder(folder: Path) -> Path:
    """Where DINOv2 is: in the folder, or where it was pulled alone."""
    own = folder / "dinov2"
    return own if own.is_dir() else weights_folder("", IMAGE_ENCODER, "generate")


def _runtime_options(settings: Settings) -> RuntimeOptions:
    from cupid import RuntimeOptions

    return RuntimeOptions(body_dtype(settings.precision), settings.convolution)


def generation_options(settings: Settings, seed: int, checkpoint: Checkpoint) -> GenerationOptions:
    """Steps and guidance replace those of both flows."""
    from cupid import GenerationOptions

    samplers = changed_samplers(checkpoint.samplers, settings.steps, settings.guidance)
    return GenerationOptions(seed, samplers)


def _notes(pose: CubePose) -> tuple[str, ...]:
    if pose.confidence >= DOUBTFUL:
        return ()
    return (f"the camera's pose has a confidence of {pose.confidence:.2f} of 1: try another seed",)


BACKEND = GenerateBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("precision", "convolution", "model", "weights"),
    held=lambda cupid: cupid,
    lockstep=True,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (settings.model,),
    weights_folder=lambda settings: settings.weights,
    libraries=LIBRARIES,
)
