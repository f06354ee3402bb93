"""What the baselines of place share: every object by itself, with a reason where it fails."""

from __future__ import annotations

from dataclasses import dataclass

from alignment.placing import Solve, place_mesh
from scene.types import PointMap
from stages.place import Placement, Unplaced


@dataclass(frozen=True)
class EachAlone:
    """Places each object by the same solver, see `alignment.placing.place_mesh`."""

    solve: Solve
    truncation: float
    mask_known: bool = True

    def place(self, objects: list[Unplaced], point_map: PointMap) -> list[Placement]:
        """Solve every object's pose."""
        return [self._place(o, point_map) for o in objects]

    def _place(self, o: Unplaced, point_map: PointMap) -> Placement:
        try:
            similarity, fit = place_mesh(
                o.mesh, o.crop, point_map.camera, o.mask, o.occluder, point_map.depth,
                self.truncation, self.solve, self.mask_known,
            )  # fmt: skip
        except ValueError as error:
            return Placement(None, None, str(error))
        return Placement(similarity, fit)


def check_truncation(truncation: float) -> None:
    """Raise a ValueError unless a relative depth error can be compared with it."""
    if not 0 < truncation < 1:
        raise ValueError(f"truncation: expected between 0 and 1, got {truncation:g}")
