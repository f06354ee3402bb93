"""The placement of a mesh that a person edited: it stays in place, and its fit is measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignment.fit import fit_report, silhouette_iou
from alignment.objects import Placement, PlacementInput
from alignment.visible import render_placed_depth, visible_points
from scene.errors import CannotPlace
from scene.types import FitReport, PointMap, Similarity

BY_HAND = "edited by hand: it stays where it was put"


def keep_placement(
    o: PlacementInput, camera_from_object: Similarity, point_map: PointMap, truncation: float
) -> Placement:
    """The mesh at a similarity that was found before it was edited, with its own figures.

    Its grade is "check" at worst: a person saw it, and may have meant what disagrees.
    """
    camera, vertices = point_map.camera, camera_from_object.apply(o.mesh.vertices)
    distance = float(np.linalg.norm(camera_from_object.translation))
    unknown = FitReport(camera_from_object.scale, distance, 0.0, 0.0, 0.0, 0, 0.0)
    try:
        placed = render_placed_depth(vertices, o.mesh.faces, camera)
    except CannotPlace as error:
        return Placement(camera_from_object, _doubted(unknown, [BY_HAND, str(error)]))
    points = visible_points(placed, o.mask, o.occluder, point_map.depth)
    if len(points.pixels) == 0:
        outline = silhouette_iou(placed, o.mask, o.occluder)
        lost = "it covers no measured pixel of its mask"
        return Placement(
            camera_from_object,
            _doubted(replace(unknown, silhouette_iou=outline), [BY_HAND, lost]),
        )
    report = fit_report(
        o, point_map.depth, placed, points, points.model, camera_from_object, truncation
    )
    if report.grade == "good":
        return Placement(camera_from_object, report)
    return Placement(camera_from_object, _doubted(report, [BY_HAND, *report.warnings]))


def _doubted(report: FitReport, warnings: list[str]) -> FitReport:
    return replace(report, grade="check", warnings=tuple(warnings))
