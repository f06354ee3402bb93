"""Place backend `pixel_aligned`: one robust scale per object, settled together with the scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.objects import Placement, PlacementInput
from alignment.pixel_aligned import place_scene
from alignment.support import Ground
from alignment.terms import TermWeights
from scene.types import PointMap
from stages.place import PlaceBackend
from stages.place.shared.per_object import check_truncation

NO_TERMS = TermWeights(plane=0, contact=0, penetration=0, order=0)


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
        """Solve every object's scale; canonical ones by their own points alone.

        What a pose leaves wrong makes contacts and intersections that are none: the terms then do
        more harm than good (docs/placement_sweep.md, canonical generators).
        """
        settings = self.settings
        solve = partial(place_scene, point_map=point_map, ground=ground)
        own = [o for o in objects if o.canonical is None]
        posed = [o for o in objects if o.canonical is not None]
        found = {
            True: iter(solve(own, truncation=settings.truncation, weights=settings)),
            False: iter(solve(posed, truncation=settings.truncation, weights=NO_TERMS)),
        }
        return [next(found[o.canonical is None]) for o in objects]


def load(settings: Settings, device: str) -> PixelAligned:
    """Nothing to load."""
    return PixelAligned(settings)


BACKEND = PlaceBackend(version="5", settings=Settings, load=load)
