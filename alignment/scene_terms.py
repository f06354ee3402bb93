"""Which terms tie the objects of a scene together, and how far each can be believed.

Evidence is local: near the place where two things meet, the map's low-frequency errors are the same
for both, so their ratio tells a contact even where the depth itself is wrong by several per cent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.contacts import PairContact
from alignment.joint import WORLD, Term
from alignment.robust import SIGMA_FROM_MEDIAN
from alignment.support import Ground, SupportPlane
from alignment.visible import DepthView, VisiblePoints
from scene.cameras import project, unproject
from scene.types import Camera, Float64

GRID = 4  # an object's points are looked at in GRID x GRID parts
MIN_PART_POINTS = 12
MEDIAN_ERROR = 1.25  # standard error of a Gaussian sample's median, times sigma / sqrt(N)
MIN_LOCAL_CELLS = 4
CONTACT_REACH = 0.25  # what counts as near a contact, as a share of the object's size in the photo
FOOT = 0.1  # what counts as the foot of an object, as a share of its height
LOWER = 0.08  # of its own height by which what carries an object must reach further down
STANDING = 0.02  # height of the measured foot over the plane, over its depth, that still stands
FOOT_TOUCH = 0.25  # up to this share of its height an object rests on what it touches
MIN_SIGMA = 0.002  # relative depth: no point map, shape or contact is believed better
HARD_SIGMA = 0.0005  # of what cannot be: two bodies in one place
PLANE_SIGMA = 0.0005  # of the support plane, which thousands of pixels tell
MAX_OVERLAP = 0.06  # relative depth beyond which two bodies in one place are left so
CONTACT_TOLERANCE, MAX_TOLERANCE = 0.003, 0.03  # relative depth gap that still counts as contact


@dataclass(frozen=True)
class Weights:
    """How much the terms count: 0 switches one off, 1 trusts it as far as its evidence goes."""

    plane: float = 1.0
    contact: float = 1.0
    penetration: float = 1.0
    order: float = 1.0


@dataclass(frozen=True, eq=False)
class ScaleEstimates:
    """What the points of one object say of log lambda: all together, and how it varies over it.

    log (N,), pixels (N, 2) row and column; middle: median of all; sigma: of a single pixel; spread:
    robust sigma of the medians of the object's parts, without what noise of single pixels adds;
    size_px: of the object in the photo.
    """

    log: Float64
    pixels: np.ndarray
    middle: float
    sigma: float
    spread: float
    size_px: float

    @property
    def noise(self) -> float:
        """Standard error of the median of all."""
        return MEDIAN_ERROR * self.sigma / np.sqrt(len(self.log))

    def local_estimate(self, pixel: Float64) -> tuple[float, float]:
        """The scale estimate near a pixel (row, column) and its standard error.

        Few points are noisy and many are far: the local median is believed as far as the estimates
        vary over the object by more than their noise.
        """
        inside = np.abs(self.pixels - pixel).max(1) < CONTACT_REACH * self.size_px
        if not inside.any():
            return self.middle, _norm(self.noise, self.spread)
        error = MEDIAN_ERROR * self.sigma / np.sqrt(inside.sum())
        share = self.spread**2 / max(self.spread**2 + error**2, 1e-30)
        local = share * float(np.median(self.log[inside])) + (1 - share) * self.middle
        return local, _norm(self.noise, np.sqrt(share) * error)


@dataclass(frozen=True, eq=False)
class SingleObjectFit:
    """One object fitted by itself: its rendered depth, points, scale estimates and log lambda."""

    view: DepthView
    points: VisiblePoints
    scale_estimates: ScaleEstimates
    log_scale: float


@dataclass(frozen=True)
class PlaneContact:
    """An object over the support plane: limit, the log scale at which its lowest point touches it
    (inf when it never can); gap, how far the points near its foot say that it is from there, and
    doubt, the standard error of that; standing: whether its measured foot lies on the plane."""

    limit: float
    gap: float
    doubt: float
    standing: bool


@dataclass(frozen=True)
class Evidence:
    """What is known of two things that may touch, all in log relative depth.

    limit: where they touch; gap: between them as the map tells it near that place, and doubt, its
    standard error; overlap: how far each by itself reaches into the other; sigma, hard: of the
    terms that hold them together and keep them apart.
    """

    limit: float
    gap: float
    doubt: float
    overlap: float
    sigma: float
    hard: float


def scale_estimates_of(points: VisiblePoints) -> ScaleEstimates:
    """The scale estimates of an object's points."""
    log = np.log(points.scale_estimates)
    low, high = points.pixels.min(0), points.pixels.max(0)
    part = (points.pixels - low) * GRID // (high - low + 1) @ [GRID, 1]
    counts = np.bincount(part)
    large = np.flatnonzero(counts >= MIN_PART_POINTS)
    medians = np.array([np.median(log[part == p]) for p in large])
    sigma = _sigma(log)
    by_noise = (MEDIAN_ERROR * sigma) ** 2 * float((1 / counts[large]).mean()) if len(large) else 0
    spread = float(np.sqrt(max(_sigma(medians) ** 2 - by_noise, 0)))
    size = float((high - low).max() + 1)
    return ScaleEstimates(log, points.pixels, float(np.median(log)), sigma, spread, size)


