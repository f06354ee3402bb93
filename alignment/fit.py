"""How good a placement is: the figures of its fit, a grade, and what is wrong with it in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alignment.objects import PlacementInput
from alignment.visible import DepthView, VisiblePoints
from scene.types import Bool, FitReport, Float32, Float64, Similarity

# Thresholds of the grades; docs/placement.md explains them.
GOOD_OUTLINE, MIN_OUTLINE = 0.9, 0.5  # silhouette IoU: a pixel-aligned mesh keeps its outline
GOOD_INLIERS, MIN_INLIERS = 0.7, 0.3  # share of the points within the truncation
GOOD_RESIDUAL = 0.05  # median, of depth
GOOD_PERSPECTIVE = 0.1  # |D / (s d) - 1| from which on the field of view or the map is in doubt
MIN_RESIDUAL_GAIN = 0.2  # by which the freer fit must lower the median residual to be believed
BORDER_PIXELS_USED = "few trusted pixels: border pixels were used"
GOOD_SHIFT = 0.03  # relative depth by which the rest of the scene may move an object


def silhouette_iou(view: DepthView, mask: Bool, occluder: Bool) -> float:
    """Occlusion-aware agreement of outlines (docs/placement.md, equation 9).

    mask, occluder (H, W): the object's visible pixels M and those of nearer objects O.
    """
    seen = view.silhouette & ~occluder[view.box]
    both = int((seen & mask[view.box]).sum())
    union = int(seen.sum()) + int(np.count_nonzero(mask)) - both
    return both / union if union else 0.0


def depth_error(view: DepthView, mask: Bool, depth: Float32) -> float | None:
    """Mean |placed - measured| / measured over all visible pixels that both know; None for none.

    view: of the mesh where it was placed; depth (H, W): z of the point map.
    """
    measured = depth[view.box]
    known = view.silhouette & mask[view.box] & np.isfinite(measured)
    error = np.abs(view.depth[known] - measured[known]) / measured[known]
    return float(error.mean()) if len(error) else None


def fit_report(
    o: PlacementInput,
    depth: Float32,
    placed: DepthView,
    points: VisiblePoints,
    placed_depth: Float64,
    camera_from_object: Similarity,
    truncation: float,
) -> FitReport:
    """The figures of a placement and its grade.

    depth (H, W): z of the point map; placed: what the camera sees of the mesh as placed;
    placed_depth (N,): z of the points as placed.
    """
    residual = np.abs(placed_depth - points.measured) / points.measured
    report = FitReport(
        scale=camera_from_object.scale,
        distance=float(np.linalg.norm(camera_from_object.translation)),
        residual_median=float(np.median(residual)),
        residual_p90=float(np.quantile(residual, 0.9)),
        inlier_share=float((residual < truncation).mean()),
        points=len(residual),
        silhouette_iou=silhouette_iou(placed, o.mask, o.occluder),
        depth_error=depth_error(placed, o.mask, depth),
    )
    return graded(report, [BORDER_PIXELS_USED] if points.reduced else [])


def doubted(report: FitReport, why: str) -> FitReport:
    """The report with one more warning; good no longer."""
    grade = "check" if report.grade == "good" else report.grade
    return replace(report, grade=grade, warnings=(*report.warnings, why))


def graded(report: FitReport, warnings: list[str]) -> FitReport:
    """The report with more warnings, what its figures give cause for, and the grade of it all."""
    found = list(warnings)
    if report.silhouette_iou < GOOD_OUTLINE:
        found.append(f"outline agrees with the mask by {report.silhouette_iou:.2f} only")
    if report.inlier_share < GOOD_INLIERS:
        found.append(f"{1 - report.inlier_share:.0%} of the depths disagree with the mesh")
    if report.residual_median > GOOD_RESIDUAL:
        found.append(f"half of the depths are off by more than {report.residual_median:.0%}")
    failed = report.silhouette_iou < MIN_OUTLINE or report.inlier_share < MIN_INLIERS
    grade = "failed" if failed else "check" if found else "good"
    return replace(report, grade=grade, warnings=tuple(found))
