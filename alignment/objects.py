"""The input of a placement method, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from scene.types import Bool, CanonicalPose, CropCamera, FitReport, ObjectMesh, Similarity


@dataclass(frozen=True, eq=False)
class PlacementInput:
    """A generated object: its mesh and crop camera, its visible mask and its occluders (H, W).

    number: in the whole scene, counted from 1, by which others' reports name it; None: its place
    in the list. canonical: its canonical pose, where its generator has a canonical frame.
    """

    mesh: ObjectMesh
    crop: CropCamera
    mask: Bool
    occluder: Bool
    number: int | None = None
    canonical: CanonicalPose | None = None

    @property
    def pixel_aligned(self) -> bool:
        """Whether the mesh projects onto its pixels: all but canonical ones without a pose."""
        return self.canonical is None or self.canonical.pixel_aligned


@dataclass(frozen=True, eq=False)
class Placement:
    """camera_from_object and its fit, or the reason why there is none."""

    camera_from_object: Similarity | None
    fit: FitReport | None
    failure: str | None = None
