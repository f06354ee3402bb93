"""The input of a placement method, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from scene.types import Bool, CropCamera, FitReport, ObjectMesh, Similarity


@dataclass(frozen=True, eq=False)
class PlacementInput:
    """A generated object: its mesh and crop camera, its visible mask and its occluders (H, W).

    number: in the whole scene, counted from 1, by which others' reports name it; None: its place
    in the list. pixel_aligned False: a mesh with canonical axes, whose pose nothing is known of.
    """

    mesh: ObjectMesh
    crop: CropCamera
    mask: Bool
    occluder: Bool
    number: int | None = None
    pixel_aligned: bool = True


@dataclass(frozen=True, eq=False)
class Placement:
    """camera_from_object and its fit, or the reason why there is none."""

    camera_from_object: Similarity | None
    fit: FitReport | None
    failure: str | None = None
