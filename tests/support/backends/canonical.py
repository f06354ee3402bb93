"""Generate backend `canonical` of the tests: the letter F in a canonical frame, posed or not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alignment.visible import generator_distance
from scene.types import ObjectCrop, ObjectMesh
from stages.generate import GenerateBackend
from stages.generate.shared.canonical import FRONT, facing_camera, posed_by_camera
from support.shapes import letter_f


@dataclass(frozen=True)
class Settings:
    """posed: whether the camera's pose is reported beside the mesh."""

    posed: bool = True


@dataclass(frozen=True)
class Canonical:
    settings: Settings

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The same upright F for every crop."""
        letter = letter_f()
        mesh = replace(letter, vertices=(letter.vertices @ FRONT).astype(np.float32))
        if not self.settings.posed:
            return facing_camera(mesh)
        focal = generator_distance(crop.camera)
        return posed_by_camera(mesh, FRONT, np.array([0, 0, focal]), focal, 0.9, crop.camera)


def load(settings: Settings, device: str) -> Canonical:
    """Nothing to load."""
    return Canonical(settings)


BACKEND = GenerateBackend(version="1", settings=Settings, load=load)
