"""Place backend `icp`: rigid point-to-point ICP by Open3D from the default's scale and place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from alignment.baselines.icp import import_open3d, solve_icp
from alignment.baselines.placing import place_mesh
from stages.place import PlaceBackend
from stages.place.shared.per_object import PerObject, check_truncation


@dataclass(frozen=True)
class Settings:
    """truncation: relative depth error from which on a point counts as an outlier at the start."""

    truncation: float = 0.1

    def __post_init__(self) -> None:
        check_truncation(self.truncation)


def load(settings: Settings, device: str) -> PerObject:
    """Import Open3D, so that its absence is reported before any object is placed."""
    import_open3d()
    return PerObject(partial(place_mesh, truncation=settings.truncation, solve=solve_icp))


BACKEND = PlaceBackend(
    version="2",
    settings=Settings,
    load=load,
    libraries={"open3d": "pip install -e '.[benchmark]'"},
)
