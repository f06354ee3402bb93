"""Which regions may be one object: a tree of merged superpixels inside the salient pixels.

Neighbouring regions merge while the edge between them is weak or their union is convex: table-top
objects are mostly convex, and the contour of two that touch has a notch where they meet. Legs and
stems make notches of their own: a thin part also joins the neighbour whose colours it has.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64, Uint8
from stages.segment.shared.memory import remembered

Int32 = NDArray[np.int32]

CELL_PX = 16  # one superpixel a cell, as in waterpixels (Machairas et al. 2015)
MIN_CELL_PX = 20  # cells with fewer salient pixels give no superpixel of their own
EDGE_BLUR_PX = 1.5
RIM_PX = 4.0  # nearer to the outside, a pixel may be mixed with it: saliency is that coarse
EDGE_UNIT = 30.0  # this much Lab change counts as much as a notch of the smaller region's size
COLOUR_WEIGHT = 0.3  # weight of the difference of mean colours beside the edge between two regions
WEAK_EDGE = 4.0  # Lab units a pixel; below this an edge is texture or shading
SPECK_PX = 120  # a superpixel this small has no edges worth trusting
NOTCH_WEIGHT = 0.35  # weight of a notch in the contour against the edge that meets it
THIN = 4.0  # length over width from which a part is thin
SMALL_PX = 1000  # about four superpixels; a part this small may show one tone of a texture
SAME_COLOURS = 12.0  # Lab units by which the mean colours of parts of one plain object differ
SPREAD_UNIT = 8.0  # Lab units; a neighbour whose colours deviate by this is given twice as much
ONE_OBJECT = 0.55  # merging stops here; measured on rendered table-top scenes


@dataclass(frozen=True, eq=False)
class RegionTree:
    """Superpixels and the regions they merge into, each a candidate object.

    superpixels (H, W) int32, 0 where nothing is salient, else 1 + column of `members`;
    members (R, S) bool: the superpixels of each region; objects: the regions (rows) at which
    merging stopped, disjoint, covering every superpixel.
    """

    superpixels: Int32
    members: Bool
    objects: tuple[int, ...]

    def mask(self, region: int) -> Bool:
        """(H, W) bool pixels of a region."""
        return np.concatenate([[False], self.members[region]])[self.superpixels]


@dataclass(eq=False)
class Regions:
    """The living regions while they merge: sums over pixels, hulls, and edges to neighbours."""

    areas: list[float]
    colour_sums: Float64  # (N, 6): sums of L, a, b and of their squares
    depth_sums: list[float]  # of the distance to what is not salient
    hulls: list[Int32]
    hull_areas: list[float]
    edges: list[dict[int, tuple[float, float]]]  # neighbour -> (length, sum of edge strength)


@remembered(16)
def region_tree(rgb: Uint8, salient: Bool, thin_parts: bool = True) -> RegionTree:
    """Merge superpixels of the salient pixels of rgb (H, W, 3) uint8 into candidate objects.

    thin_parts: whether these join what they belong to. With them goes a rim of ground that was
    taken for salient, which is told apart by its colours else.
    """
    lab = spread_from_inside(lab_of(rgb), salient) if thin_parts else lab_of(rgb)
    strength = edge_strength(lab)
    superpixels = watershed_superpixels(strength, salient)
    count = int(superpixels.max())
    if count == 0:
        return RegionTree(superpixels, np.zeros((0, 0), bool), ())
    regions = measure(superpixels, lab, strength)
    weak, alive = merge_all(regions, edge_cost, WEAK_EDGE, list(range(count)))
    convex, alive = merge_all(regions, convexity_cost, ONE_OBJECT, alive)
    thin: list[tuple[int, int]] = []
    if thin_parts:
        thin, alive = merge_all(regions, thin_part_cost, SAME_COLOURS, alive)
    # Past the stop the tree goes on, for prompts that mean a group.
    groups, _ = merge_all(regions, convexity_cost, np.inf, alive)
    members, row_of = list(np.eye(count, dtype=bool)), list(range(count))
    for kept, gone in [*weak, *convex, *thin]:
        members.append(members[row_of[kept]] | members[row_of[gone]])
        row_of[kept] = len(members) - 1
    objects = tuple(row_of[region] for region in alive)
    for kept, gone in groups:
        members.append(members[row_of[kept]] | members[row_of[gone]])
        row_of[kept] = len(members) - 1
    return RegionTree(superpixels, np.array(members), objects)


def lab_of(rgb: Uint8) -> Float32:
    """(H, W, 3) uint8 sRGB -> (H, W, 3) float32 CIE Lab."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


def spread_from_inside(lab: Float32, salient: Bool) -> Float32:
    """Lab (H, W, 3) with every pixel outside, or mixed with it, as its nearest pure pixel inside.

    Otherwise the object's own contour makes a thin part all edge, cut off from its neighbours.
    """
    from scipy.ndimage import distance_transform_edt

    if not salient.any():
        return lab
    depth = cv2.distanceTransform(salient.astype(np.uint8), cv2.DIST_L2, 5)
    ridge = depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8))
    pure = salient & ((depth > RIM_PX) | ridge)
    nearest = distance_transform_edt(~pure, return_distances=False, return_indices=True)
    return lab[tuple(np.asarray(nearest))]


