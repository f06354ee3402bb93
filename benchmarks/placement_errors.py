"""How far placed objects are from the truth: translation, size, depth, rotation, outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alignment.objects import Placement
from benchmarks.perturb import Case
from scene.types import Float64


@dataclass(frozen=True)
class Errors:
    """One object's errors, after the one scale of the whole scene that fits it best (gamma).

    translation, depth: over the distance; size: |log| of the box's diagonal; rotation_deg: modulo
    the object's axis of revolution; outline: 1 - silhouette IoU; found: whether it was placed.
    """

    translation: float
    depth: float
    size: float
    rotation_deg: float
    outline: float
    found: bool = True


LOST = Errors(1.0, 1.0, 1.0, 180.0, 1.0, found=False)


def errors_of(case: Case, placements: list[Placement]) -> list[Errors]:
    """The errors of every object of a case."""
    truth = [_box(o.vertices) for o in case.known.objects]
    posed = [
        None if p.camera_from_object is None
        else _box(p.camera_from_object.apply(o.mesh.vertices))
        for p, o in zip(placements, case.objects, strict=True)
    ]  # fmt: skip
    gamma = _gamma([(p[0], t[0]) for p, t in zip(posed, truth, strict=True) if p is not None])
    found = []
    for index, (placement, box) in enumerate(zip(placements, posed, strict=True)):
        if box is None or placement.fit is None:
            found.append(LOST)
            continue
        centre, size = truth[index]
        distance = float(np.linalg.norm(centre))
        found.append(
            Errors(
                float(np.linalg.norm(gamma * box[0] - centre)) / distance,
                abs(gamma * float(np.linalg.norm(box[0])) - distance) / distance,
                abs(math.log(gamma * box[1] / size)),
                _rotation_deg(case, index, placement),
                1 - placement.fit.silhouette_iou,
            )
        )
    return found


def _box(vertices: Float64) -> tuple[Float64, float]:
    """Centre (3,) and diagonal of the bounding box."""
    low, high = vertices.min(0), vertices.max(0)
    return (low + high) / 2, float(np.linalg.norm(high - low))


def _gamma(pairs: list[tuple[Float64, Float64]]) -> float:
    """The scale that brings all centres T nearest to the true ones: T . T* / |T|^2."""
    if not pairs:
        return 1.0
    return float(sum(t @ s for t, s in pairs) / sum(t @ t for t, _ in pairs))


def _rotation_deg(case: Case, index: int, placement: Placement) -> float:
    """The angle between the placed and the true attitude, or between the two axes of revolution."""
    assert placement.camera_from_object is not None
    turn = placement.camera_from_object.rotation @ case.objects[index].crop.photo_from_crop.T
    axis = case.known.objects[index].axis
    if axis is None:
        cosine = (np.trace(turn) - 1) / 2
    else:
        cosine = abs(float(axis @ turn @ axis))
    return math.degrees(math.acos(min(1.0, max(-1.0, float(cosine)))))
