"""Which pixels are the objects', by colour: not the openings onto the ground, but faint thin parts.

Saliency is coarse: it fills a wheel or the gap between two bars, and fades along a thin stem. The
ground's colours around the objects, one Gaussian at every pixel, tell both.
"""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool, Float32, Uint8
from stages.segment.shared.outline import ellipse
from stages.segment.shared.partition import lab_of, spread_from_inside

GRID_PX = 4  # the ground's colours change slowly: they are measured on a grid of this step
REACHES = (
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
)  # in steps of the grid; the nearest with enough ground counts
ENOUGH = 0.1  # share of ground within a reach that is enough to measure its colours
MARGIN_PX = 5  # nearer to an object than this, a pixel may be a mixture or in its shadow
COLOUR_NOISE = 2.0  # Lab units: deviation that noise and JPEG give to a plain ground
GROUND_LIKE = 3.4  # deviations; a Gaussian of three channels has 99 % of its pixels inside
AS_FAR_AS_GROUND = 1.7  # mean deviations of an opening; the ground's own mean is 1.6
CLEARLY_UNLIKE = 9.0  # deviations of a faint part; shadows stay below on most grounds
OPENING_PX = 2  # radius of the smallest disc in an opening
CONTOUR_PX = 3  # within this distance an opening's frame shows its own colour
# Deviations of that frame: drawn wheels and lenses have 12 or more, a plate's shaded rim up to 12.
CONTOUR = 13.0
CHANNELS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # of a symmetric matrix


def object_pixels(rgb: Uint8, salient: Bool, faint: Bool) -> Bool:
    """(H, W) bool: what is salient without openings onto the ground, and the thin parts that go on.

    rgb (H, W, 3) uint8; salient (H, W) bool; faint (H, W) bool is all that may be salient. A faint
    pixel that touches what is salient is added where it is clearly not ground and its colour is
    nearer to the object's.
    """
    lab = lab_of(rgb)
    ground, unlike = compared_with_ground(lab, faint | salient)
    solid = salient & ~openings(unlike, salient)
    if not solid.any():
        return salient
    inside = spread_from_inside(lab, solid)
    of_object = np.linalg.norm(lab - inside, axis=2) < np.linalg.norm(lab - ground, axis=2)
    going_on = faint & ~salient & of_object & (unlike > CLEARLY_UNLIKE)
    _, parts = cv2.connectedComponents((solid | going_on).astype(np.uint8))
    return solid | (going_on & np.isin(parts, np.unique(parts[solid])))


def compared_with_ground(lab: Float32, objects: Bool) -> tuple[Float32, Float32]:
    """The mean colour (H, W, 3) of the ground around each pixel, and how many standard deviations
    (H, W) the pixel is from it (Mahalanobis distance)."""
    away = cv2.dilate(objects.astype(np.uint8), ellipse(MARGIN_PX)) == 0
    products = np.stack([lab[..., i] * lab[..., j] for i, j in CHANNELS], 2)
    sums = np.concatenate([lab, products, np.ones_like(lab[..., :1])], 2) * away[..., None]
    half = GRID_PX // 2
    moments = means_nearby(cv2.blur(sums, (GRID_PX, GRID_PX))[half::GRID_PX, half::GRID_PX])
    spread = np.zeros((*moments.shape[:2], 3, 3))
    for k, (i, j) in enumerate(CHANNELS):
        covariance = moments[..., 3 + k] - moments[..., i] * moments[..., j]
        spread[..., i, j] = spread[..., j, i] = covariance
    precision = np.linalg.inv(spread + COLOUR_NOISE**2 * np.eye(3)).astype(np.float32)
    size = (lab.shape[1], lab.shape[0])
    mean = np.asarray(cv2.resize(moments[..., :3], size), np.float32)
    x = lab - mean
    squares = np.zeros(lab.shape[:2], np.float32)
    for i, j in CHANNELS:
        weight = cv2.resize(np.ascontiguousarray(precision[..., i, j]), size)
        squares += (1 if i == j else 2) * weight * x[..., i] * x[..., j]
    return mean, np.sqrt(np.maximum(squares, 0))


def means_nearby(sums: Float32) -> Float32:
    """(h, w, C) weighted sums, the last of them the weights -> means over what is near."""
    means, missing = np.zeros_like(sums), np.ones(sums.shape[:2], bool)
    for reach in REACHES:
        near = cv2.GaussianBlur(sums, (0, 0), reach)
        found = missing & (near[..., -1] > ENOUGH)
        means[found] = near[found] / near[found][:, -1:]
        missing &= ~found
    means[missing] = sums.sum((0, 1)) / max(float(sums[..., -1].sum()), 1e-9)
    return means


def openings(unlike: Float32, salient: Bool) -> Bool:
    """(H, W) bool: salient pixels that show the ground through a frame of other colours."""
    alike = cv2.medianBlur((salient & (unlike < GROUND_LIKE)).astype(np.uint8), 5)
    alike = cv2.morphologyEx(alike, cv2.MORPH_OPEN, ellipse(OPENING_PX))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
    # Not where it opens to the outside: there is no frame.
    within = cv2.erode(salient.astype(np.uint8), ellipse(CONTOUR_PX + 1)) > 0
    rim = (alike > 0) & (cv2.erode(alike, ellipse(1)) == 0) & within
    frame = cv2.dilate(np.where(salient, unlike, 0), ellipse(CONTOUR_PX))
    shown = np.zeros(count, bool)
    for i, (x, y, wide, high, _) in enumerate(stats[1:], 1):
        box = np.s_[y : y + high, x : x + wide]
        part = parts[box] == i
        contour = frame[box][rim[box] & part]
        if contour.size and np.median(contour) > CONTOUR:
            shown[i] = unlike[box][part].mean() < AS_FAR_AS_GROUND
    return shown[np.asarray(parts, np.intp)]