def find_plane_contacts(
    objects: list[SingleObjectFit], ground: Ground, camera: Camera
) -> tuple[list[PlaneContact], float]:
    """Every object over the support plane, and the robust relative sigma of the map's
    low-frequency errors, seen where it should be a plane. Nothing and 0 without a plane."""
    background, plane = ground.background, ground.plane
    if plane is None:
        return [], 0.0
    errors = plane.errors(background)
    on_plane = np.abs(errors) < 3 * MAX_TOLERANCE
    pixels, errors, near = background.pixels[on_plane], errors[on_plane], background.near[on_plane]
    rests = []
    for one in objects:
        view, own = one.view, one.scale_estimates
        drop = view.vertices @ -plane.normal  # how far below the camera, at lambda = 1
        lowest = float(drop.max())
        if lowest <= 0:
            rests.append(PlaneContact(np.inf, np.inf, 0.0, False))
            continue
        foot = view.vertices[drop > lowest - FOOT * (lowest - float(drop.min()))]
        pixel = project(camera, foot).mean(0)[::-1]
        close = np.abs(pixels - pixel).max(1) < own.size_px
        warp = float(np.median(errors[close])) if close.sum() >= MIN_LOCAL_CELLS else 0.0
        limit, (local, doubt) = float(np.log(plane.height / lowest)), own.local_estimate(pixel)
        standing = _stands(one, plane, warp, camera)
        rests.append(PlaneContact(limit, local - warp - limit, doubt, standing))
    return rests, _sigma(errors[near])


def _stands(one: SingleObjectFit, plane: SupportPlane, warp: float, camera: Camera) -> bool:
    """Whether the measured points at the foot of what is seen lie on the plane.

    The mesh tells which points these are and how high each is over the lowest, free of noise.
    """
    points = one.points
    up = unproject(camera, points.pixels[:, ::-1] + 0.5) @ plane.normal
    model = np.exp(one.scale_estimates.middle) * points.model * up
    foot = model <= np.quantile(model, FOOT)
    measured = points.measured[foot] * up[foot] * np.exp(-warp) + plane.height
    height = float(np.median(measured) - np.median(model[foot]) + model.min())
    return abs(height) < STANDING * float(np.median(points.measured))


