"""Generate backend `billboard`: a flat card cut to the outline, the baseline for all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.errors import BadInput
from scene.types import ObjectCrop, ObjectMesh
from stages.generate import GenerateBackend
from stages.generate.shared.lattice import bleed_colours
from stages.generate.shared.outline import triangulate_outline
from stages.generate.shared.sheets import close_sheets


@dataclass(frozen=True)
class Settings:
    """grid: cells along the crop's side; thickness: of the card, as a share of its distance."""

    grid: int = 96
    thickness: float = 0.005

    def __post_init__(self) -> None:
        if not 8 <= self.grid <= 1024:
            raise BadInput(f"grid: expected 8 to 1024, got {self.grid}")
        if not 0 < self.thickness <= 0.1:
            raise BadInput(f"thickness: expected 0 to 0.1, got {self.thickness:g}")


@dataclass(frozen=True)
class Billboard:
    """A generator without weights."""

    settings: Settings

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The card of one crop; neither depth nor the seed has anything to decide here."""
        grid = self.settings.grid
        outline = triangulate_outline(crop.rgba[..., 3], grid)
        front = np.ones((grid + 1, grid + 1))
        vertices, faces = close_sheets(outline, front, front + self.settings.thickness, crop)
        uv = np.concatenate([outline.points, outline.points[outline.interior]]) / grid
        return ObjectMesh(vertices, faces, uv.astype(np.float32), bleed_colours(crop.rgba))


def load(settings: Settings, device: str) -> Billboard:
    """Nothing to load; runs on the CPU whatever the device."""
    return Billboard(settings)


BACKEND = GenerateBackend(version="1", settings=Settings, load=load)
