"""The placement of a pixel-aligned mesh: one robust scale about the camera centre.

A pixel-aligned mesh already projects onto its pixels; scaling it about the optical centre changes
its size and its depth together and leaves its outline alone. Model M1: X = lambda * (x + d e_z)
with x in the object cube and d the generator's distance; each visible pixel votes
lambda_i = Q_z / X_z, and the votes are joined by an exact truncated L1, then Huber.
"""

from __future__ import annotations

import numpy as np

from alignment.robust import huber_scale, truncated_l1_scale
from alignment.visible import VisiblePoints, generator_distance, visible_points
from scene.types import (
    Bool,
    Camera,
    CropCamera,
    FitReport,
    Float32,
    Float64,
    ObjectMesh,
    Similarity,
)


def place_pixel_aligned(
    mesh: ObjectMesh,
    crop: CropCamera,
    camera: Camera,
    mask: Bool,
    occluder: Bool,
    depth: Float32,
    truncation: float,
) -> tuple[Similarity, FitReport]:
    """camera_from_object and its fit report for one mesh that is pixel-aligned in its object crop.

    mask, occluder (H, W) bool: the object's visible pixels and those of nearer objects; depth
    (H, W): z of the point map; truncation: relative depth error beyond which a point counts as an
    outlier. Raises ValueError when the mesh and the point map share no pixel.
    """
    points = visible_points(mesh, crop, camera, mask, depth)
    if len(points.pixels) == 0:
        raise ValueError("no pixel of the mask has both a surface of the mesh and a known depth")
    scale = solve_scale(points.model[:, 2], points.measured[:, 2], truncation)
    distance = generator_distance(crop)
    axis = crop.photo_from_crop[:, 2]
    similarity = Similarity(scale, crop.photo_from_crop, scale * distance * axis)
    iou = silhouette_iou(points.silhouette, mask, occluder)
    placed_depth = scale * points.model[:, 2]
    return similarity, fit_report(points, placed_depth, scale, scale * distance, iou, truncation)


def solve_scale(x: Float64, y: Float64, truncation: float) -> float:
    """lambda that minimises the robust relative depth error, weights 1 / Q_z (facts C1 M1, C3).

    x, y (N,): depths X_z of the model, in the generator camera's frame, and Q_z as measured.
    """
    weight = 1 / y
    start = truncated_l1_scale(x, y, weight, truncation)
    close = np.abs(start * x - y) * weight < truncation
    return huber_scale(x[close], y[close], weight[close], start)


def silhouette_iou(silhouette: Bool, mask: Bool, occluder: Bool) -> float:
    """Occlusion-aware outline agreement: |S \\ O and M| / |(S \\ O) or M| (facts C6)."""
    seen = silhouette & ~occluder
    union = (seen | mask).sum()
    return float((seen & mask).sum() / union) if union else 0.0


def fit_report(
    points: VisiblePoints,
    placed_depth: Float64,
    scale: float,
    distance: float,
    iou: float,
    truncation: float,
) -> FitReport:
    """The figures of a placement; placed_depth (N,): z of the placed points, crop camera's frame.

    scale, distance: size factor and range of the object's centre; iou: of the placed outline.
    """
    residual = np.abs(placed_depth - points.measured[:, 2]) / points.measured[:, 2]
    inlier_share = float((residual < truncation).mean())
    warnings = []
    if points.reduced:
        warnings.append("few trusted pixels: border pixels were used")
    if iou < 0.9:
        warnings.append(f"outline agrees with the mask by {iou:.2f} only")
    if inlier_share < 0.7:
        warnings.append(f"{1 - inlier_share:.0%} of the depths disagree with the mesh")
    return FitReport(
        scale=scale,
        distance=distance,
        residual_median=float(np.median(residual)),
        residual_p90=float(np.quantile(residual, 0.9)),
        inlier_share=inlier_share,
        points=len(residual),
        silhouette_iou=iou,
        warnings=tuple(warnings),
    )
