"""Place backend `pixel_aligned`: one robust scale per object, settled together with the scene."""

from __future__ import annotations

from dataclasses import dataclass

from alignment.objects import Placement, PlacementInput
from alignment.pixel_aligned import place_scene
from alignment.support import Ground
from alignment.terms import TermWeights
from scene.types import PointMap
from stages.place import PlaceBackend
from stages.place.shared.per_object import check_truncation


@dataclass(frozen=True)
class Settings(TermWeights):
    """truncation: relative depth error from which on a point counts as an outlier.

    The others are the weights of the scene's terms, by their names (`alignment/terms`).
    """

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)
        super().__post_init__()


@dataclass(frozen=True)
class PixelAligned:
    """Places all objects of a photo together."""

    settings: Settings

    def place(
        self, objects: list[PlacementInput], point_map: PointMap, ground: Ground
    ) -> list[Placement]:
        """Solve every object's scale."""
        settings = self.settings
        return place_scene(objects, point_map, ground, settings.truncation, settings)


def load(settings: Settings, device: str) -> PixelAligned:
    """Nothing to load."""
    return PixelAligned(settings)


BACKEND = PlaceBackend(version="5", settings=Settings, load=load)
