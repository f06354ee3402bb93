"""Place backend `scale_depth`: Pixal3D's two numbers per object, its scale and its depth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.placing import place_mesh
from alignment.scale_depth import solve_scale_depth
from stages.place.shared.each import EachAlone, check_truncation

VERSION = "2"


@dataclass(frozen=True)
class Settings:
    """truncation: relative error from which on a point counts as an outlier."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> EachAlone:
    """Nothing to load."""
    return EachAlone(partial(place_mesh, truncation=settings.truncation, solve=solve_scale_depth))
