"""Generate backend `relief`: the measured front, closed by a mirrored or inflated back.

No learned prior: what the point map shows is kept, what it does not show is guessed by symmetry.
The outline comes from the crop's alpha by marching squares, so it is exact to a fraction of a cell
and the mesh is closed by construction: front and back share the vertices of the outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.errors import BadInput, CannotGenerate
from scene.morphology import dilated, eroded, square
from scene.types import Bool, Float64, ObjectCrop, ObjectMesh
from stages.generate import GenerateBackend
from stages.generate.shared.lattice import (
    bleed_colours,
    distance_from_rim,
    harmonic_fill,
    lattice_inverse_depth,
)
from stages.generate.shared.outline import triangulate_outline
from stages.generate.shared.sheets import close_sheets


@dataclass(frozen=True)
class Settings:
    """grid: cells along the crop's side; depth_ratio: depth of an inflated back over its half width
    where the front gives no hint; min_thickness: of the object's size, so that nothing is flat."""

    grid: int = 128
    depth_ratio: float = 0.6
    min_thickness: float = 0.01

    def __post_init__(self) -> None:
        if not 8 <= self.grid <= 1024:
            raise BadInput(f"grid: expected 8 to 1024, got {self.grid}")
        if not 0 <= self.depth_ratio <= 5:
            raise BadInput(f"depth_ratio: expected 0 to 5, got {self.depth_ratio:g}")
        if not 0 < self.min_thickness <= 1:
            raise BadInput(f"min_thickness: expected 0 to 1, got {self.min_thickness:g}")


@dataclass(frozen=True)
class Relief:
    """A generator without weights."""

    settings: Settings

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """The closed relief of one crop; the seed has nothing to decide here."""
        outline = triangulate_outline(crop.rgba[..., 3], self.settings.grid)
        inverse, known = lattice_inverse_depth(crop.depth, self.settings.grid)
        front, membrane = _surfaces(inverse, known & outline.inside, outline.inside)
        cell = 1 / front * crop.camera.camera.width / crop.camera.camera.fx_px / self.settings.grid
        from_rim = distance_from_rim(crop.rgba[..., 3], self.settings.grid)
        back = _back(1 / front, 1 / membrane, from_rim, float(np.median(cell)), self.settings)
        vertices, faces = close_sheets(outline, 1 / front, back, crop)
        uv = np.concatenate([outline.points, outline.points[outline.interior]]) / self.settings.grid
        texture = bleed_colours(crop.rgba)
        return ObjectMesh(vertices, faces, uv.astype(np.float32), texture)


def load(settings: Settings, device: str) -> Relief:
    """Nothing to load; runs on the CPU whatever the device."""
    return Relief(settings)


def _surfaces(inverse: Float64, known: Bool, inside: Bool) -> tuple[Float64, Float64]:
    """1 / z of the front (measured, else continued) and of the membrane through its rim."""
    if not known.any():
        raise CannotGenerate("the point map has no depth on this object")
    reachable = dilated(inside, 1, square)
    front = harmonic_fill(inverse, known, reachable)
    rim = reachable & ~eroded(inside, 1, square)
    return front, harmonic_fill(front, rim, reachable)


def _back(
    front: Float64, membrane: Float64, from_rim: Float64, cell: float, s: Settings
) -> Float64:
    """Depth of the unseen side: the front mirrored at the membrane, inflated at least a little."""
    reach = float(from_rim.max())
    # A circle's height above its chord, for a disc as wide as the widest part of the outline.
    inflated = s.depth_ratio * cell * np.sqrt(np.maximum(from_rim * (2 * reach - from_rim), 0))
    mirrored = membrane - front
    behind = membrane + np.maximum(mirrored, inflated)
    # Thinner toward the rim, where front and back meet, but nowhere nothing.
    thickness = s.min_thickness * cell * 2 * reach * np.clip(from_rim, 0.05, 1)
    return np.maximum(behind, front + thickness)


BACKEND = GenerateBackend(version="2", settings=Settings, load=load)
