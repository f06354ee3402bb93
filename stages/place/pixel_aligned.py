"""Place backend `pixel_aligned`: one robust scale per object about the camera centre."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.pixel_aligned import place_pixel_aligned
from stages.place.each import EachAlone, check_truncation

VERSION = "1"


@dataclass(frozen=True)
class Settings:
    """truncation: relative depth error from which on a point counts as an outlier."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> EachAlone:
    """Nothing to load."""
    return EachAlone(partial(place_pixel_aligned, truncation=settings.truncation))
