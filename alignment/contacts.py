"""Limits of contact: how the scales of two objects that share rays bound each other.

Scaling about the camera's centre moves every point along its own ray. So whether two objects run
into each other is decided ray by ray, and the rays do not change with the scales: if A leaves a ray
at depth a and B enters it at b (both at lambda = 1), A stays in front of B as long as
lambda_A / lambda_B <= b / a. The least such ratio of all shared rays is the limit of the pair; at
the limit the two touch. In logarithms every limit is a difference of two unknowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.visible import Box, DepthView
from scene.cameras import unproject
from scene.morphology import dilated, square
from scene.raycast import Crossings, cast_through
from scene.types import Bool, Camera, Float64

MAX_PIXEL_RAYS = 1500  # per pair of objects
MAX_VERTEX_RAYS = 500  # per object of a pair: contacts lie at vertices more often than at pixels
MIN_SHARED_PIXELS = 4  # fewer are rounding of the outlines
# Of the rays: an order on fewer is that of edges, not of the objects.
MIN_ORDER_FRACTION = 0.05
SPILL = 0.012  # of an object's side: a generated outline may be off by a cell of its grid
ORDER_QUANTILE = 0.05  # of the pixels that may disagree on which of two objects is nearer


@dataclass(frozen=True, eq=False)
class PairContact:
    """Two objects that share rays, `front` in front of `back` on some of them.

    limit: the greatest log(lambda_front / lambda_back) at which neither runs into the other; point
    (3,): where `front` then touches, at lambda = 1, photo camera's frame; order: the greatest one
    at which the first surface of `front` still hides that of `back` where the photo shows it so.
    A limit or order that does not exist is inf.
    """

    front: int
    back: int
    limit: float
    point: Float64
    order: float


@dataclass(frozen=True, eq=False)
class Spans:
    """The stretches of N rays inside an object: start and end (N, L), NaN where there is none."""

    start: Float64
    end: Float64


@dataclass(frozen=True, eq=False)
class _Pair:
    """Objects i and j, the part of the photo that both cover, and the rays to compare them on:
    through shared pixels (N, 3) with z = 1, and through vertices of either that the other covers.
    """

    i: int
    j: int
    box: Box
    pixel_rays: Float64
    vertices_i: Float64
    vertices_j: Float64


def find_pair_contacts(
    views: list[DepthView], masks: list[Bool], scales: Float64, camera: Camera
) -> list[PairContact]:
    """The limits of all pairs of objects whose outlines overlap, in both directions where they
    interlock.

    masks: (H, W) visible pixels; scales (K,): a guess, which decides what comes first on a ray.
    """
    pairs = [p for i, j in _overlapping(views) if (p := _pair(i, j, views, camera)) is not None]
    crossed = _cast_all(pairs, views)
    margins = [_outline_margin(view, mask) for view, mask in zip(views, masks, strict=True)]
    contacts = []
    for pair, (spans_i, spans_j) in zip(pairs, crossed, strict=True):
        both = _both_spans(pair, spans_i, spans_j)
        limits = _limits(both, float(np.log(scales[pair.i] / scales[pair.j])))
        orders = _orders(pair, views, masks, margins)
        ends = ((pair.i, pair.j, both.end_i), (pair.j, pair.i, both.end_j))
        for (front, back, end), (limit, at), order in zip(ends, limits, orders, strict=True):
            if np.isfinite(limit) or np.isfinite(order):
                point = both.rays[at] * end[at] if at >= 0 else np.full(3, np.nan)
                contacts.append(PairContact(front, back, limit, point, order))
    return contacts


def spans_of(crossings: Crossings) -> Spans:
    """The stretches between going in and coming out; a last way in without a way out is thin.

    A way out before any way in (an open mesh) is passed over, as is going in twice.
    """
    count = crossings.distance.shape[1]
    start = np.full(crossings.distance.shape, np.nan)
    end = start.copy()
    depth = np.zeros(len(start), int)  # how many surfaces the ray is inside of
    span = np.full(len(start), -1)
    for layer in range(count):
        at, entering = crossings.distance[:, layer], crossings.entering[:, layer]
        known = np.isfinite(at)
        opens = known & entering & (depth == 0)
        span[opens] += 1
        rows = np.flatnonzero(opens)
        start[rows, span[rows]] = end[rows, span[rows]] = at[rows]
        depth[known & entering] += 1
        rows = np.flatnonzero(known & ~entering & (depth > 0))
        depth[rows] -= 1
        end[rows, span[rows]] = at[rows]
    return Spans(start, end)


def _overlapping(views: list[DepthView]) -> list[tuple[int, int]]:
    """Pairs i < j whose boxes share pixels."""
    edges = np.array(
        [[r.start, r.stop, c.start, c.stop] for r, c in (s.box for s in views)]
    ).reshape(-1, 4)
    first, last = edges[:, [0, 2]], edges[:, [1, 3]]
    share = (np.maximum(first[:, None], first) < np.minimum(last[:, None], last)).all(-1)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(share, 1))]


def _pair(i: int, j: int, views: list[DepthView], camera: Camera) -> _Pair | None:
    """The rays that two objects share, or None when their outlines do not overlap."""
    box = _common(views[i].box, views[j].box)
    rows, columns = np.nonzero(_part(views[i], box) & _part(views[j], box))
    if len(rows) < MIN_SHARED_PIXELS:
        return None
    step = int(np.ceil(len(rows) / MAX_PIXEL_RAYS))
    at = np.stack([columns + box[1].start, rows + box[0].start], 1)[::step] + 0.5
    return _Pair(
        i, j, box, unproject(camera, at),
        _vertices_within(views[i], views[j], camera), _vertices_within(views[j], views[i], camera),
    )  # fmt: skip


def _vertices_within(of: DepthView, through: DepthView, camera: Camera) -> Float64:
    """(N, 3) vertices of one object that project into another's outline."""
    pixels = of.vertices[:, :2] / of.vertices[:, 2:] * [camera.fx_px, camera.fy_px]
    columns, rows = np.floor(pixels + [camera.cx_px, camera.cy_px]).astype(int).T
    rows, columns = rows - through.box[0].start, columns - through.box[1].start
    height, width = through.depth.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside[inside] = through.silhouette[rows[inside], columns[inside]]
    found = np.flatnonzero(inside)
    return of.vertices[found[:: max(1, int(np.ceil(len(found) / MAX_VERTEX_RAYS)))]]


