"""The one way in which every baseline places a mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alignment.fit import fit_report
from alignment.objects import Placement, PlacementInput
from alignment.visible import (
    VisiblePoints,
    generator_distance,
    render_depth,
    render_placed_depth,
    visible_points,
)
from scene.cameras import unproject
from scene.errors import CannotPlace
from scene.types import (
    Camera,
    CropCamera,
    Float64,
    PointMap,
    Similarity,
)

# (cube (N, 3), measured (N, 3), generator distance, truncation) -> crop_from_object
Solve = Callable[[Float64, Float64, float, float], Similarity]


def place_mesh(
    o: PlacementInput, point_map: PointMap, truncation: float, solve: Solve, mask_known: bool = True
) -> Placement:
    """Place by any model of the pose: cast once, solve in the crop camera, report as placed.

    Without mask_known every valid point inside the mesh's silhouette counts, whichever object shows
    there; the report still uses the mask. Raises CannotPlace when the mesh and the point map share
    no pixel or determine no pose.
    """
    camera, depth = point_map.camera, point_map.depth
    view = render_depth(o.mesh, o.crop, camera)
    counted = o.mask if mask_known else np.ones_like(o.mask)
    occluder = o.occluder if mask_known else np.zeros_like(o.occluder)
    points = visible_points(view, counted, occluder, depth)
    if len(points.pixels) == 0:
        raise CannotPlace("no pixel has both a surface of the mesh and a known depth")
    cube, measured = matches(points, o.crop, camera)
    crop_from_object = solve(cube, measured, generator_distance(o.crop), truncation)
    similarity = in_photo(crop_from_object, o.crop)
    placed = render_placed_depth(similarity.apply(o.mesh.vertices), o.mesh.faces, camera)
    placed_depth = similarity.apply(cube)[:, 2]
    report = fit_report(o, depth, placed, points, placed_depth, similarity, truncation)
    return Placement(similarity, report)


def matches(points: VisiblePoints, crop: CropCamera, camera: Camera) -> tuple[Float64, Float64]:
    """The points as matches (N, 3): x in the object cube and Q in the crop camera's frame."""
    rays = unproject(camera, points.pixels[:, ::-1] + 0.5) @ crop.photo_from_crop
    cube = rays * points.model[:, None] - [0, 0, generator_distance(crop)]
    return cube, rays * points.measured[:, None]


def place_each(
    objects: list[PlacementInput], place_one: Callable[[PlacementInput], Placement]
) -> list[Placement]:
    """Every object by itself; one that cannot be placed has its reason and stops no other."""
    placements = []
    for o in objects:
        try:
            placements.append(place_one(o))
        except CannotPlace as error:
            placements.append(Placement(None, None, str(error)))
    return placements


def in_photo(crop_from_object: Similarity, crop: CropCamera) -> Similarity:
    """camera_from_object: both cameras share their optical centre."""
    turn = crop.photo_from_crop
    return Similarity(
        crop_from_object.scale,
        turn @ crop_from_object.rotation,
        turn @ crop_from_object.translation,
    )
