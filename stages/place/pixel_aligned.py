"""Place backend `pixel_aligned`: one robust scale per object, settled together with the scene."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from alignment.objects import Placement, PlacementInput
from alignment.pixel_aligned import place_scene
from alignment.scene_terms import Weights
from alignment.support import Ground
from scene.errors import BadInput
from scene.types import PointMap
from stages.place import PlaceBackend
from stages.place.shared.per_object import check_truncation


@dataclass(frozen=True)
class Settings:
    """truncation: relative depth error from which on a point counts as an outlier.

    The others weigh the scene's terms (`alignment/scene_terms.py`), 0 for off: plane, objects that
    stand on the support plane; contact, objects that touch; penetration, no two bodies in one
    place; order, what the photo shows in front stays in front.
    """

    truncation: float = 0.1
    plane: float = 1.0
    contact: float = 1.0
    penetration: float = 1.0
    order: float = 1.0

    def __post_init__(self) -> None:
        check_truncation(self.truncation)
        for name, weight in asdict(self.weights()).items():
            if not 0 <= weight < math.inf:
                raise BadInput(f"{name}: expected 0 or more, got {weight:g}")

    def weights(self) -> Weights:
        """The weights of the scene's terms."""
        return Weights(self.plane, self.contact, self.penetration, self.order)


@dataclass(frozen=True)
class PixelAligned:
    """Places all objects of a photo together."""

    settings: Settings

    def place(
        self, objects: list[PlacementInput], point_map: PointMap, ground: Ground
    ) -> list[Placement]:
        """Solve every object's scale."""
        settings = self.settings
        return place_scene(objects, point_map, ground, settings.truncation, settings.weights())


def load(settings: Settings, device: str) -> PixelAligned:
    """Nothing to load."""
    return PixelAligned(settings)


BACKEND = PlaceBackend(version="4", settings=Settings, load=load)