def _cast_all(pairs: list[_Pair], views: list[DepthView]) -> list[tuple[Spans, Spans]]:
    """Both objects' spans on the rays of every pair: [pixels, vertices of i, vertices of j].

    Every object is followed through once, on the rays of all of its pairs together.
    """
    wanted: dict[int, list[Float64]] = {}
    for pair in pairs:
        wanted.setdefault(pair.i, []).append(np.concatenate([pair.pixel_rays, pair.vertices_j]))
        wanted.setdefault(pair.j, []).append(np.concatenate([pair.pixel_rays, pair.vertices_i]))
    parts: dict[int, list[Spans]] = {}
    for index, rays in wanted.items():
        together = np.concatenate(rays)
        together = together / together[:, 2:]
        spans = spans_of(cast_through(views[index].vertices, views[index].faces, together))
        ends = np.cumsum([len(r) for r in rays])[:-1]
        parts[index] = [
            Spans(start, end)
            for start, end in zip(
                np.split(spans.start, ends), np.split(spans.end, ends), strict=True
            )
        ]
    both = []
    for pair in pairs:
        count = len(pair.pixel_rays)
        i, j = parts[pair.i].pop(0), parts[pair.j].pop(0)
        both.append(
            (_with_own(i, count, pair.vertices_i, 0), _with_own(j, count, pair.vertices_j, 1))
        )
    return both


def _with_own(spans: Spans, pixels: int, vertices: Float64, place: int) -> Spans:
    """Add an object's own vertices, as spans without length, before or after the other's."""
    own = np.full((len(vertices), spans.start.shape[1]), np.nan)
    own[:, 0] = vertices[:, 2]

    def joined(cast: Float64) -> Float64:
        others = cast[pixels:]
        return np.concatenate([cast[:pixels], *((own, others) if place == 0 else (others, own))])

    return Spans(joined(spans.start), joined(spans.end))


@dataclass(frozen=True, eq=False)
class _BothSpans:
    """Every stretch inside i with every stretch inside j on the same ray: N combinations."""

    rays: Float64
    start_i: Float64
    end_i: Float64
    start_j: Float64
    end_j: Float64