def edge_strength(lab: Float32) -> Float32:
    """(H, W) float32 length of the Lab gradient of (H, W, 3), Lab units a pixel."""
    smooth = cv2.GaussianBlur(lab, (0, 0), EDGE_BLUR_PX)
    # 32 is the sum of a Scharr kernel's weights times its two-pixel baseline.
    across = cv2.Scharr(smooth, cv2.CV_32F, 1, 0) / 32
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1) / 32
    return np.sqrt((across**2 + down**2).sum(2)).astype(np.float32)


def watershed_superpixels(strength: Float32, salient: Bool) -> Int32:
    """(H, W) int32 superpixels 1..S inside the salient pixels, 0 elsewhere: a watershed grown
    from the weakest edge pixel of every cell."""
    from scipy.ndimage import distance_transform_edt

    markers = np.where(salient, 0, 1).astype(np.int32)
    count = 1
    for y in range(0, salient.shape[0], CELL_PX):
        for x in range(0, salient.shape[1], CELL_PX):
            inside = salient[y : y + CELL_PX, x : x + CELL_PX]
            if np.count_nonzero(inside) < MIN_CELL_PX:
                continue
            cell = np.where(inside, strength[y : y + CELL_PX, x : x + CELL_PX], np.inf)
            dy, dx = np.unravel_index(int(cell.argmin()), cell.shape)
            count += 1
            markers[y + dy, x + dx] = count
    if count == 1:
        return np.zeros(salient.shape, np.int32)
    relief = np.clip(strength * 6, 0, 255).astype(np.uint8)
    cv2.watershed(cv2.merge([relief] * 3), markers)
    markers[~salient] = 1
    grown = np.maximum(markers - 1, 0)
    nearest = distance_transform_edt(grown == 0, return_distances=False, return_indices=True)
    filled = np.where(salient, grown[tuple(np.asarray(nearest))], 0)
    # The 0 in front keeps background at 0 where every pixel is salient.
    numbered = np.unique(np.append(0, filled), return_inverse=True)[1][1:]
    return numbered.reshape(salient.shape).astype(np.int32)


def measure(superpixels: Int32, lab: Float32, strength: Float32) -> Regions:
    """Areas, colour sums, convex hulls and shared edges of superpixels 1..S, as regions 0..S-1."""
    from scipy.ndimage import find_objects

    labels = superpixels.ravel()
    count = int(superpixels.max())
    areas = np.bincount(labels, minlength=count + 1)[1:].astype(np.float64)
    moments = np.concatenate([lab, lab**2], 2)
    sums = [np.bincount(labels, moments[..., c].ravel(), count + 1)[1:] for c in range(6)]
    hulls: list[Int32] = []
    for i, window in enumerate(find_objects(superpixels)):
        rows, columns = np.nonzero(superpixels[window] == i + 1)
        corners = np.stack([columns + window[1].start, rows + window[0].start], 1).astype(np.int32)
        # A pixel is a square: its four corners, so that a hull's area counts whole pixels.
        squares = [corners + offset for offset in ([0, 0], [1, 0], [0, 1], [1, 1])]
        hulls.append(convex_hull(np.vstack(squares).astype(np.int32)))
    hull_areas = [float(cv2.contourArea(hull)) for hull in hulls]
    edges = shared_edges(superpixels, strength)
    depth = cv2.distanceTransform((superpixels > 0).astype(np.uint8), cv2.DIST_L2, 5)
    depth_sums = np.bincount(labels, depth.ravel(), count + 1)[1:]
    return Regions(
        areas.tolist(),
        np.stack(sums, 1).astype(np.float64),
        depth_sums.tolist(),
        hulls,
        hull_areas,
        edges,
    )


def shared_edges(superpixels: Int32, strength: Float32) -> list[dict[int, tuple[float, float]]]:
    """For each superpixel its neighbours, with the length and summed strength of their border."""
    edges: list[dict[int, tuple[float, float]]] = [{} for _ in range(int(superpixels.max()))]
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = superpixels[here], superpixels[there]
        border = (a != b) & (a > 0) & (b > 0)
        heights = np.maximum(strength[here], strength[there])[border]
        for i, j, height in zip(a[border] - 1, b[border] - 1, heights, strict=True):
            length, total = edges[i].get(int(j), (0.0, 0.0))
            edges[i][int(j)] = edges[j][int(i)] = (length + 1, total + float(height))
    return edges


def edge_cost(regions: Regions, i: int, j: int) -> float:
    """How strong the edge between two regions is, Lab units a pixel; negative for specks."""
    if min(regions.areas[i], regions.areas[j]) <= SPECK_PX:
        return -1 + 1e-3 * colour_distance(regions, i, j)
    length, total = regions.edges[i][j]
    return total / length + COLOUR_WEIGHT * colour_distance(regions, i, j)


