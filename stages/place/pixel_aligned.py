"""Place backend `pixel_aligned`: one robust scale per object about the camera centre."""

from __future__ import annotations

from dataclasses import dataclass

from alignment.pixel_aligned import place_pixel_aligned
from scene.types import PointMap
from stages.place import Placement, Unplaced

VERSION = "1"


@dataclass(frozen=True)
class Settings:
    """truncation: relative depth error from which on a point counts as an outlier."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.truncation < 1:
            raise ValueError(f"truncation: expected between 0 and 1, got {self.truncation:g}")


@dataclass(frozen=True)
class PixelAligned:
    """Places each object by itself."""

    settings: Settings

    def place(self, objects: list[Unplaced], point_map: PointMap) -> list[Placement]:
        """Solve every object's scale about the camera centre."""
        return [self._place(o, point_map) for o in objects]

    def _place(self, o: Unplaced, point_map: PointMap) -> Placement:
        try:
            similarity, fit = place_pixel_aligned(
                o.mesh, o.crop, point_map.camera, o.mask, o.occluder, point_map.depth,
                self.settings.truncation,
            )  # fmt: skip
        except ValueError as error:
            return Placement(None, None, str(error))
        return Placement(similarity, fit)


def load(settings: Settings, device: str) -> PixelAligned:
    """Nothing to load."""
    return PixelAligned(settings)
