"""Pixal3D: one picture of an object, or several posed ones, to a textured mesh.

Usable alone, with `sparse3d` and `meshes` beside it; needs torch, safetensors, NumPy and Pillow
(meshes also numba, fast-simplification and xatlas):

    checkpoint = pixal3d.open_checkpoint(Path("Pixal3D"))
    pictures = pixal3d.from_cutout(rgba, fov_x_rad=0.6)
    made = pixal3d.generate(pictures, checkpoint, device="cuda")
    mesh = pixal3d.bake(made.vertices, made.faces, made.attributes)
"""

from pixal3d.cascade import Generated, GenerationOptions
from pixal3d.checkpoints import Checkpoint, open_checkpoint
from pixal3d.generation import generate, keep_loaded, load_named
from pixal3d.images import (
    PosedImage,
    PosedImages,
    from_crop,
    from_cutout,
    from_views,
    read_views,
)
from pixal3d.precision import describe_precision
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
    "Generated",
    "NothingMade",
    "PosedImages",
    "PosedImage",
    "StepCallback",
    "GenerationOptions",
    "RuntimeOptions",
    "TexturedMesh",
    "VoxelAttributes",
    "WeightsError",
    "bake",
    "bake_cleaned",
    "clean_mesh",
    "coarsened",
    "computing_type",
    "describe_precision",
    "from_crop",
    "from_cutout",
    "from_views",
    "generate",
    "keep_loaded",
    "load_named",
    "open_checkpoint",
    "sample_attributes",
    "read_views",
]
