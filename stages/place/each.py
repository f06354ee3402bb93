"""What the place backends share: every object by itself, with a reason where it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scene.types import (
    Bool,
    Camera,
    CropCamera,
    FitReport,
    Float32,
    ObjectMesh,
    PointMap,
    Similarity,
)
from stages.place import Placement, Unplaced


class PlaceOne(Protocol):
    """camera_from_object and its fit for one mesh; ValueError with the reason where there is none.

    See `alignment.pixel_aligned.place_pixel_aligned` and `alignment.placing.place_mesh`.
    """

    def __call__(
        self,
        mesh: ObjectMesh,
        crop: CropCamera,
        camera: Camera,
        mask: Bool,
        occluder: Bool,
        depth: Float32,
    ) -> tuple[Similarity, FitReport]: ...


@dataclass(frozen=True)
class EachAlone:
    """Places each object by itself."""

    place_one: PlaceOne

    def place(self, objects: list[Unplaced], point_map: PointMap) -> list[Placement]:
        """Solve every object's pose."""
        return [self._place(o, point_map) for o in objects]

    def _place(self, o: Unplaced, point_map: PointMap) -> Placement:
        try:
            similarity, fit = self.place_one(
                o.mesh, o.crop, point_map.camera, o.mask, o.occluder, point_map.depth
            )
        except ValueError as error:
            return Placement(None, None, str(error))
        return Placement(similarity, fit)


def check_truncation(truncation: float) -> None:
    """Raise a ValueError unless a relative depth error can be compared with it."""
    if not 0 < truncation < 1:
        raise ValueError(f"truncation: expected between 0 and 1, got {truncation:g}")
