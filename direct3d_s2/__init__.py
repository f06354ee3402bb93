"""Direct3D-S2: one image of an object to a mesh, by a sparse signed distance field.

Usable alone, with `sparse3d` and `meshes` beside it; needs torch, safetensors, NumPy, Pillow and
PyYAML:

    checkpoint = direct3d_s2.open_checkpoint(Path("Direct3D-S2"))
    image = direct3d_s2.framed(rgba, checkpoint.image_size)
    made = direct3d_s2.generate(image, checkpoint, device="cuda")
"""

from direct3d_s2.cascade import Generated, GenerationOptions
from direct3d_s2.checkpoints import Checkpoint, open_checkpoint
from direct3d_s2.conversion import convert
from direct3d_s2.generation import generate, load_named
from direct3d_s2.images import (
    ObjectImage,
    View,
    back_face_distance,
    framed,
    front_view,
    posed_views,
)
from direct3d_s2.schedule import Sampler
from sparse3d.errors import BadConfiguration, BadImage, CannotRun, NothingMade
from sparse3d.lending import Borrow, RuntimeOptions, StepCallback, computing_type
from sparse3d.weights import WeightsError

__all__ = [
    "BadConfiguration",
    "BadImage",
    "Borrow",
    "CannotRun",
    "Checkpoint",
    "Generated",
    "GenerationOptions",
    "NothingMade",
    "ObjectImage",
    "RuntimeOptions",
    "Sampler",
    "StepCallback",
    "View",
    "WeightsError",
    "back_face_distance",
    "computing_type",
    "convert",
    "framed",
    "front_view",
    "generate",
    "load_named",
    "open_checkpoint",
    "posed_views",
]
