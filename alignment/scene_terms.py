"""Which terms tie the objects of a scene together, and how far each can be believed.

Evidence is local: near the place where two things meet, the map's low-frequency errors are the same
for both, so their ratio tells a contact even where the depth itself is wrong by several per cent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.contacts import Meeting
from alignment.joint import WORLD, Term
from alignment.robust import SIGMA_FROM_MEDIAN
from alignment.support import Ground, SupportPlane
from alignment.visible import Sight, VisiblePoints
from scene.cameras import project
from scene.types import Camera, Float64

GRID = 4  # an object's points are looked at in GRID x GRID parts
MIN_PART_POINTS = 12
MEDIAN_ERROR = 1.25  # standard error of a Gaussian sample's median, times sigma / sqrt(N)
MIN_LOCAL_CELLS = 4
NEAR = 0.25  # what counts as near a contact, as a share of the object's size in the photo
FOOT = 0.1  # what counts as the foot of an object, as a share of its height
FOOT_TOUCH = 0.25  # up to this share of its height an object rests on what it touches
LEAST_SIGMA = 0.002  # relative depth: no point map, shape or contact is believed better
HARD_SIGMA = 0.0005  # of what cannot be: two bodies in one place
CONTACT_TOLERANCE, MOST_TOLERANCE = 0.003, 0.03  # relative depth gap that still counts as contact


@dataclass(frozen=True)
class Weights:
    """How much the terms count: 0 switches one off, 1 trusts it as far as its evidence goes."""

    plane: float = 1.0
    contact: float = 1.0
    penetration: float = 1.0
    order: float = 1.0


@dataclass(frozen=True, eq=False)
class Votes:
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

    def near(self, pixel: Float64) -> tuple[float, float]:
        """The vote near a pixel (row, column) and its standard error.

        Few points are noisy and many are far: the local median is believed as far as the votes vary
        over the object by more than their noise.
        """
        inside = np.abs(self.pixels - pixel).max(1) < NEAR * self.size_px
        if not inside.any():
            return self.middle, _norm(self.noise, self.spread)
        error = MEDIAN_ERROR * self.sigma / np.sqrt(inside.sum())
        share = self.spread**2 / max(self.spread**2 + error**2, 1e-30)
        local = share * float(np.median(self.log[inside])) + (1 - share) * self.middle
        return local, _norm(self.noise, np.sqrt(share) * error)


@dataclass(frozen=True)
class Rest:
    """An object over the support plane: limit, the log scale at which its lowest point touches it
    (inf when it never can); gap, how far the points near its foot say that it is from there, and
    doubt, the standard error of that."""

    limit: float
    gap: float
    doubt: float


def votes_of(points: VisiblePoints) -> Votes:
    """The votes of an object's points."""
    log = np.log(points.votes)
    low, high = points.pixels.min(0), points.pixels.max(0)
    part = (points.pixels - low) * GRID // (high - low + 1) @ [GRID, 1]
    counts = np.bincount(part)
    large = np.flatnonzero(counts >= MIN_PART_POINTS)
    medians = np.array([np.median(log[part == p]) for p in large])
    sigma = _sigma(log)
    by_noise = (MEDIAN_ERROR * sigma) ** 2 * float((1 / counts[large]).mean()) if len(large) else 0
    spread = float(np.sqrt(max(_sigma(medians) ** 2 - by_noise, 0)))
    size = float((high - low).max() + 1)
    return Votes(log, points.pixels, float(np.median(log)), sigma, spread, size)


def find_rests(
    sights: list[Sight], votes: list[Votes], ground: Ground, camera: Camera
) -> tuple[list[Rest], float]:
    """Every object over the support plane, and the robust relative sigma of the map's
    low-frequency errors, seen where it should be a plane. Nothing and 0 without a plane."""
    background, plane = ground.background, ground.plane
    if plane is None:
        return [], 0.0
    errors = plane.errors(background)
    on_plane = np.abs(errors) < 3 * MOST_TOLERANCE
    pixels, errors, near = background.pixels[on_plane], errors[on_plane], background.near[on_plane]
    rests = [
        _find_rest(sight, own, plane, pixels, errors, camera)
        for sight, own in zip(sights, votes, strict=True)
    ]
    return rests, _sigma(errors[near])


