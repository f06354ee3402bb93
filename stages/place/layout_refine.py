"""Place backend `layout_refine`: SAM 3D Objects' render and compare from the default's place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.baselines.layout_refine import place_layout_refine
from stages.place import PlaceBackend
from stages.place.shared.per_object import PerObject, check_truncation


@dataclass(frozen=True)
class Settings:
    """truncation: relative depth error from which on a point counts as an outlier at the start."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> PerObject:
    """Nothing to load."""
    return PerObject(partial(place_layout_refine, truncation=settings.truncation))


BACKEND = PlaceBackend(version="1", settings=Settings, load=load)
