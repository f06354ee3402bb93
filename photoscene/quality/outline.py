"""Silhouette: does the placed mesh cover the pixels that show its object, at their depth?"""

from __future__ import annotations

import cv2
import numpy as np

from alignment.fit import depth_error, silhouette_iou
from alignment.visible import DepthView, render_placed_depth
from photoscene.quality.evidence import ObjectEvidence
from photoscene.quality.rubric import Row, measured, not_measured
from scene.errors import CannotPlace
from scene.morphology import dilated
from scene.types import Bool, Camera, Float32

NEARBY_PX = 2  # outlines this near to an occluder or to the photo's border end there by chance
NOTHING_FAR = 1e9


def silhouette_rows(subject: ObjectEvidence, camera: Camera, depth: Float32) -> list[Row]:
    """The rows of one object; depth (H, W): z of the point map."""
    name = subject.placed.name
    try:
        view = render_placed_depth(
            subject.placed.camera_vertices, subject.placed.mesh.faces, camera
        )
    except CannotPlace as error:
        return [
            measured(name, "outline", 0.0, str(error)),
            *(not_measured(name, row, "no outline") for row in ("boundary", "depth")),
        ]
    error = depth_error(view, subject.mask, depth)
    return [
        measured(name, "outline", silhouette_iou(view, subject.mask, subject.occluder)),
        _boundary_row(name, view, subject, camera),
        not_measured(name, "depth", "mesh and map share no pixel")
        if error is None
        else measured(name, "depth", error),
    ]


def _boundary_row(name: str, view: DepthView, subject: ObjectEvidence, camera: Camera) -> Row:
    silhouette = np.zeros_like(subject.mask)
    silhouette[view.box] = view.silhouette
    distance_px = boundary_distance_px(silhouette, subject.mask, subject.occluder)
    if distance_px is None:
        return not_measured(name, "boundary", "the whole outline is hidden")
    scaled = distance_px * 1000 / max(camera.width, camera.height)
    return measured(name, "boundary", scaled, f"{distance_px:.2f} px here")


def boundary_distance_px(drawn: Bool, mask: Bool, occluder: Bool) -> float | None:
    """Mean distance of two outlines from each other, both ways; (H, W) each. Only where neither an
    occluder nor the photo's border cuts them off; None where no outline is left."""
    inside = np.zeros_like(mask)
    inside[NEARBY_PX:-NEARBY_PX, NEARBY_PX:-NEARBY_PX] = True
    free = inside & ~dilated(occluder, NEARBY_PX)
    one, other = (_edge(each & ~occluder) for each in (drawn, mask))
    gaps = [_distances(one & free, other), _distances(other & free, one)]
    known = np.concatenate(gaps)
    return float(known.mean()) if len(known) else None


def _edge(pixels: Bool) -> Bool:
    """The pixels of an area that have a neighbour outside it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return pixels & (cv2.erode(pixels.astype(np.uint8), kernel) == 0)


def _distances(here: Bool, there: Bool) -> Float32:
    """(N,) from each pixel of one outline to the nearest of the other, in pixels."""
    if not there.any():
        return np.full(int(here.sum()), float(np.hypot(*here.shape)), np.float32)
    away = cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away, np.float32)[here]
