"""The placement of a mesh whose pose its generator does not know: registered by its shape.

From several orientations about the upright: pairs of the mesh's first hits and the points measured
at the same pixels, Umeyama's similarity of the pairs, and new pairs from where that puts the mesh
(iterated closest points along the viewing rays); then the orientation that agrees best with outline
and depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alignment.baselines.refit import relative_residual
from alignment.baselines.similarity import umeyama
from alignment.fit import doubted, fit_report
from alignment.objects import Placement, PlacementInput
from alignment.robust import huber_weights
from alignment.visible import generator_distance, render_placed_depth, visible_points
from scene.cameras import OBJECT_FRAMING, unproject
from scene.errors import CannotPlace
from scene.morphology import eroded
from scene.raycast import cast
from scene.types import Bool, Float64, PointMap, Similarity

AZIMUTHS, ELEVATIONS_DEG = 12, (0.0, 25.0, 50.0)  # of the camera about the upright object
GRID = 40  # rays along the longer side of the searched box
GROWTH = 0.5  # of the mask's box, by which the searched box is larger
ROUNDS, FINAL_ROUNDS = 5, 12  # of new pairs: of every start at its size, of the best at any
MIN_PAIRS = 20
BORDER = 1  # pixels of the search's rays: depth bleeds across an outline
NOTHING_IN_COMMON = 2.0  # the largest disagreement of outlines and depths
NO_POSE = "its generator knows no pose: found by its shape alone"


@dataclass(frozen=True, eq=False)
class _Fit:
    place: Similarity
    disagreement: float


@dataclass(frozen=True, eq=False)
class _Target:
    """What rays (N, 3), z = 1, of the photo's camera meet: visible and hidden (N,) by the masks,
    measured (N, 3) points where `known` (N,)."""

    rays: Float64
    visible: Bool
    hidden: Bool
    measured: Float64
    known: Bool


def place_canonical(o: PlacementInput, point_map: PointMap, truncation: float) -> Placement:
    """Find size, orientation and position of a mesh with canonical axes (y down, front to -z).

    The grade is "check" at best. Raises CannotPlace for a mesh without a surface, and where mask
    and map share too few pixels.
    """
    if len(o.mesh.faces) == 0 or not np.isfinite(o.mesh.vertices).all():
        raise CannotPlace("the mesh has no surface, or vertices that are not finite numbers")
    target = _target(o, point_map)
    fits = [
        _register(o, target, start, truncation, ROUNDS, resize=False)
        for start in _starts(o, target)
    ]
    best = min(fits, key=lambda fit: fit.disagreement)
    best = _register(o, target, best.place, truncation, FINAL_ROUNDS, resize=True)
    if not best.disagreement < NOTHING_IN_COMMON:
        raise CannotPlace("no orientation of the mesh meets the measured points")
    return _reported(o, point_map, best.place, truncation)


def _target(o: PlacementInput, point_map: PointMap) -> _Target:
    """Rays on a grid over the mask's box and its surroundings."""
    rows, columns = np.nonzero(o.mask)
    if len(rows) < MIN_PAIRS:
        raise CannotPlace(f"the mask has {len(rows)} pixels only")
    low, high = np.array([rows.min(), columns.min()]), np.array([rows.max(), columns.max()]) + 1
    margin = GROWTH * (high - low) / 2
    step = max(1, math.ceil((high - low).max() * (1 + GROWTH) / GRID))
    y, x = (
        np.arange(max(int(a - m), 0), min(int(b + m) + 1, size), step)
        for a, b, m, size in zip(low, high, margin, o.mask.shape, strict=True)
    )
    at = np.ix_(y, x)
    depth = point_map.depth[at].astype(np.float64)
    visible = o.mask[at]
    known = eroded(visible, BORDER, beyond=False) & np.isfinite(depth)
    if known.sum() < MIN_PAIRS:
        known = visible & np.isfinite(depth)
    if known.sum() < MIN_PAIRS:
        raise CannotPlace("the point map knows too few depths inside the object's mask")
    rays = unproject(point_map.camera, np.stack(np.meshgrid(x + 0.5, y + 0.5), -1))
    measured = np.where(known[..., None], rays * depth[..., None], 0.0)
    hidden = o.occluder[at] & ~visible
    flat = (visible.ravel(), hidden.ravel(), measured.reshape(-1, 3), known.ravel())
    return _Target(rays.reshape(-1, 3), *flat)


