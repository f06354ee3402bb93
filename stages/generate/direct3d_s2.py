"""Generate backend `direct3d_s2`: a shape by a sparse signed distance field, in photo colours.

With the public weights its mesh is canonical: the stage place finds its pose. With layers of a
back-projection beside them it is pixel-aligned, as in Pixal3D's paper; no such file is public.
"""

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

from alignment.visible import generator_distance
from scene.errors import BadInput
from scene.normals import smooth_normals
from scene.seams import is_closed
from scene.types import DenseMesh, Material, ObjectCrop, ObjectMesh, PosedView, Similarity
from stages.backends import Keeping
from stages.devices import NetworkPool, retrying_after_freeing
from stages.generate import GenerateBackend
from stages.generate.shared.canonical import facing_camera
from stages.generate.shared.moved import transformed
from stages.generate.shared.photo_colours import GRID, mean_values, photo_values, voxels_of
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
from stages.weights import MissingWeights, weights_folder

if TYPE_CHECKING:
    from torch import Tensor

    from direct3d_s2 import (
        Checkpoint,
        Generated,
        GenerationOptions,
        ObjectImage,
        RuntimeOptions,
        View,
    )

IMAGE_ENCODER = "dinov2-registers-large"  # the model of the table that the release lacks
REMEDY = "set generate.resolution=512 or generate.memory=one_at_a_time"
# What lies in a folder of weights, in the layout that `direct3d_s2.checkpoints` knows.
WEIGHT_FILES = (
    "config.yaml", "*.safetensors", "naf*", "dinov2*/*", "direct3d-s2-v-1-*/config.yaml",
    "direct3d-s2-v-1-*/*.safetensors",
)  # fmt: skip
IMAGE_FILES = ("config.json", "model.safetensors")
# Both releases are in one repository, each in a folder of its own.
RELEASES = {"direct3d-s2": "direct3d-s2-v-1-1", "direct3d-s2-v1.0": "direct3d-s2-v-1-0"}
BACK_PROJECTION = ("back_projection.safetensors", "direct3d-s2-v-1-*/back_projection.safetensors")
CANONICAL = (
    "without back_projection.safetensors, which is nowhere public, its meshes are canonical: "
    "placed by their shape and graded at most check"
)
# For a lockstep (`NetworkPool`): between these an object holds most, its decoded field.
JOINED = (("sdf_decoder_512", "refiner"), ("sdf_decoder_1024", "refiner_1024"))
REVISITED = ("upsampler", "back_projection")
# The cube has y up and z towards the camera, as glTF has them.
OBJECT_FROM_CUBE = np.diag([1.0, -1.0, -1.0])
NO_COLOURS = "the generator makes no colours: they are the photo's, and guessed where it shows none"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """resolution: 512 or 1024 values along the cube's side; steps, guidance: of all stages, null as
    released; precision: of the networks' bodies (official on a CPU: float32); faces, texture_px: of
    the mesh that is kept; dense: whether the whole surface is kept beside it, for the stage finish.
    model or weights: which release's weights, or their folder; memory: whether networks stay on
    the device."""

    resolution: Literal[512, 1024] = 1024
    steps: int | None = None
    guidance: float | None = None
    precision: Literal["official", "bfloat16", "float32"] = "official"
    faces: int = 20000
    texture_px: int = 1024
    dense: bool = False
    model: Literal["direct3d-s2", "direct3d-s2-v1.0"] = local("direct3d-s2")
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        check_limits(self.steps, self.guidance, self.faces, self.texture_px)


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    folder = _folder(settings)
    return digest_of(folder, WEIGHT_FILES, _image_folder(folder), IMAGE_FILES)


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface in main memory, cleaned, and coarsened for the bake, in the generator's cube."""

    vertices: Tensor
    faces: Tensor
    coarse: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Direct3D:
    """The cascade over a folder of weights.

    loaded: the checkpoint and its networks, lent one by one, once they were needed; busy: one
    object fills the machine, on a CPU too.
    """

    settings: Settings
    device: str
    folder: Path
    runtime: RuntimeOptions
    loaded: list[tuple[Checkpoint, NetworkPool]] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The mesh of one crop: pixel-aligned in it, or canonical, by what the weights are."""
        from direct3d_s2 import back_face_distance, framed, front_view

        checkpoint, _ = self.checkpoint()
        fov_x_rad = crop.camera.camera.fov_x_rad
        with our_errors():
            if not checkpoint.pixel_aligned:
                surface = self._surface(framed(crop.rgba, checkpoint.image_size), seed)
            else:
                view = front_view(crop.rgba, fov_x_rad, checkpoint.image_size)
                surface = self._surface([view], seed)
        with after_the_loan():
            if not checkpoint.pixel_aligned:
                return facing_camera(self._mesh(surface, crop.rgba), OBJECT_FROM_CUBE)
            pose = object_from_cube(back_face_distance(fov_x_rad), generator_distance(crop.camera))
            return transformed(self._mesh(surface, crop.rgba, (crop, pose)), pose)

    def generate_from_views(
        self, views: Sequence[PosedView], mesh_scale: float, seed: int
    ) -> ObjectMesh:
        """The mesh of posed views, by pixel-aligned networks alone."""
        from direct3d_s2 import posed_views

        checkpoint, _ = self.checkpoint()
        if not checkpoint.pixel_aligned:
            raise BadInput(
                "direct3d_s2 takes one image with these weights: several views need "
                "back_projection.safetensors, which is not public"
            )
        posed = [(v.rgba, v.fov_x_rad, v.world_from_camera) for v in views]
        with our_errors(BadInput):
            images = posed_views(posed, checkpoint.image_size, mesh_scale)
            surface = self._surface(images, seed)
        with after_the_loan():
            mesh = self._mesh(surface, views[0].rgba)
            return transformed(mesh, Similarity(1.0, OBJECT_FROM_CUBE, np.zeros(3)))

    @property
    def held_bytes(self) -> int:
        """What the networks hold on the device now."""
        return sum(networks.held_bytes for _, networks in list(self.loaded))

    def release(self) -> None:
        """Let go of all networks; they are read again when they are needed."""
        for _, networks in self.loaded:
            networks.release()

    def checkpoint(self) -> tuple[Checkpoint, NetworkPool]:
        """The checkpoint, opened when first needed, and the pool of its networks."""
        if not self.loaded:
            from direct3d_s2 import load_named, open_checkpoint

            opened = open_checkpoint(self.folder, _image_folder(self.folder))
            read = partial(load_named, opened, runtime=self.runtime, computing_device=self.device)
            self.loaded.append((opened, NetworkPool(read, self.device, JOINED, REVISITED)))
        return self.loaded[0]

    def _surface(self, images: ObjectImage | Sequence[View], seed: int) -> Surface:
        kept = self.settings.memory == "keep"  # else one call at a time is lent the model
        with self.busy if kept else nullcontext():
            checkpoint, networks = self.checkpoint()
            options = generation_options(self.settings, seed, checkpoint)
            what = f"resolution {options.resolution}"
            work = partial(self._work, images, checkpoint, networks, options)
            return retrying_after_freeing(work, self.release, what, REMEDY)

    def _work(
        self,
        images: ObjectImage | Sequence[View],
        checkpoint: Checkpoint,
        networks: NetworkPool,
        options: GenerationOptions,
    ) -> Surface:
        """The surface, cleaned and coarsened on the device."""
        from direct3d_s2 import generate
        from sparse3d.mesh_repair import clean_mesh
        from sparse3d.simplify import coarsened

        borrow = partial(networks.borrow, keeping=self.settings.memory)
        made: Generated = generate(images, checkpoint, options, self.device, borrow, log_steps)
        logger.info("decoded %d faces at resolution %d", len(made.faces), made.resolution)
        vertices, faces = clean_mesh(made.vertices.to(self.device), made.faces.to(self.device))
        coarse = coarsened(vertices, faces, self.settings.faces)
        return Surface(vertices.cpu(), faces.cpu(), (coarse[0].cpu(), coarse[1].cpu()))

    def _mesh(
        self,
        surface: Surface,
        rgba: np.ndarray,
        aligned: tuple[ObjectCrop, Similarity] | None = None,
    ) -> ObjectMesh:
        """The surface with its colours, in the cube: the crop's by its pose, or the mean."""
        import torch

        from sparse3d.surface import VoxelAttributes, bake_cleaned, sample_attributes

        points = surface.vertices.numpy()
        coords, row = voxels_of(points)
        if aligned is None:
            values = mean_values(len(coords), rgba)
        else:
            crop, pose = aligned
            values = photo_values(pose.apply(points).astype(np.float32), row, crop)
        attributes = VoxelAttributes(torch.from_numpy(coords), torch.from_numpy(values), GRID)
        px, faces = self.settings.texture_px, self.settings.faces
        baked = bake_cleaned(surface.vertices, surface.faces, attributes, px, faces, surface.coarse)
        mesh = ObjectMesh(
            baked.vertices, baked.faces, baked.uv, baked.base_colour, (NO_COLOURS,),
            Material(double_sided=not is_closed(baked.vertices, baked.faces)),
            smooth_normals(baked.vertices, baked.faces),
        )  # fmt: skip
        if not self.settings.dense:
            return mesh
        levels = (sample_attributes(attributes, surface.vertices) * 255).clamp(0, 255).byte()
        faces_32 = surface.faces.numpy().astype(np.int32)
        return replace(mesh, dense=DenseMesh(points, faces_32, levels.numpy()))


