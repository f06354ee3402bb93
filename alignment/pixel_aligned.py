"""The placement of pixel-aligned meshes: one robust scale each, then all of a scene together.

A pixel-aligned mesh already projects onto its pixels; scaling it about the optical centre changes
its size and its depth together and leaves its outline alone. Model M1: X = lambda * (x + d e_z)
with x in the object cube and d the generator's distance; each visible pixel gives an estimate
lambda_i = Q_z / X_z, and the estimates are combined by an exact truncated L1, then Huber. The
scene's terms (`alignment/terms`) then settle what each object by itself leaves open.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignment.baselines.placing import matches
from alignment.contacts import find_pair_contacts
from alignment.estimates import SingleObjectFit, scale_estimates_of
from alignment.fit import BORDER_PIXELS_USED, GOOD_SHIFT, fit_report, graded
from alignment.joint import solve_scales
from alignment.objects import Placement, PlacementInput
from alignment.perspective import check_perspective
from alignment.robust import solve_scale
from alignment.scene_terms import scene_residuals, supports, term_figures
from alignment.support import Ground
from alignment.terms import TermWeights
from alignment.visible import (
    DepthView,
    VisiblePoints,
    generator_distance,
    render_depth,
    scaled,
    visible_points,
)
from scene.errors import CannotPlace
from scene.types import Bool, Figure, PointMap, Similarity


def place_scene(
    objects: list[PlacementInput],
    point_map: PointMap,
    ground: Ground,
    truncation: float,
    weights: TermWeights,
) -> list[Placement]:
    """Place all objects of a photo; one that cannot be placed has its reason.

    truncation: relative depth error beyond which a point counts as an outlier.
    """
    fits: dict[int, SingleObjectFit] = {}
    placements: dict[int, Placement] = {}
    for index, o in enumerate(objects):
        try:
            view = render_depth(o.mesh, o.crop, point_map.camera)
            points = visible_points(view, o.mask, o.occluder, point_map.depth)
            if len(points.pixels):
                scale = solve_scale(points.model, points.measured, truncation)
                fits[index] = SingleObjectFit(
                    view, points, scale_estimates_of(points), float(np.log(scale))
                )
            else:
                placements[index] = place_by_median(o, view, point_map)
        except CannotPlace as error:
            placements[index] = Placement(None, None, str(error))
    masks = [objects[index].mask for index in fits]
    settled = settle_scene(list(fits.values()), masks, point_map, ground, weights)
    numbers = [objects[index].number or index + 1 for index in fits]
    names = [*(f"object {number}" for number in numbers), "plane"]  # WORLD is the last
    for (index, one), (scale, below, figures) in zip(fits.items(), settled, strict=True):
        support = "" if below is None else names[below]
        placements[index] = _place(
            objects[index], one, scale, support, figures, point_map, truncation
        )
    return [placements[index] for index in range(len(objects))]


def settle_scene(
    fits: list[SingleObjectFit],
    masks: list[Bool],
    point_map: PointMap,
    ground: Ground,
    weights: TermWeights,
) -> list[tuple[float, int | None, tuple[Figure, ...]]]:
    """Every object's scale with the scene's terms, what it rests on (an index or WORLD), and what
    the terms report of it."""
    if not fits:
        return []
    camera, fitted = point_map.camera, np.array([one.log_scale for one in fits])
    pairs = find_pair_contacts([one.view for one in fits], masks, np.exp(fitted), camera)
    scene, residuals = scene_residuals(fits, pairs, ground, camera, weights)
    log_scales = solve_scales(residuals, fitted)
    figures = term_figures(scene, log_scales, weights)
    scales = [float(scale) for scale in np.exp(log_scales)]
    return list(zip(scales, supports(scene, residuals), figures, strict=True))


def similarity_from_scale(o: PlacementInput, scale: float) -> Similarity:
    """camera_from_object of M1: the object's centre stays on the axis of its crop camera."""
    rotation = o.crop.photo_from_crop
    return Similarity(scale, rotation, scale * generator_distance(o.crop) * rotation[:, 2])


def place_by_median(o: PlacementInput, view: DepthView, point_map: PointMap) -> Placement:
    """The last resort where mesh and mask share no measured pixel: the mask's median depth.

    Raises CannotPlace when the point map knows no depth inside the mask.
    """
    known = point_map.depth[o.mask & np.isfinite(point_map.depth)]
    if len(known) == 0:
        raise CannotPlace("the point map knows no depth inside the object's mask")
    distance = generator_distance(o.crop)
    measured = np.array([np.median(known)], np.float64)
    similarity = similarity_from_scale(
        o, float(measured[0] / (distance * o.crop.photo_from_crop[2, 2]))
    )
    points = VisiblePoints(measured / similarity.scale, measured, np.zeros((1, 2), int), False)
    placed = scaled(view, similarity.scale)
    report = fit_report(o, point_map.depth, placed, points, measured, similarity, 1.0)
    lost = "the mesh covers no measured pixel of the mask: placed at the mask's median depth"
    return Placement(similarity, graded(replace(report, points=0, inlier_share=0.0), [lost]))


def _place(
    o: PlacementInput,
    one: SingleObjectFit,
    scale: float,
    support: str,
    figures: tuple[Figure, ...],
    point_map: PointMap,
    truncation: float,
) -> Placement:
    """An object at its scale; its report has what makes field of view or place doubtful."""
    similarity, fits = similarity_from_scale(o, scale), float(np.exp(one.log_scale))
    report = fit_report(
        o, point_map.depth, scaled(one.view, scale), one.points, scale * one.points.model,
        similarity, truncation,
    )  # fmt: skip
    perspective, warnings = None, []
    if not point_map.guessed:  # else the depths inside an object contradict nothing
        cube, measured = matches(one.points, o.crop, point_map.camera)
        perspective, warnings = check_perspective(
            cube, measured, generator_distance(o.crop), fits, truncation
        )
    if one.points.reduced:
        warnings.append(BORDER_PIXELS_USED)
    moved = scale / fits - 1
    if abs(moved) > GOOD_SHIFT:
        warnings.append(f"the rest of the scene moved it by {moved:+.0%} of its depth")
    report = replace(report, perspective=perspective, support=support, figures=figures)
    return Placement(similarity, graded(report, warnings))
