"""Generate backend `pixal3d`: the released image-to-3D networks, from a folder of their weights."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from scene.errors import BadInput
from scene.frames import gltf_from_opencv
from scene.material import alpha_without_noise
from scene.normals import smooth_normals
from scene.seams import is_closed
from scene.types import DenseMesh, Material, ObjectCrop, ObjectMesh, PosedView
from stages.backends import Keeping
from stages.devices import NetworkPool, retrying_after_freeing
from stages.generate import GenerateBackend
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

    from pixal3d import (
        Checkpoint,
        Generated,
        GenerationOptions,
        PosedImages,
        RuntimeOptions,
        TexturedMesh,
    )

IMAGE_NETWORKS = "pixal3d-image-networks"  # the model of the table that a release lacks
REMEDY = "lower generate.resolution, or set generate.memory=one_at_a_time"
# What lies in a folder of weights, in the layouts that `pixal3d.checkpoints` knows.
WEIGHT_FILES = (
    "pipeline*.json", "ckpts/*.json", "ckpts/*.safetensors", "dinov3*/*.json",
    "dinov3*/*.safetensors", "naf.*", "naf_release.pth", "dino_v3_L_naf_fp32.safetensors",
    "diffusion_models/pixal3d*.safetensors", "clip_vision/dino_v3*.safetensors",
    "vae/trellis_2*.safetensors",
)  # fmt: skip
IMAGE_FILES = ("dino_v3_L_naf_fp32.safetensors", "clip_vision/dino_v3*.safetensors", "dinov3*/*")
# For a lockstep (`NetworkPool`). Between these an object holds most: the conditioning of a flow
# (49152 tokens of 2048 channels are 0.4 GB), and the decoded voxels.
JOINED = (
    ("upsampler", "shape_flow_512"), ("upsampler", "shape_flow_1024"),
    ("upsampler", "texture_flow_1024"), ("shape_decoder", "texture_decoder"),
)  # fmt: skip
REVISITED = ("upsampler", "shape_decoder")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """resolution: 1024 or 1536 voxels along the cube's side; steps, guidance: null as released;
    max_tokens: voxels above which the resolution is lowered; precision: of the networks' bodies
    (official on a CPU: float32); convolution: by torch or spconv; compiled: flows by torch.compile;
    faces, texture_px: of the mesh that is kept; dense: whether the decoded surface is kept beside
    it, for the stage finish. model or weights: whose weights, or their folder; memory: whether
    networks stay on the device."""

    resolution: Literal[1024, 1536] = 1024
    steps: int | None = None
    guidance: float | None = None
    max_tokens: int = 49152
    precision: Literal["official", "bfloat16", "float32"] = "official"
    convolution: Literal["torch", "spconv"] = "torch"
    compiled: bool = False
    faces: int = 20000
    texture_px: int = 1024
    dense: bool = False
    model: Literal["pixal3d", "pixal3d-released"] = local("pixal3d")
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        check_limits(self.steps, self.guidance, self.faces, self.texture_px)
        if self.max_tokens < 1:
            raise BadInput(f"max_tokens: expected at least 1, got {self.max_tokens}")


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    folder = _folder(settings)
    return digest_of(folder, WEIGHT_FILES, _image_folder(folder), IMAGE_FILES)


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint:
    """A checkpoint and its networks, lent one by one."""

    checkpoint: Checkpoint
    networks: NetworkPool


@dataclass(frozen=True, eq=False)
class Pixal3D:
    """The released cascade over a folder of weights.

    checkpoints: for several views and for one, opened when first wanted; busy: one object fills the
    machine, on a CPU too.
    """

    settings: Settings
    device: str
    folder: Path
    runtime: RuntimeOptions
    checkpoints: dict[bool, LoadedCheckpoint] = field(default_factory=dict)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The mesh of one crop, aligned with its pixels: the crop is not framed again."""
        from pixal3d import from_crop

        with our_errors():
            return self._make(from_crop(crop.rgba, crop.camera.camera.fov_x_rad), seed)

    def generate_from_views(
        self, views: Sequence[PosedView], mesh_scale: float, seed: int
    ) -> ObjectMesh:
        """The mesh of posed views, by the networks that were trained on several."""
        from pixal3d import PosedImage, from_views

        posed = [PosedImage(v.rgba, v.fov_x_rad, v.world_from_camera) for v in views]
        with our_errors(BadInput):
            return self._make(from_views(posed, mesh_scale), seed)

    @property
    def held_bytes(self) -> int:
        """What the networks hold on the device now."""
        return sum(loaded.networks.held_bytes for loaded in list(self.checkpoints.values()))

    def release(self) -> None:
        """Let go of all networks; they are read again when they are wanted."""
        for loaded in self.checkpoints.values():
            loaded.networks.release()

    def _make(self, posed_images: PosedImages, seed: int) -> ObjectMesh:
        kept = self.settings.memory == "keep"  # else one call at a time is lent the model
        with self.busy if kept else nullcontext():
            loaded = self.loaded_checkpoint(len(posed_images.views) > 1)
            options = generation_options(self.settings, seed, loaded.checkpoint)
            what = f"resolution {options.resolution}"
            work = partial(self._work, loaded, posed_images, options)
            made, coarse = retrying_after_freeing(work, self.release, what, REMEDY)
        with after_the_loan():
            return self._finish(made, coarse, options)

    def _work(
        self, loaded: LoadedCheckpoint, posed_images: PosedImages, options: GenerationOptions
    ) -> tuple[Generated, tuple[Tensor, Tensor]]:
        """The decoded surface, cleaned on the device, and coarsened there; both in main memory."""
        from pixal3d import clean_mesh, coarsened, generate

        borrow = partial(loaded.networks.borrow, keeping=self.settings.memory)
        made = generate(posed_images, loaded.checkpoint, options, self.device, borrow, log_steps)
        logger.info("decoded %d faces at resolution %d", len(made.faces), made.resolution)
        vertices, faces = clean_mesh(made.vertices, made.faces)
        coarse = coarsened(vertices, faces, self.settings.faces)
        coords, values = made.attributes.coords.cpu(), made.attributes.values.cpu()
        attributes = replace(made.attributes, coords=coords, values=values)
        made = replace(made, vertices=vertices.cpu(), faces=faces.cpu(), attributes=attributes)
        return made, (coarse[0].cpu(), coarse[1].cpu())

    def _finish(
        self, made: Generated, coarse: tuple[Tensor, Tensor], options: GenerationOptions
    ) -> ObjectMesh:
        from pixal3d import bake_cleaned, sample_attributes

        px, faces = self.settings.texture_px, self.settings.faces
        baked = bake_cleaned(made.vertices, made.faces, made.attributes, px, faces, coarse)
        mesh = object_mesh(baked, _notes(options, made.resolution))
        if not self.settings.dense:
            return mesh
        values = sample_attributes(made.attributes, made.vertices)
        return replace(mesh, dense=dense_mesh(made.vertices, made.faces, values))

    def loaded_checkpoint(self, several_views: bool) -> LoadedCheckpoint:
        """Networks for one view or for several."""
        if several_views not in self.checkpoints:
            from pixal3d import computing_type, describe_precision, load_named, open_checkpoint

            images = _image_folder(self.folder)
            checkpoint = open_checkpoint(self.folder, several_views, images)
            body_dtype = computing_type(self.runtime, self.device)
            logger.info("%s", describe_precision(checkpoint, body_dtype))
            read = partial(
                load_named, checkpoint, runtime=self.runtime, computing_device=self.device
            )
            self.checkpoints[several_views] = LoadedCheckpoint(
                checkpoint, NetworkPool(read, self.device, JOINED, REVISITED)
            )
        return self.checkpoints[several_views]


