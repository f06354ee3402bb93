"""What the baselines of the place stage share: every object by itself, the scene left aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alignment.baselines.placing import place_each
from alignment.objects import Placement, PlacementInput
from alignment.support import Ground
from scene.errors import BadInput
from scene.types import PointMap


@dataclass(frozen=True)
class PerObject:
    """Places each object by itself; place_one raises CannotPlace where there is no placement."""

    place_one: Callable[[PlacementInput, PointMap], Placement]

    def place(
        self, objects: list[PlacementInput], point_map: PointMap, ground: Ground
    ) -> list[Placement]:
        """Solve every object's pose."""
        return place_each(objects, lambda o: self.place_one(o, point_map))


def check_truncation(truncation: float) -> None:
    """Raise BadInput unless a relative depth error can be compared with it."""
    if not 0 < truncation < 1:
        raise BadInput(f"truncation: expected between 0 and 1, got {truncation:g}")
