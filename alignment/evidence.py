"""What a scene's residual terms are made from: where its objects touch each other and the plane.

Evidence is local: near the place where two objects meet, the map's low-frequency errors are the
same for both, so their ratio shows a contact even where the depth itself is wrong by several per
cent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alignment.contacts import PairContact
from alignment.estimates import SingleObjectFit, norm, robust_sigma
from alignment.joint import WORLD, Residual
from alignment.support import Ground, SupportPlane
from scene.cameras import project, unproject
from scene.types import Camera, Figure, Float64

MIN_LOCAL_CELLS = 4  # of the background about a foot: fewer do not show the map's error there
FOOT = 0.1  # what counts as the foot of an object, as a fraction of its height
LOWER = 0.08  # of its own height by which what carries an object must reach further down
STANDING = 0.02  # height of the measured foot over the plane, over its depth, that still stands
FOOT_TOUCH = 0.25  # up to this fraction of its height an object rests on what it touches
MIN_SIGMA = 0.002  # relative depth: no point map, shape or contact is believed better
HARD_SIGMA = 0.0005  # of what cannot be: two bodies in one place
PLANE_SIGMA = 0.0005  # of the support plane, which thousands of pixels measure
CONTACT_TOLERANCE, MAX_TOLERANCE = 0.003, 0.03  # relative depth gap that still counts as contact


@dataclass(frozen=True)
class PlaneContact:
    """An object over the support plane: limit, the log scale at which its lowest point touches it
    (inf when it never can); gap, how far from there it is by the points near its foot, and
    doubt, the standard error of that; standing: whether its measured foot lies on the plane."""

    limit: float
    gap: float
    doubt: float
    standing: bool


@dataclass(frozen=True)
class Contact:
    """Two things that may touch: objects `front` and `back`, or an object and the plane (WORLD).

    All in log relative depth. limit: where they touch; gap: between them as the map measures it
    near that place, and doubt, its standard error; overlap: how far each by itself reaches into the
    other; sigma, hard: of the terms that hold them together and keep them apart.
    """

    front: int
    back: int
    limit: float
    gap: float
    doubt: float
    overlap: float
    sigma: float
    hard: float

    @property
    def closed(self) -> bool:
        """Whether the map shows no gap between the two."""
        return abs(self.gap) < min(CONTACT_TOLERANCE + 2 * self.doubt, MAX_TOLERANCE)


@dataclass(frozen=True, eq=False)
class SceneEvidence:
    """All that is known of a photo's objects before they are settled together.

    objects: each fitted by itself; pairs: of objects whose outlines overlap; contacts: of these
    pairs that have a limit, then of objects with the support plane; stands_on (K,): per object the
    other one that carries it, None where none is known to; standing (K,): whether its measured foot
    lies on the plane; map_sigma: the map's low-frequency error; shape_sigma (K,): of each object's
    shape, both in relative depth.
    """

    objects: list[SingleObjectFit]
    pairs: list[PairContact]
    contacts: list[Contact]
    stands_on: list[int | None]
    standing: list[bool]
    map_sigma: float
    shape_sigma: list[float]
    ground: Ground
    camera: Camera


# What a term may report per object once all scales are known: (evidence, log scales (K,)).
Figures = Callable[[SceneEvidence, Float64], list[Figure | None]]


@dataclass(frozen=True)
class SceneTerm:
    """One kind of residual: how its setting and its residuals are called, and what makes them.

    residuals: for a weight above 0, by which it divides its sigmas; figures: for the fit reports,
    one per object or None for none.
    """

    name: str
    residuals: Callable[[SceneEvidence, float], list[Residual]]
    figures: Figures | None = None


def gather_evidence(
    objects: list[SingleObjectFit],
    pairs: list[PairContact],
    ground: Ground,
    camera: Camera,
    contacts_count: bool,
) -> SceneEvidence:
    """What ties these objects together. contacts_count: whether objects may stand on each other."""
    plane_contacts, spread = find_plane_contacts(objects, ground, camera)
    shape = [float(np.sqrt(max(o.scale_estimates.spread**2 - spread**2, 0))) for o in objects]
    found = [(p, _pair_contact(p, objects, shape, camera)) for p in pairs if np.isfinite(p.limit)]
    held = [p for p, contact in found if contacts_count and contact.closed]
    stands_on = support_graph(held, objects, ground)
    contacts = [contact for _, contact in found]
    for k, touched in enumerate(plane_contacts):
        if not np.isfinite(touched.limit):
            continue
        sigma = norm(PLANE_SIGMA, spread / 8, shape[k])
        doubt = norm(touched.doubt, spread / 2, shape[k])
        # What stands on another object does not stand on the plane, however thin the other is.
        gap = touched.gap if stands_on[k] is None else np.inf
        overlap, hard = objects[k].log_scale - touched.limit, norm(HARD_SIGMA, shape[k] / 2)
        contacts.append(Contact(k, WORLD, touched.limit, gap, doubt, overlap, sigma, hard))
    standing = [bool(np.isfinite(p.limit)) and p.standing for p in plane_contacts]
    return SceneEvidence(
        objects, pairs, contacts, stands_on, standing or [False] * len(objects), spread, shape,
        ground, camera,
    )  # fmt: skip


def _pair_contact(
    pair: PairContact, objects: list[SingleObjectFit], shape: list[float], camera: Camera
) -> Contact:
    pixel = project(camera, pair.point)[::-1]
    front, back = objects[pair.front], objects[pair.back]
    near_front, error_front = front.scale_estimates.local_estimate(pixel)
    near_back, error_back = back.scale_estimates.local_estimate(pixel)
    gap = near_front - near_back - pair.limit
    overlap = front.log_scale - back.log_scale - pair.limit
    shapes = norm(shape[pair.front], shape[pair.back])
    doubt, sigma = norm(error_front, error_back, shapes), norm(MIN_SIGMA, shapes)
    return Contact(pair.front, pair.back, pair.limit, gap, doubt, overlap, sigma, HARD_SIGMA)


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
    contacts = []
    for one in objects:
        view, own = one.view, one.scale_estimates
        drop = view.vertices @ -plane.normal  # how far below the camera, at lambda = 1
        lowest = float(drop.max())
        if lowest <= 0:
            contacts.append(PlaneContact(np.inf, np.inf, 0.0, False))
            continue
        foot = view.vertices[drop > lowest - FOOT * (lowest - float(drop.min()))]
        pixel = project(camera, foot).mean(0)[::-1]
        close = np.abs(pixels - pixel).max(1) < own.size_px
        warp = float(np.median(errors[close])) if close.sum() >= MIN_LOCAL_CELLS else 0.0
        limit, (local, doubt) = float(np.log(plane.height / lowest)), own.local_estimate(pixel)
        standing = _stands(one, plane, warp, camera)
        contacts.append(PlaneContact(limit, local - warp - limit, doubt, standing))
    return contacts, robust_sigma(errors[near])


def _stands(one: SingleObjectFit, plane: SupportPlane, warp: float, camera: Camera) -> bool:
    """Whether the measured points at the foot of what is visible lie on the plane.

    Which points these are, and how high each is over the lowest, is the mesh's, free of noise.
    """
    points = one.points
    up = unproject(camera, points.pixels[:, ::-1] + 0.5) @ plane.normal
    model = np.exp(one.scale_estimates.middle) * points.model * up
    foot = model <= np.quantile(model, FOOT)
    measured = points.measured[foot] * up[foot] * np.exp(-warp) + plane.height
    height = float(np.median(measured) - np.median(model[foot]) + model.min())
    return abs(height) < STANDING * float(np.median(points.measured))


def support_graph(
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
