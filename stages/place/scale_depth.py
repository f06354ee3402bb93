"""Place backend `scale_depth`: Pixal3D's two numbers per object, its scale and its depth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.baselines.placing import place_mesh
from alignment.baselines.scale_depth import solve_scale_depth
from stages.place import PlaceBackend
from stages.place.shared.per_object import PerObject, check_truncation


@dataclass(frozen=True)
class Settings:
    """truncation: relative error from which on a point counts as an outlier."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> PerObject:
    """Nothing to load."""
    return PerObject(partial(place_mesh, truncation=settings.truncation, solve=solve_scale_depth))


BACKEND = PlaceBackend(version="2", settings=Settings, load=load)