def object_from_cube(cube_distance: float, crop_distance: float) -> Similarity:
    """From the generator's cube to the object frame, both seen by one camera.

    cube_distance: where the generator has its cube's centre (its back face fills the image),
    crop_distance: where the crop has the object's (its centre plane does). A scale about the
    camera moves no pixel; this one puts one centre where the other is.
    """
    scale = crop_distance / cube_distance
    return Similarity(scale, OBJECT_FROM_CUBE, np.zeros(3))


def load(settings: Settings, device: str) -> Direct3D:
    """Weights are read when they are first needed, so that a wrong folder fails the first call."""
    return Direct3D(settings, device, _folder(settings), _runtime_options(settings))


def _folder(settings: Settings) -> Path:
    """The user's own folder, or that of the release."""
    folder = weights_folder(settings.weights, settings.model, "generate")
    return folder if settings.weights else folder / RELEASES[settings.model]


def _image_folder(folder: Path) -> Path:
    """Where DINOv2 is: in the folder, or where it was pulled alone."""
    own = next(folder.glob("dinov2*/config.json"), None)
    return folder if own else weights_folder("", IMAGE_ENCODER, "generate")


def limits(settings: Settings) -> tuple[str, ...]:
    """What these weights do not make, or those to be pulled would not."""
    try:
        folder = _folder(settings)
    except (BadInput, MissingWeights):
        return (CANONICAL,)
    return () if any(any(folder.glob(name)) for name in BACK_PROJECTION) else (CANONICAL,)


def _runtime_options(settings: Settings) -> RuntimeOptions:
    from direct3d_s2 import RuntimeOptions

    return RuntimeOptions(body_dtype(settings.precision))


def generation_options(settings: Settings, seed: int, checkpoint: Checkpoint) -> GenerationOptions:
    """Steps and guidance replace those of every stage."""
    from direct3d_s2 import GenerationOptions

    samplers = changed_samplers(checkpoint.samplers, settings.steps, settings.guidance)
    return GenerationOptions(settings.resolution, seed, samplers)


BACKEND = GenerateBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("precision", "model", "weights"),
    held=lambda direct3d: direct3d,
    lockstep=True,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (settings.model,),
    weights_folder=lambda settings: settings.weights,
    libraries=LIBRARIES,
    limits=limits,
    # The rule for its camera puts it into the cube from 53 degrees on; a narrow one is the paper's.
    fov_range_deg=(5.0, 40.0),
)
