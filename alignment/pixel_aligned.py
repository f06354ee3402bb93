"""The placement of pixel-aligned meshes: one robust scale each, then all of a scene together.

A pixel-aligned mesh already projects onto its pixels; scaling it about the optical centre changes
its size and its depth together and leaves its outline alone. Model M1: X = lambda * (x + d e_z)
with x in the object cube and d the generator's distance; each visible pixel votes
lambda_i = Q_z / X_z, and the votes are joined by an exact truncated L1, then Huber. The scene's own
terms (`alignment/scene_terms.py`) then settle what each object alone leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alignment.contacts import find_meetings
from alignment.fit import FEW_PIXELS, GOOD_SHIFT, fit_report, graded
from alignment.joint import solve_terms
from alignment.perspective import check_perspective
from alignment.placing import Placement, Unplaced, matches
from alignment.robust import solve_scale
from alignment.scene_terms import (
    Weights,
    find_rests,
    scene_terms,
    votes_of,
)
from alignment.support import Ground
from alignment.visible import (
    Sight,
    VisiblePoints,
    generator_distance,
    scaled,
    see,
    visible_points,
)
from scene.types import Bool, FitReport, Float64, PointMap, Similarity


@dataclass(frozen=True, eq=False)
class Alone:
    """One object fitted by itself: what is seen of it, the points used, and their scale."""

    sight: Sight
    points: VisiblePoints
    scale: float


def place_scene(
    objects: list[Unplaced],
    point_map: PointMap,
    ground: Ground,
    truncation: float,
    weights: Weights,
) -> list[Placement]:
    """Place all objects of a photo; one that cannot be placed has its reason.

    truncation: relative depth error beyond which a point counts as an outlier.
    """
    alone: dict[int, Alone] = {}
    placements: dict[int, Placement] = {}
    for index, o in enumerate(objects):
        try:
            sight = see(o.mesh, o.crop, point_map.camera)
            points = visible_points(sight, o.mask, o.occluder, point_map.depth)
            if len(points.pixels):
                scale = solve_scale(points.model, points.measured, truncation)
                alone[index] = Alone(sight, points, scale)
            else:
                placements[index] = place_by_median(o, sight, point_map)
        except ValueError as error:
            placements[index] = Placement(None, None, str(error))
    masks = [objects[index].mask for index in alone]
    scales, under = scale_together(list(alone.values()), masks, point_map, ground, weights)
    numbers = [objects[index].number or index + 1 for index in alone]
    names = [*(f"object {number}" for number in numbers), "plane"]  # WORLD is the last
    for (index, one), scale, below in zip(alone.items(), scales, under, strict=True):
        support = "" if below is None else names[below]
        report = _report(objects[index], one, float(scale), support, point_map, truncation)
        placements[index] = Placement(zoomed(objects[index], float(scale)), report)
    return [placements[index] for index in range(len(objects))]


def scale_together(
    alone: list[Alone],
    masks: list[Bool],
    point_map: PointMap,
    ground: Ground,
    weights: Weights,
) -> tuple[Float64, list[int | None]]:
    """Every object's scale with the scene's terms, and what it rests on (an index or WORLD)."""
    if not alone:
        return np.zeros(0), []
    camera = point_map.camera
    sights, votes = [one.sight for one in alone], [votes_of(one.points) for one in alone]
    scales = np.array([one.scale for one in alone])
    points = [one.points for one in alone]
    rests, spread = find_rests(sights, points, votes, ground, camera)
    meetings = find_meetings(sights, masks, scales, camera)
    terms, under = scene_terms(
        sights, votes, np.log(scales), rests, meetings, spread, ground, camera, weights
    )
    return np.exp(solve_terms(terms, np.log(scales))), under


def zoomed(o: Unplaced, scale: float) -> Similarity:
    """camera_from_object of M1: the object's centre stays on the axis of its crop camera."""
    turn = o.crop.photo_from_crop
    return Similarity(scale, turn, scale * generator_distance(o.crop) * turn[:, 2])


def place_by_median(o: Unplaced, sight: Sight, point_map: PointMap) -> Placement:
    """The last resort where mesh and mask share no measured pixel: the mask's median depth.

    Raises ValueError when the point map knows no depth inside the mask.
    """
    known = point_map.depth[o.mask & np.isfinite(point_map.depth)]
    if len(known) == 0:
        raise ValueError("the point map knows no depth inside the object's mask")
    distance = generator_distance(o.crop)
    measured = np.array([np.median(known)], np.float64)
    scale = float(measured[0] / (distance * o.crop.photo_from_crop[2, 2]))
    points = VisiblePoints(measured / scale, measured, np.zeros((1, 2), int), False)
    report = fit_report(
        scaled(sight, scale), points, measured, o.mask, o.occluder, point_map.depth,
        scale, scale * distance, 1.0,
    )  # fmt: skip
    lost = "the mesh covers no measured pixel of the mask: placed at the mask's median depth"
    return Placement(zoomed(o, scale), graded(replace(report, points=0, inlier_share=0.0), [lost]))


def _report(
    o: Unplaced, one: Alone, scale: float, support: str, point_map: PointMap, truncation: float
) -> FitReport:
    """The figures of an object as placed, with what makes its field of view or place doubtful."""
    report = fit_report(
        scaled(one.sight, scale), one.points, scale * one.points.model, o.mask, o.occluder,
        point_map.depth, scale, scale * generator_distance(o.crop), truncation,
    )  # fmt: skip
    cube, measured = matches(one.points, o.crop, point_map.camera)
    perspective, warnings = check_perspective(
        cube, measured, generator_distance(o.crop), one.scale, truncation
    )
    if one.points.reduced:
        warnings.append(FEW_PIXELS)
    moved = scale / one.scale - 1
    if abs(moved) > GOOD_SHIFT:
        warnings.append(f"the rest of the scene moved it by {moved:+.0%} of its depth")
    return graded(replace(report, perspective=perspective, support=support), warnings)
