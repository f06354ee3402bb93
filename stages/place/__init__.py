"""Place: pixel-aligned meshes, their crop cameras and the point map -> a similarity per object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scene.types import (
    Bool,
    CropCamera,
    FitReport,
    ObjectMesh,
    PointMap,
    Similarity,
)


@dataclass(frozen=True, eq=False)
class Unplaced:
    """A generated object: its mesh and crop camera, its visible mask and its occluders (H, W)."""

    mesh: ObjectMesh
    crop: CropCamera
    mask: Bool
    occluder: Bool


@dataclass(frozen=True, eq=False)
class Placement:
    """camera_from_object and its fit, or the reason why there is none."""

    camera_from_object: Similarity | None
    fit: FitReport | None
    failure: str | None = None


class Placer(Protocol):
    """What a place backend does."""

    def place(self, objects: list[Unplaced], point_map: PointMap) -> list[Placement]:
        """One placement per object, in their order, in one camera frame."""
        ...


def run(placer: Placer, objects: list[Unplaced], point_map: PointMap) -> list[Placement]:
    """Place all objects of a photo; what cannot be placed says why and does not stop the others."""
    placements = placer.place(objects, point_map)
    if len(placements) != len(objects):
        raise ValueError(f"{len(placements)} placements for {len(objects)} objects")
    return placements