def convexity_cost(regions: Regions, i: int, j: int) -> float:
    """What speaks against one object: the edge between two regions and the notch of their union.

    The notch is the area that the union's hull gains beyond the two regions' own dents, as a share
    of the smaller region; a region that fills a dent of the other makes it negative.
    """
    length, total = regions.edges[i][j]
    edge = (total / length + COLOUR_WEIGHT * colour_distance(regions, i, j)) / EDGE_UNIT
    area_i, area_j = regions.areas[i], regions.areas[j]
    hull_area = float(cv2.contourArea(hull_of_both(regions, i, j)))
    dents = max(regions.hull_areas[i] - area_i, 0) + max(regions.hull_areas[j] - area_j, 0)
    notch = (hull_area - area_i - area_j - dents) / min(area_i, area_j)
    return edge + (NOTCH_WEIGHT * notch if notch > 0 else notch)


def thin_part_cost(regions: Regions, i: int, j: int) -> float:
    """How far the colours of a thin or small part are from its neighbour's, Lab units that grow
    with the neighbour's own spread; never where both regions are compact."""
    small, large = sorted((i, j), key=lambda k: regions.areas[k])
    slender = max(regions.areas[k] ** 3 / regions.depth_sums[k] ** 2 for k in (i, j))
    # A strip of width w and length l has a mean depth of w / 4.
    if slender < 16 * THIN and regions.areas[small] > SMALL_PX:
        return np.inf
    mean_small = regions.colour_sums[small, :3] / regions.areas[small]
    moments = regions.colour_sums[large] / regions.areas[large]
    spread = np.sqrt(np.maximum(moments[3:] - moments[:3] ** 2, 0))
    return float(np.linalg.norm((mean_small - moments[:3]) / (1 + spread / SPREAD_UNIT)))


def colour_distance(regions: Regions, i: int, j: int) -> float:
    """Frechet distance of two regions' colours, each a Gaussian with independent L, a and b.

    The spread matters: print on a box and plain wickerwork may share a mean.
    """
    moments_i = regions.colour_sums[i] / regions.areas[i]
    moments_j = regions.colour_sums[j] / regions.areas[j]
    spread_i = np.sqrt(np.maximum(moments_i[3:] - moments_i[:3] ** 2, 0))
    spread_j = np.sqrt(np.maximum(moments_j[3:] - moments_j[:3] ** 2, 0))
    squares = (moments_i[:3] - moments_j[:3]) ** 2 + (spread_i - spread_j) ** 2
    return float(np.sqrt(squares.sum()))


def hull_of_both(regions: Regions, i: int, j: int) -> Int32:
    """(N, 2) int32 convex hull of two regions together."""
    return convex_hull(np.vstack([regions.hulls[i], regions.hulls[j]]))


def convex_hull(points: Int32) -> Int32:
    """(N, 2) -> (M, 2) int32 corners of the convex hull."""
    # OpenCV 4 and 5 differ in whether an axis of length 1 comes back too.
    return np.asarray(cv2.convexHull(points), np.int32).reshape(-1, 2)


def merge_all(
    regions: Regions, cost: Callable[[Regions, int, int], float], stop: float, alive: list[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Merge the cheapest neighbours until every pair costs more than stop; changes `regions`.

    Returns the merges (kept, gone) in order, and the regions that are left.
    """
    left, versions = set(alive), [0] * len(regions.areas)
    queue: list[tuple[float, int, int, int, int]] = []

    def push(i: int, j: int) -> None:
        i, j = min(i, j), max(i, j)
        heapq.heappush(queue, (cost(regions, i, j), i, j, versions[i], versions[j]))

    for i in alive:
        for j in regions.edges[i]:
            if i < j:
                push(i, j)
    merges: list[tuple[int, int]] = []
    while queue and queue[0][0] <= stop:
        _, i, j, version_i, version_j = heapq.heappop(queue)
        if not {i, j} <= left or (versions[i], versions[j]) != (version_i, version_j):
            continue
        join(regions, i, j)
        left.discard(j)
        versions[i] += 1
        merges.append((i, j))
        for k in regions.edges[i]:
            push(i, k)
    return merges, sorted(left)


def join(regions: Regions, kept: int, gone: int) -> None:
    """Add the region `gone` to `kept`."""
    regions.hulls[kept] = hull_of_both(regions, kept, gone)
    regions.hull_areas[kept] = float(cv2.contourArea(regions.hulls[kept]))
    regions.areas[kept] += regions.areas[gone]
    regions.depth_sums[kept] += regions.depth_sums[gone]
    regions.colour_sums[kept] += regions.colour_sums[gone]
    for k, (length, total) in regions.edges[gone].items():
        del regions.edges[k][gone]
        if k == kept:
            continue
        more_length, more_total = regions.edges[kept].get(k, (0.0, 0.0))
        both = (length + more_length, total + more_total)
        regions.edges[kept][k] = regions.edges[k][kept] = both
    regions.edges[gone] = {}