def _both_spans(pair: _Pair, i: Spans, j: Spans) -> _BothSpans:
    rays = np.concatenate([pair.pixel_rays, pair.vertices_i, pair.vertices_j])
    count = i.start.shape[1]
    first, second = (x.reshape(-1) for x in np.meshgrid(range(count), range(count)))
    row, column = np.nonzero(np.isfinite(i.start[:, first]) & np.isfinite(j.start[:, second]))
    return _BothSpans(
        (rays / rays[:, 2:])[row],
        i.start[row, first[column]], i.end[row, first[column]],
        j.start[row, second[column]], j.end[row, second[column]],
    )  # fmt: skip


def _limits(both: _BothSpans, ratio: float) -> tuple[tuple[float, int], tuple[float, int]]:
    """log limits of lambda_i / lambda_j with i in front of j, and of the inverse with j in front of
    i.

    Each with the combination that sets it, -1 for none. ratio: log(lambda_i / lambda_j) as guessed.
    Stretches that are apart at the guess keep their order. Those that overlap may be parted either
    way: by their middles one by one (objects that interlock), or all of them the same way, together
    with the few that already slipped past each other at an edge. The way that moves the objects
    least and leaves nothing overlapping is taken.
    """
    to_j, to_i = np.log(both.start_j / both.end_i), np.log(both.start_i / both.end_j)
    i_before, j_before = to_j >= ratio, to_i >= -ratio
    overlap = ~i_before & ~j_before
    middle = both.start_i + both.end_i < np.exp(-ratio) * (both.start_j + both.end_j)
    few_i, few_j = (x & (x.mean() < MIN_ORDER_FRACTION) for x in (i_before, j_before))
    best, min_count = None, np.inf
    for i_first in (
        i_before | overlap & middle,
        i_before | overlap | few_j,
        i_before & ~few_i,
    ):
        limit_i, limit_j = _min_ratio(to_j, i_first), _min_ratio(to_i, ~i_first)
        lacking = max(0.0, -limit_i[0] - limit_j[0])
        cost = max(ratio - limit_i[0], -ratio - limit_j[0], 0.0) + 2 * lacking
        if best is None or cost < min_count:
            best, min_count = (limit_i, limit_j), cost
    assert best is not None
    return best


def _min_ratio(limits: Float64, counted: Bool) -> tuple[float, int]:
    """The least of some limits and its index; (inf, -1) for none."""
    if not counted.any():
        return np.inf, -1
    at = int(np.where(counted, limits, np.inf).argmin())
    return float(limits[at]), at


def _orders(
    pair: _Pair, views: list[DepthView], masks: list[Bool], margins: list[Bool]
) -> tuple[float, float]:
    """log limits at which the photo's own order of the two objects' first surfaces holds.

    margins: per object the pixels that its outline may spill over, which do not count.
    """
    depth_i, depth_j = (_part_depth(views[k], pair.box) for k in (pair.i, pair.j))
    both = np.isfinite(depth_i) & np.isfinite(depth_j)
    sure_i, sure_j = (
        both & masks[k][pair.box] & ~margins[other][pair.box]
        for k, other in ((pair.i, pair.j), (pair.j, pair.i))
    )
    min_count = max(MIN_SHARED_PIXELS, MIN_ORDER_FRACTION * int(both.sum()))
    return (
        _order(depth_j[sure_i] / depth_i[sure_i], min_count),
        _order(depth_i[sure_j] / depth_j[sure_j], min_count),
    )


def _outline_margin(view: DepthView, mask: Bool) -> Bool:
    """(H, W) an object's visible pixels, and those about them that its outline may spill over."""
    reach = max(1, round(SPILL * max(s.stop - s.start for s in view.box)))
    return dilated(mask, reach, square)


def _order(ratios: Float64, min_count: float) -> float:
    """The limit that all but a few pixels hold to; inf where too few pixels count."""
    if len(ratios) < min_count:
        return np.inf
    return float(np.log(np.quantile(ratios, ORDER_QUANTILE)))


def _common(a: Box, b: Box) -> Box:
    return (slice(max(a[0].start, b[0].start), min(a[0].stop, b[0].stop)),
            slice(max(a[1].start, b[1].start), min(a[1].stop, b[1].stop)))  # fmt: skip


def _part_depth(view: DepthView, box: Box) -> Float64:
    """The view's depths within a box of the photo that lies in its own."""
    top, left = view.box[0].start, view.box[1].start
    rows, columns = box
    return view.depth[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]


def _part(view: DepthView, box: Box) -> Bool:
    return np.isfinite(_part_depth(view, box))
