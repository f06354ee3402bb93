"""Place backend `umeyama`: CUPID's full similarity per object, rotation included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.baselines.placing import place_mesh
from alignment.baselines.similarity import solve_similarity
from stages.place import PlaceBackend
from stages.place.shared.per_object import PerObject, check_truncation


@dataclass(frozen=True)
class Settings:
    """truncation: relative error from which on a point counts as an outlier.

    mask_known: use the points of the object's visible mask; otherwise all valid points inside the
    mesh's silhouette.
    """

    truncation: float = 0.1
    mask_known: bool = True

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> PerObject:
    """Nothing to load."""
    return PerObject(
        partial(
            place_mesh,
            truncation=settings.truncation,
            solve=solve_similarity,
            mask_known=settings.mask_known,
        )
    )


BACKEND = PlaceBackend(version="2", settings=Settings, load=load)
