"""Cupid: one picture of an object to its shape in a canonical frame, and the camera that saw it.

Usable alone, with `sparse3d` and `meshes` beside it; needs torch, safetensors, NumPy, SciPy and
Pillow (textured meshes also numba, fast-simplification and xatlas):

    checkpoint = cupid.open_checkpoint(Path("Cupid"))
    made = cupid.generate(cupid.from_cutout(rgba), checkpoint, device="cuda")
    mesh = cupid.bake(made.vertices, made.faces, cupid.voxel_attributes(made))
    made.pose.extrinsic, made.pose.intrinsics  # of the crop
"""

from cupid.cascade import Generated, GenerationOptions
from cupid.checkpoints import Checkpoint, open_checkpoint
from cupid.colours import voxel_attributes
from cupid.generation import generate, keep_loaded, load_named
from cupid.images import ObjectImage, from_crop, from_cutout
from cupid.pose import CubePose, PoseNotFound, pose_from_cube
from sparse3d.errors import BadConfiguration, BadImage, CannotRun, NothingMade
from sparse3d.lending import Borrow, RuntimeOptions, StepCallback, computing_type
from sparse3d.mesh_repair import clean_mesh
from sparse3d.simplify import coarsened
from sparse3d.surface import (
    TexturedMesh,
    VoxelAttributes,
    bake,
    bake_cleaned,
    sample_attributes,
)
from sparse3d.weights import WeightsError

__all__ = [
    "BadConfiguration",
    "BadImage",
    "Borrow",
    "CannotRun",
    "Checkpoint",
    "CubePose",
    "Generated",
    "GenerationOptions",
    "NothingMade",
    "ObjectImage",
    "PoseNotFound",
    "RuntimeOptions",
    "StepCallback",
    "TexturedMesh",
    "VoxelAttributes",
    "WeightsError",
    "bake",
    "bake_cleaned",
    "clean_mesh",
    "coarsened",
    "computing_type",
    "from_crop",
    "from_cutout",
    "generate",
    "keep_loaded",
    "load_named",
    "open_checkpoint",
    "pose_from_cube",
    "sample_attributes",
    "voxel_attributes",
]
