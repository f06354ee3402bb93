"""Place: pixel-aligned meshes, their crop cameras and the point map -> a similarity per object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from alignment.baselines.placing import place_each
from alignment.canonical import place_canonical
from alignment.fit import doubted
from alignment.kept import keep_placement
from alignment.objects import Placement, PlacementInput
from alignment.support import Ground, find_ground, recedes_downwards, world_from_camera
from scene.types import Bool, Float64, PointMap, Similarity
from stages.backends import Backend, SettingsT, Stage

KEPT_TRUNCATION = 0.1  # of relative depth: what every backend takes for an outlier by default
MIN_CONFIDENCE = 0.4  # of a canonical pose; at 2 % noise and 20 % outliers it is 0.8
DISPARITY = "the floor recedes towards the viewer: is the map disparity (near = large), not depth?"


@dataclass(frozen=True, eq=False)
class Placed:
    """All objects of a photo in its camera's frame, and the upright frame where one was found.

    world_from_camera (4, 4): z up from the support plane; None without such a plane.
    """

    placements: list[Placement]
    world_from_camera: Float64 | None


class Placer(Protocol):
    """What a place backend does."""

    def place(
        self, objects: list[PlacementInput], point_map: PointMap, ground: Ground
    ) -> list[Placement]:
        """One placement per object, in their order, in one camera frame."""
        ...


PlacerT = TypeVar("PlacerT", bound=Placer)


@dataclass(frozen=True, kw_only=True)
class PlaceBackend(Backend[SettingsT, PlacerT]):
    """What is asked of a place backend."""


STAGE = Stage[PlaceBackend[Any, Placer]]("place", PlaceBackend, version="2")


def run(
    placer: Placer,
    objects: list[PlacementInput],
    point_map: PointMap,
    masks: list[Bool],
    kept: Sequence[Similarity | None] = (),
) -> Placed:
    """Place all objects of a photo; what cannot be placed says why and does not stop the others.

    Meshes that are not pixel-aligned are registered by their shape, whatever the backend.

    masks: (H, W) of every object, of those that cannot be placed too: they are not the background.
    kept: per object where its mesh stands since a person edited it, None where it is to be found;
    the others meet it there. A depth of zero or less counts as unknown.
    """
    depth = np.where(point_map.depth > 0, point_map.depth, np.float32(np.nan))  # NaN compares False
    point_map = replace(point_map, depth=depth)
    ground = find_ground(point_map, masks)
    aligned = [o for o in objects if o.pixel_aligned]
    found = placer.place(aligned, point_map, ground)
    if len(found) != len(aligned):
        raise ValueError(f"{len(found)} placements for {len(aligned)} objects")
    rest = place_each(
        [o for o in objects if not o.pixel_aligned],
        partial(place_canonical, point_map=point_map, truncation=KEPT_TRUNCATION),
    )
    in_order = {True: iter(found), False: iter(rest)}
    placements = [_with_confidence(o, next(in_order[o.pixel_aligned])) for o in objects]
    for index, place in enumerate(kept):
        if place is not None:
            placements[index] = keep_placement(objects[index], place, point_map, KEPT_TRUNCATION)
    plane = ground.plane
    if plane is None and not point_map.guessed and recedes_downwards(ground.background):
        placements = [replace(p, fit=p.fit and doubted(p.fit, DISPARITY)) for p in placements]
    return Placed(placements, None if plane is None else world_from_camera(plane))


def _with_confidence(o: PlacementInput, placement: Placement) -> Placement:
    """The placement, doubted where the pose that the mesh was turned by is uncertain."""
    pose, fit = o.canonical, placement.fit
    if pose is None or not pose.pixel_aligned or pose.confidence >= MIN_CONFIDENCE or fit is None:
        return placement
    why = f"its generator's camera pose is uncertain (confidence {pose.confidence:.2f})"
    return replace(placement, fit=doubted(fit, why))
