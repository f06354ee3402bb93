"""Generate: the crop of a completed object -> a textured mesh, pixel-aligned in that crop."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from scene.types import ObjectCrop, ObjectMesh

MAX_OUTSIDE_CUBE = 1.0  # long objects that point at the camera may leave the cube in depth


class Generator(Protocol):
    """What a generate backend does."""

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """A mesh in the object cube that projects onto the crop's silhouette."""
        ...


def run(generator: Generator, crop: ObjectCrop, seed: int) -> ObjectMesh:
    """Generate one object and check that the mesh is one that can be placed."""
    if not (crop.rgba[..., 3] > 127).any():
        raise ValueError("the object's crop is empty")
    mesh = generator.generate(crop, seed)
    if len(mesh.faces) == 0:
        raise ValueError("the generator made no surface")
    if not np.isfinite(mesh.vertices).all() or not np.isfinite(mesh.uv).all():
        raise ValueError("the generator made vertices that are not finite")
    reach = float(np.abs(mesh.vertices).max())
    if reach > 0.5 + MAX_OUTSIDE_CUBE:
        raise ValueError(
            f"the mesh reaches {reach:.2f} from its centre; the object cube ends at 0.5"
        )
    return mesh