def scene_terms(
    objects: list[SingleObjectFit],
    contacts: list[PairContact],
    ground: Ground,
    camera: Camera,
    weights: Weights,
) -> tuple[list[Term], list[int | None]]:
    """All terms of a scene, and what each object rests on: an index, WORLD for the plane, or None.

    contacts: of these objects, by their indices.
    """
    rests, spread = find_plane_contacts(objects, ground, camera)
    shape = [float(np.sqrt(max(o.scale_estimates.spread**2 - spread**2, 0))) for o in objects]
    terms = [
        Term(
            "points", k, WORLD, o.log_scale,
            _norm(MIN_SIGMA, o.scale_estimates.noise, spread, shape[k] / 2),
        )
        for k, o in enumerate(objects)
    ]  # fmt: skip
    for m in contacts:
        terms += _pair_terms(m, objects, shape, camera, weights)
    touching = {(t.front, t.back) for t in terms if t.name == "contact"}
    held = [m for m in contacts if (m.front, m.back) in touching]
    under = _support_graph(held, objects, ground)
    for k, rest in enumerate(rests):
        if not np.isfinite(rest.limit):
            continue
        sigma = _norm(PLANE_SIGMA, spread / 8, shape[k])
        doubt = _norm(rest.doubt, spread / 2, shape[k])
        # What stands on another object does not stand on the plane, however thin the other is.
        gap = rest.gap if under[k] is None else np.inf
        overlap, hard = objects[k].log_scale - rest.limit, _norm(HARD_SIGMA, shape[k] / 2)
        found = Evidence(rest.limit, gap, doubt, overlap, sigma, hard)
        made = _met("plane", k, WORLD, found, weights)
        terms += made
        if under[k] is None and (rest.standing or any(t.name == "plane" for t in made)):
            under[k] = WORLD
    return terms, under


def _pair_terms(
    m: PairContact,
    objects: list[SingleObjectFit],
    shape: list[float],
    camera: Camera,
    weights: Weights,
) -> list[Term]:
    """The terms between two objects whose outlines overlap."""
    terms = []
    if np.isfinite(m.limit):
        pixel = project(camera, m.point)[::-1]
        front, back = objects[m.front], objects[m.back]
        near_front, error_front = front.scale_estimates.local_estimate(pixel)
        near_back, error_back = back.scale_estimates.local_estimate(pixel)
        gap = near_front - near_back - m.limit
        overlap = front.log_scale - back.log_scale - m.limit
        shapes = _norm(shape[m.front], shape[m.back])
        doubt, sigma = _norm(error_front, error_back, shapes), _norm(MIN_SIGMA, shapes)
        found = Evidence(m.limit, gap, doubt, overlap, sigma, HARD_SIGMA)
        terms += _met("contact", m.front, m.back, found, weights)
    if np.isfinite(m.order) and weights.order > 0:
        sigma = MIN_SIGMA / weights.order
        terms.append(Term("order", m.front, m.back, m.order, sigma, one_sided=True))
    return terms


def _met(name: str, front: int, back: int, found: Evidence, weights: Weights) -> list[Term]:
    """The term that holds two things together where they touch, and the one that keeps them apart.

    Deep overlap tells of a wrong unseen back, which must not push away what is measured.
    """
    terms, weight = [], getattr(weights, name)
    if weight > 0 and abs(found.gap) < min(CONTACT_TOLERANCE + 2 * found.doubt, MAX_TOLERANCE):
        terms.append(Term(name, front, back, found.limit, found.sigma / weight, robust=True))
    if weights.penetration > 0 and found.overlap < MAX_OVERLAP:
        hard = found.hard / weights.penetration
        terms.append(Term("penetration", front, back, found.limit, hard, one_sided=True))
    return terms


def _sigma(values: Float64) -> float:
    """Robust standard deviation about the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return SIGMA_FROM_MEDIAN * float(np.median(np.abs(values - np.median(values))))


def _norm(*parts: float) -> float:
    return float(np.linalg.norm(parts))


def _support_graph(
    touching: list[PairContact], objects: list[SingleObjectFit], ground: Ground
) -> list[int | None]:
    """For each object the other one that it touches with its foot and that stands lower."""
    under: list[int | None] = [None] * len(objects)
    plane = ground.plane
    if plane is None:
        return under
    heights = [np.exp(o.log_scale) * (o.view.vertices @ plane.normal) for o in objects]
    low, high = [float(h.min()) for h in heights], [float(h.max()) for h in heights]
    for m in touching:
        at = float(m.point @ plane.normal) * np.exp(objects[m.front].log_scale)
        for upper, lower in ((m.front, m.back), (m.back, m.front)):
            tall = max(high[upper] - low[upper], 1e-12)
            if at - low[upper] < FOOT_TOUCH * tall and low[lower] < low[upper] - LOWER * tall:
                under[upper] = lower
    return under