def object_mesh(mesh: TexturedMesh, notes: tuple[str, ...] = ()) -> ObjectMesh:
    """A mesh of Pixal3D's grid frame in the object frame.

    The grid has glTF's axes: x right, y up, z toward the viewer.
    """
    vertices = gltf_from_opencv(mesh.vertices).astype(np.float32)
    material = Material(
        alpha_without_noise(mesh.alpha),
        mesh.metallic_roughness,
        double_sided=not is_closed(vertices, mesh.faces),
    )
    normals = smooth_normals(vertices, mesh.faces)
    return ObjectMesh(vertices, mesh.faces, mesh.uv, mesh.base_colour, notes, material, normals)


def dense_mesh(vertices: Tensor, faces: Tensor, values: Tensor) -> DenseMesh:
    """A decoded surface, vertices (V, 3), faces (M, 3), values (V, 6), in the object frame."""
    levels = (values * 255).clamp(0, 255).byte().cpu().numpy()
    points = gltf_from_opencv(vertices.cpu().numpy()).astype(np.float32)
    return DenseMesh(points, faces.cpu().numpy().astype(np.int32), levels)


def load(settings: Settings, device: str) -> Pixal3D:
    """Weights are read when they are first wanted, so that a wrong folder fails the first call."""
    folder = _folder(settings)
    return Pixal3D(settings, device, folder, _runtime_options(settings))


def _folder(settings: Settings) -> Path:
    return weights_folder(settings.weights, settings.model, "generate")


def _image_folder(folder: Path) -> Path:
    """Where image encoder and upsampler are: in the folder, or where they were pulled alone."""
    if any(next(folder.glob(pattern), None) for pattern in IMAGE_FILES):
        return folder
    return weights_folder("", IMAGE_NETWORKS, "generate")


def _runtime_options(settings: Settings) -> RuntimeOptions:
    from pixal3d import RuntimeOptions

    return RuntimeOptions(body_dtype(settings.precision), settings.convolution, settings.compiled)


def generation_options(settings: Settings, seed: int, checkpoint: Checkpoint) -> GenerationOptions:
    """Steps replace those of every stage; guidance only that of stages that are guided at all."""
    from pixal3d import GenerationOptions

    samplers = changed_samplers(checkpoint.samplers, settings.steps, settings.guidance)
    return GenerationOptions(settings.resolution, seed, settings.max_tokens, samplers)


def _notes(options: GenerationOptions, resolution: int) -> tuple[str, ...]:
    if resolution == options.resolution:
        return ()
    limit = f"more than {options.max_tokens} voxels at resolution {options.resolution}"
    return (f"{limit}: made at {resolution} (generate.max_tokens)",)


BACKEND = GenerateBackend(
    version="5",
    settings=Settings,
    load=load,
    loading=("precision", "convolution", "compiled", "model", "weights"),
    held=lambda pixal3d: pixal3d,
    lockstep=True,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (settings.model,),
    weights_folder=lambda settings: settings.weights,
    libraries=LIBRARIES,
    fov_range_deg=(10.0, 70.0),  # of the pictures that it was trained on
)
