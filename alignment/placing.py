"""Places a mesh by any model of its pose: cast once, solve in the crop camera, report as placed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alignment.pixel_aligned import fit_report, silhouette_iou
from alignment.visible import generator_distance, placed_silhouette, visible_points
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

# (cube (N, 3), measured (N, 3), generator distance, truncation) -> crop_from_object
Solve = Callable[[Float64, Float64, float, float], Similarity]


def place_mesh(
    mesh: ObjectMesh,
    crop: CropCamera,
    camera: Camera,
    mask: Bool,
    occluder: Bool,
    depth: Float32,
    truncation: float,
    solve: Solve,
    mask_known: bool = True,
) -> tuple[Similarity, FitReport]:
    """camera_from_object and its fit report, the outline cast anew where the mesh was put.

    The first seven arguments are those of `place_pixel_aligned`. Without mask_known every valid
    point inside the mesh's silhouette counts, whosoever it is; the report still uses the mask.
    Raises ValueError when the mesh and the point map share no pixel or determine no pose.
    """
    if not np.isfinite(mesh.vertices).all():
        raise ValueError("some vertices of the mesh are not finite numbers")
    counted = mask if mask_known else np.ones_like(mask)
    points = visible_points(mesh, crop, camera, counted, depth)
    if len(points.pixels) == 0:
        raise ValueError("no pixel has both a surface of the mesh and a known depth")
    distance = generator_distance(crop)
    cube = points.model - [0, 0, distance]
    crop_from_object = solve(cube, points.measured, distance, truncation)
    similarity = _in_photo(crop_from_object, crop)
    outline = placed_silhouette(similarity.apply(mesh.vertices), mesh.faces, camera)
    report = fit_report(
        points,
        crop_from_object.apply(cube)[:, 2],
        crop_from_object.scale,
        float(np.linalg.norm(crop_from_object.translation)),
        silhouette_iou(outline, mask, occluder),
        truncation,
    )
    return similarity, report


def _in_photo(crop_from_object: Similarity, crop: CropCamera) -> Similarity:
    """camera_from_object: both cameras share their optical centre."""
    turn = crop.photo_from_crop
    return Similarity(
        crop_from_object.scale,
        turn @ crop_from_object.rotation,
        turn @ crop_from_object.translation,
    )
