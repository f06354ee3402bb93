"""Tint backend `dimmed`: darker by a factor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from stages.tint import TintBackend

from scene.types import ObjectMesh


@dataclass(frozen=True)
class Settings:
    """brightness: that is left, 0 to 1."""

    brightness: float = 0.5


@dataclass(frozen=True)
class Dimmed:
    """Darkens a texture."""

    settings: Settings

    def tint(self, mesh: ObjectMesh) -> ObjectMesh:
        """The mesh in the dark."""
        texture = (mesh.texture * self.settings.brightness).astype(np.uint8)
        return replace(mesh, texture=texture)


def load(settings: Settings, device: str) -> Dimmed:
    """Nothing to load."""
    return Dimmed(settings)


BACKEND = TintBackend(version="1", settings=Settings, load=load)
