"""Which colours have the faces that the photo does not show? They spread from its rim.

Where the unseen side meets the photo it has the photo's own colours, blurred; away from there the
blur widens, and the network's guess and less light come in, so that the two meet without a step.
Faces that the photo sees edge-on have the blurred colours as well: its pixels, stretched over their
depth, would be streaks, and the outermost ones are mixed with the background.
"""

from __future__ import annotations

import cv2
import numpy as np

from scene.morphology import dilated
from scene.types import Bool, Float32, Float64, Uint8
from stages.generate.lite.columns import Columns
from stages.generate.shared.lattice import bleed_colours, neighbour_views

# Lengths are shares of the crop's side, but for those in pixels.
UNSURE = 0.008  # farther within the outline, that a mask may have taken from the background
FRINGE_PX, DEEP_PX = 2.5, 4.0  # from the outline: never the object alone; beyond thin parts
BLURS = (0.012, 0.025, 0.05, 0.1)
WIDENING = 0.7  # of the blur, over the distance from the photo
REACH = 0.04  # distance from the photo over which guess and shade come in
OWN_FRACTION, SHADE = 0.8, 0.8  # of the network's brightness; of the photo's
DARK = 5.0  # of 255: below it a brightness has no colour
SEAM = 0.025  # within the outline: there the photo does not show faces that it sees edge-on
EDGE_ON, TURNED = 0.1, 0.3  # cosines of ray and normal: nothing, and everything, is the photo's
FAINT = 1e-3  # weight of the next wider blur, which counts where there is nothing else
COARSE = 4  # pixels of the crop over one of smooth colours


def spread_colours(
    rgba: Uint8, back: Float32, inner: Float32, columns: Columns
) -> tuple[Float32, Float32, Uint8]:
    """Colours of the last surface and within the gap, (Q, Q, 3) in [0, 255], Q a quarter of the
    crop's side, and of the photo (N, N, 3). rgba (N, N, 4); back, inner (Q, Q, 3): the network's,
    in [0, 255]."""
    size, coarse = rgba.shape[0], back.shape[0]
    solid = rgba[..., 3] > 127
    rim_px = _distance(solid)
    rim = _shrunk(rim_px, coarse) / size
    blurs = _blurs(rgba, rim_px, coarse)
    edge = np.minimum(rim, _within_gap(columns, coarse))
    last, gap = (_spread(blurs, c, d) for c, d in ((back, rim), (inner, edge)))
    mixed = solid & (rim_px < FRINGE_PX) & dilated(rim_px > DEEP_PX, int(DEEP_PX + 1))
    photo = bleed_colours(np.dstack([rgba[..., :3], np.where(mixed, 0, rgba[..., 3])]))
    weight = _edge_on(columns, size) * np.clip(2 - 2 * rim_px / (SEAM * size), 0, 1)
    beside = cv2.resize(blurs[0], (size, size), interpolation=cv2.INTER_LINEAR)
    seen = photo + weight[..., None] * (beside - photo)
    return last, gap, np.rint(seen).clip(0, 255).astype(np.uint8)


def _spread(blurs: Float32, guess: Float32, distance: Float32) -> Float32:
    """(Q, Q, 3): blurs (L, Q, Q, 3) that widen with the distance (Q, Q) from the photo, and a
    guess that comes in."""
    steps = np.log(np.array(BLURS, np.float32))
    level = np.interp(np.log(BLURS[0] + WIDENING * distance), steps, np.arange(len(BLURS)))
    shares = np.maximum(1 - np.abs(level - np.arange(len(BLURS))[:, None, None]), 0)
    near = (shares[..., None] * blurs).sum(0)
    # The photo knows the colour, the network how light falls on the other side.
    bright = near.mean(-1, keepdims=True)
    wanted = OWN_FRACTION * guess.mean(-1, keepdims=True) + (1 - OWN_FRACTION) * SHADE * bright
    far = near * (wanted / np.maximum(bright, DARK))
    come = 1 - np.exp(-((distance / REACH) ** 2))
    return np.asarray(near + come[..., None] * (far - near), np.float32)


def _blurs(rgba: Uint8, rim_px: Float32, coarse: int) -> Float32:
    """(L, Q, Q, 3): the object's colours, as wide as each of BLURS; those of the outline count
    little."""
    sure = np.clip((rim_px - FRINGE_PX) / (UNSURE * rgba.shape[0]), FAINT, 1) * (rim_px > 0)
    both = np.concatenate([rgba[..., :3] * sure[..., None], sure[..., None]], -1)
    small = _shrunk(both.astype(np.float32), coarse)
    wider = small.mean((0, 1))[None, None]
    levels = []
    for blur in reversed(BLURS):
        sums = cv2.GaussianBlur(small, (0, 0), blur * coarse, borderType=cv2.BORDER_CONSTANT)
        sums = sums + FAINT * wider / np.maximum(wider[..., 3:], 1e-9)
        wider = sums / sums[..., 3:]
        levels.append(wider[..., :3])
    return np.stack(levels[::-1]).astype(np.float32)


def _within_gap(columns: Columns, coarse: int) -> Float32:
    """(Q, Q) distance from where a gap ends, 0 where there is none."""
    gap = columns.inside & (columns.gap_level > 0)
    return _at_pixels(_distance(gap) / (len(gap) - 1), coarse)


def _edge_on(columns: Columns, size: int) -> Float32:
    """(N, N) in [0, 1]: how far the front is seen from the side."""
    front, inside = columns.front, columns.inside
    across = np.zeros((2, *front.shape))
    for i, (here, there) in enumerate(neighbour_views()):
        step = np.where(inside[here] & inside[there], np.abs(front[here] - front[there]), 0)
        across[i % 2][here] = np.maximum(across[i % 2][here], step)
    slope = np.hypot(across[0], across[1]) * (len(front) - 1)
    cosine = 1 / np.hypot(1, slope)
    return _at_pixels(np.clip((TURNED - cosine) / (TURNED - EDGE_ON), 0, 1), size)


def _at_pixels(values: Float64, size: int) -> Float32:
    """(size, size) values of the lattice's nodes (G + 1, G + 1) at a crop's pixels."""
    node = ((np.arange(size) + 0.5) * ((len(values) - 1) / size)).astype(np.float32)
    x, y = np.meshgrid(node, node)
    return np.asarray(cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR), np.float32)


def _distance(where: Bool) -> Float32:
    """(H, W) pixels from the nearest one that is not within the mask or the picture."""
    framed = np.pad(where.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 5), np.float32)[1:-1, 1:-1]


def _shrunk(values: Float32, size: int) -> Float32:
    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA), np.float32)
