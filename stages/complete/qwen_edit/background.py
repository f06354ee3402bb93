"""The object of an edited picture on its plain background: how much of every pixel it covers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.morphology import dilated, eroded, square
from scene.types import Bool, Float32, Float64, Uint8

RING = 0.03  # width of the border that should be background, over the side
PLAIN = 7.0  # Lab units within which a colour is the background's
MIN_PLAIN_FRACTION = 0.6  # of the border; an object that the photo cuts off takes a part of it
FIT_SIDE_PX = 128
ROUNDS = 4
SOLID = 12.0  # Lab units from the background that are surely another thing
COLOUR_WINDOW = 0.05  # window over the side in which the object's own colour is looked for
SPECK = 5e-4  # of the picture: smaller pieces are noise
HOLE = 0.01  # of the object: smaller holes are its own pale spots, larger ones are seen through


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A background's colour everywhere, lab (M, M, 3), and the share of the border that has it."""

    lab: Float32
    share: float

    @property
    def plain(self) -> bool:
        """Whether there is a plain background at all."""
        return self.share >= MIN_PLAIN_FRACTION


def to_lab(rgb: Uint8 | Float32) -> Float32:
    """sRGB (..., 3) in 0 to 255 -> CIE Lab, L 0 to 100."""
    colours = np.asarray(rgb, np.float32).reshape(-1, 1, 3) / 255
    lab = np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB), np.float32)
    return lab.reshape(rgb.shape)


def backdrop(edit: Uint8) -> Backdrop:
    """The background of an edit (M, M, 3): a quadratic in x and y through the border's colours.

    Editors vignette and shade: one colour would leave a rim. Fitted to what is near it, again and
    again, from the border's median.
    """
    side = edit.shape[0]
    small = cv2.resize(edit, (FIT_SIDE_PX,) * 2, interpolation=cv2.INTER_AREA)
    lab = to_lab(np.asarray(small, np.uint8)).reshape(-1, 3).astype(np.float64)
    ring = _ring(FIT_SIDE_PX).ravel()
    terms = _quadratic(FIT_SIDE_PX)
    fitted = np.broadcast_to(np.median(lab[ring], axis=0), lab.shape)
    for round_ in range(ROUNDS):
        reach = 2 * PLAIN if round_ == 0 else PLAIN
        near = np.linalg.norm(lab - fitted, axis=1) < reach
        near &= ring if round_ < 2 else True
        if near.sum() < 4 * terms.shape[1]:
            break
        coefficients = np.linalg.lstsq(terms[near], lab[near], rcond=None)[0]
        fitted = terms @ coefficients
    share = float((np.linalg.norm(lab - fitted, axis=1) < PLAIN)[ring].mean())
    field = fitted.reshape(FIT_SIDE_PX, FIT_SIDE_PX, 3).astype(np.float32)
    whole = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)
    return Backdrop(np.asarray(whole, np.float32), share)


def coverage(edit: Uint8, behind: Backdrop) -> Float32:
    """(M, M) in [0, 1]: how much of each pixel is the object, holes filled, specks dropped.

    In the rim, the distance from the background's colour over that of the object's own colour
    nearby: what a mixed pixel is made of.
    """
    distance = np.linalg.norm(to_lab(edit) - behind.lab, axis=-1)
    far_off = distance > SOLID
    noise = float(np.median(distance[~far_off])) if (~far_off).any() else 0.0
    own = _own_distance(distance, far_off)
    share = ((distance - noise) / np.maximum(own - noise, 1)).clip(0, 1).astype(np.float32)
    body = filled((share > 0.5) & (distance > min(SOLID, PLAIN + 2 * noise)))
    core, reach = eroded(body, 2, square), dilated(body, 2, square)
    return np.where(core, 1, np.where(reach, share, 0)).astype(np.float32)


def filled(body: Bool) -> Bool:
    """The mask without specks and without small holes."""
    kept = body & ~_pieces_below(body, SPECK * body.size)
    return kept | _pieces_below(~kept, HOLE * kept.sum())


def _pieces_below(mask: Bool, area_px: float) -> Bool:
    """The connected pieces of a mask that have fewer pixels."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] < area_px]
    return np.isin(parts, small)


def _own_distance(distance: Float32, solid: Bool) -> Float32:
    """(M, M): how far from the background the object's colour is nearby, from its inner pixels."""
    inner = eroded(solid, 2, square).astype(np.float32)
    window = (2 * max(2, round(COLOUR_WINDOW * len(distance) / 2)) + 1,) * 2
    share = cv2.blur(inner, window, borderType=cv2.BORDER_CONSTANT)
    mean = cv2.blur(distance * inner, window, borderType=cv2.BORDER_CONSTANT)
    somewhere = float(distance[inner > 0].mean()) if inner.any() else 100.0
    return np.where(share > 1e-4, mean / np.maximum(share, 1e-4), somewhere).astype(np.float32)


def _ring(side: int) -> Bool:
    width = max(2, round(RING * side))
    ring = np.ones((side, side), bool)
    ring[width:-width, width:-width] = False
    return ring


def _quadratic(side: int) -> Float64:
    """(side * side, 6): 1, x, y, x^2, x y, y^2 with x and y from -1 to 1."""
    steps = np.linspace(-1, 1, side)
    x, y = (a.ravel() for a in np.meshgrid(steps, steps))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