def _starts(o: PlacementInput, target: _Target) -> Iterator[Similarity]:
    """Orientations about the upright, as large as the crop's framing and as deep as measured."""
    turn = o.crop.photo_from_crop
    depth = float(np.median((target.measured[target.known] @ turn)[:, 2]))
    width = 1 / (OBJECT_FRAMING * generator_distance(o.crop))  # of the completed outline at z = 1
    for elevation in np.radians(ELEVATIONS_DEG):
        for azimuth in 2 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS:
            rotation = _about_x(elevation) @ _about_y(azimuth)
            vertices = o.mesh.vertices @ rotation.T
            first, last = vertices.min(0), vertices.max(0)
            size = max(float((last - first)[:2].max()), 1e-6)
            # The middle of the visible surface lies about a quarter of the depth before the centre.
            scale = depth * width / size
            centre = np.array([0, 0, depth + scale * (last - first)[2] / 4])
            translation = centre - scale * (first + last) / 2
            yield Similarity(scale, turn @ rotation, turn @ translation)


def _register(
    o: PlacementInput,
    target: _Target,
    start: Similarity,
    truncation: float,
    rounds: int,
    resize: bool,
) -> _Fit:
    """New pairs and Umeyama's similarity of them, round by round: the best place on the way.

    Pairs of what overlaps alone can shrink a mesh into its outline, which is why not the last.
    """
    place = start
    best = _Fit(start, NOTHING_IN_COMMON)
    for _ in range(rounds):
        if not place.scale > 0 or (place.apply(o.mesh.vertices)[:, 2] <= 0).any():
            break
        depth = _hit_depth(o, target, place)
        disagreement = _disagreement(target, depth, truncation)
        if disagreement < best.disagreement:
            best = _Fit(place, disagreement)
        paired = target.known & np.isfinite(depth)
        if paired.sum() < MIN_PAIRS:
            break
        hits, measured = target.rays[paired] * depth[paired, None], target.measured[paired]
        cube = (hits - place.translation) @ place.rotation / place.scale
        residual = relative_residual(place, cube, measured)
        wide = max(truncation, 2 * float(np.median(residual)))
        try:
            weights = huber_weights(residual, wide) / measured[:, 2] ** 2
            place = umeyama(cube, measured, weights, None if resize else place.scale)
        except CannotPlace:  # the pairs lie on one line
            break
    return best


def _hit_depth(o: PlacementInput, target: _Target, place: Similarity) -> Float64:
    """(N,) z of the mesh's first hits, NaN for none; the rays go to the mesh, not it to them."""
    origin = -place.translation @ place.rotation / place.scale
    rays = target.rays @ place.rotation / place.scale
    return cast([(o.mesh.vertices, o.mesh.faces)], origin, rays).distance


def _disagreement(target: _Target, depth: Float64, truncation: float) -> float:
    """1 - IoU of the outlines plus the mean truncated depth error, over the truncation."""
    hit = np.isfinite(depth) & ~target.hidden
    iou = (hit & target.visible).sum() / max((hit | target.visible).sum(), 1)
    known = target.known & hit
    z = target.measured[known][:, 2]
    error = np.minimum(np.abs(depth[known] - z) / (truncation * z), 1)
    return float(1 - iou + (error.mean() if len(error) else 1.0))


def _reported(
    o: PlacementInput, point_map: PointMap, place: Similarity, truncation: float
) -> Placement:
    placed = render_placed_depth(place.apply(o.mesh.vertices), o.mesh.faces, point_map.camera)
    points = visible_points(placed, o.mask, o.occluder, point_map.depth)
    if len(points.pixels) == 0:
        raise CannotPlace("no pixel has both a surface of the mesh and a known depth")
    report = fit_report(o, point_map.depth, placed, points, points.model, place, truncation)
    return Placement(place, doubted(report, NO_POSE))


def _about_x(angle_rad: float) -> Float64:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _about_y(angle_rad: float) -> Float64:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