def _find_rest(
    sight: Sight, votes: Votes, plane: SupportPlane, pixels: Float64, errors: Float64,
    camera: Camera,
) -> Rest:  # fmt: skip
    """One object; pixels (N, 2) and errors (N,): the map's log errors over the plane."""
    drop = sight.vertices @ -plane.normal  # how far below the camera, at lambda = 1
    lowest = float(drop.max())
    if lowest <= 0:
        return Rest(np.inf, np.inf, 0.0)
    foot = sight.vertices[drop > lowest - FOOT * (lowest - float(drop.min()))]
    pixel = project(camera, foot).mean(0)[::-1]
    close = np.abs(pixels - pixel).max(1) < votes.size_px
    warp = float(np.median(errors[close])) if close.sum() >= MIN_LOCAL_CELLS else 0.0
    limit = float(np.log(plane.height / lowest))
    local, doubt = votes.near(pixel)
    return Rest(limit, local - warp - limit, doubt)


def scene_terms(
    votes: list[Votes],
    fitted: Float64,
    rests: list[Rest],
    meetings: list[Meeting],
    spread: float,
    camera: Camera,
    weights: Weights,
) -> list[Term]:
    """All terms of a scene; fitted (K,): the log scales of the objects alone.

    rests: one per object, or none without a support plane; spread: of the map (`find_rests`).
    """
    shape = [np.sqrt(max(v.spread**2 - spread**2, 0)) for v in votes]
    terms = [
        Term("points", k, WORLD, fitted[k], _norm(LEAST_SIGMA, v.noise, spread, shape[k] / 2))
        for k, v in enumerate(votes)
    ]
    for k, rest in enumerate(rests):
        if np.isfinite(rest.limit):
            sigma, doubt = _norm(LEAST_SIGMA, spread, shape[k]), _norm(rest.doubt, shape[k])
            terms += _met("plane", k, WORLD, rest.limit, rest.gap, doubt, sigma, weights)
    for m in meetings:
        front, back = votes[m.front], votes[m.back]
        if np.isfinite(m.limit):
            pixel = project(camera, m.point)[::-1]
            (near_front, error_front), (near_back, error_back) = front.near(pixel), back.near(pixel)
            gap = near_front - near_back - m.limit
            shapes = _norm(shape[m.front], shape[m.back])
            doubt, sigma = _norm(error_front, error_back, shapes), _norm(LEAST_SIGMA, shapes)
            terms += _met("contact", m.front, m.back, m.limit, gap, doubt, sigma, weights)
        if np.isfinite(m.order) and weights.order > 0:
            sigma = LEAST_SIGMA / weights.order
            terms.append(Term("order", m.front, m.back, m.order, sigma, one_sided=True))
    return terms


def _met(
    name: str, front: int, back: int, limit: float, gap: float, doubt: float, sigma: float,
    weights: Weights,
) -> list[Term]:  # fmt: skip
    """The term that holds two things together where they touch, and the one that keeps them apart.

    gap: log relative depth between them as the map tells it, doubt: its standard error.
    """
    terms = []
    weight = getattr(weights, name)
    if weight > 0 and abs(gap) < min(CONTACT_TOLERANCE + 2 * doubt, MOST_TOLERANCE):
        terms.append(Term(name, front, back, limit, sigma / weight, robust=True))
    if weights.penetration > 0:
        hard = HARD_SIGMA / weights.penetration
        terms.append(Term("penetration", front, back, limit, hard, one_sided=True))
    return terms


def _sigma(values: Float64) -> float:
    """Robust standard deviation about the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return SIGMA_FROM_MEDIAN * float(np.median(np.abs(values - np.median(values))))


def _norm(*parts: float) -> float:
    return float(np.linalg.norm(parts))


def supports(
    terms: list[Term], meetings: list[Meeting], sights: list[Sight], plane: SupportPlane | None
) -> list[int | None]:
    """What each object rests on: WORLD for the plane, an object that it touches with its foot."""
    under: list[int | None] = [None] * len(sights)
    if plane is None:
        return under
    touching = {(t.front, t.back) for t in terms if t.name == "contact"}
    for m in meetings:
        if (m.front, m.back) not in touching:
            continue
        for upper, lower in ((m.front, m.back), (m.back, m.front)):
            point = m.point if upper == m.front else m.point * np.exp(m.limit)
            if _height_share(sights[upper], point, plane) < FOOT_TOUCH:
                under[upper] = lower
    for term in terms:
        if term.name == "plane":
            under[term.front] = WORLD
    return under


def _height_share(sight: Sight, point: Float64, plane: SupportPlane) -> float:
    """How high up an object a point lies, 0 at its foot and 1 at its top; both at lambda = 1."""
    height = sight.vertices @ plane.normal
    low, high = float(height.min()), float(height.max())
    return (float(point @ plane.normal) - low) / max(high - low, 1e-12)
