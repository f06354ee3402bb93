"""Where are a photo's objects, roughly, and how do they lie: size, border, neighbours, glass."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from scene.cameras import OBJECT_FRAMING
from scene.morphology import dilated, eroded, square
from scene.types import Bool, Uint8

SEARCH_SIDE_PX = 384  # long side at which objects are looked for
MIN_FRACTION = 0.004  # of the photo; smaller regions are fragments of others
SALIENT = 0.5
STANDS_OUT = 0.2  # a box with less that stands out is taken whole
TOUCH_FRACTION = 0.006  # of the photo's long side: nearer than that, objects touch
BORDER_FRACTION = 0.006  # ... and are at the border
RING_FRACTION = 0.12  # of an object's size: its surroundings
PLAIN = 18.0  # Lab units: in surroundings of more colours nothing is reported
GLASS_COLOUR = 6.0  # Lab units by which it may differ from its surroundings
GLINT, GLINT_OVER = 235, 45  # grey levels: of a glint, and over the object's own
GLINT_FRACTION = (0.001, 0.05)  # of the object
MIN_GLINTS = 2
Box = tuple[float, float, float, float]


def find_objects(rgb: Uint8) -> list[Bool]:
    """Masks (H, W) of what stands out, the largest first: one look, without clean outlines."""
    from stages.segment.shared.analysed import absorb_fragments
    from stages.segment.shared.partition import region_tree

    small = shrunk(rgb, SEARCH_SIDE_PX)
    tree = region_tree(small, _saliency(small) > SALIENT)
    found = absorb_fragments(
        [tree.mask(region) for region in tree.objects], MIN_FRACTION * small[..., 0].size
    )
    size = (rgb.shape[1], rgb.shape[0])
    grown = [cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for m in found]
    return [mask > 0 for mask in sorted(grown, key=lambda m: -int(m.sum()))]


def objects_in_boxes(rgb: Uint8, boxes: Sequence[Box]) -> list[Bool]:
    """For each box (x0, y0, x1, y1 px, at least a pixel of it in the photo) the mask (H, W) of what
    stands out inside, else of the whole box."""
    if not boxes:
        return []
    small = shrunk(rgb, SEARCH_SIDE_PX)
    size = (rgb.shape[1], rgb.shape[0])
    salient = cv2.resize(_saliency(small), size) > SALIENT
    masks = []
    for x0, y0, x1, y1 in boxes:
        inside = np.zeros(rgb.shape[:2], bool)
        rows = slice(max(0, int(y0)), max(1, int(np.ceil(y1))))
        inside[rows, max(0, int(x0)) : max(1, int(np.ceil(x1)))] = True
        part = inside & salient
        masks.append(part if part.sum() > STANDS_OUT * inside.sum() else inside)
    return masks


def _saliency(rgb: Uint8) -> np.ndarray:
    from stages.segment.shared.saliency import load_saliency

    return load_saliency()(rgb)


def shrunk(rgb: Uint8, side_px: int) -> Uint8:
    """(H, W, 3) with its long side at most side_px."""
    factor = side_px / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop_side_px(masks: Sequence[Bool], smallest: bool) -> float | None:
    """Side of the smallest object's square crop, as a generator gets it; None without objects.

    Of what was found at a glance (not smallest) the middle one counts: it may be in pieces.
    """
    if not masks:
        return None
    sides = [OBJECT_FRAMING * max(cv2.boundingRect(m.astype(np.uint8))[2:]) for m in masks]
    return float(min(sides) if smallest else np.median(sides))


def cut_off_percent(masks: Sequence[Bool]) -> float | None:
    """Percent of the objects' outlines that lie at the photo's border; None without objects."""
    if not masks:
        return None
    height, width = masks[0].shape
    near = max(2, round(BORDER_FRACTION * max(height, width)))
    border = np.ones((height, width), bool)
    border[near:-near, near:-near] = False
    outlines = [_outline(mask) for mask in masks]
    at_border = sum(int((outline & border).sum()) for outline in outlines)
    return 100 * at_border / max(1, sum(int(outline.sum()) for outline in outlines))


def clutter(masks: Sequence[Bool]) -> float | None:
    """How many objects there are, and half for each that touches another; None without objects."""
    if not masks:
        return None
    reach = max(1, round(TOUCH_FRACTION * max(masks[0].shape)))
    grown = [dilated(mask, reach, square) for mask in masks]
    touching = [
        any((grown[i] & masks[j]).any() for j in range(len(masks)) if j != i)
        for i in range(len(masks))
    ]
    return len(masks) + sum(touching) / 2


def glass_fraction(rgb: Uint8, masks: Sequence[Bool]) -> float | None:
    """Share of the objects that look like glass: inside the colours of the surroundings, with
    several small glints; None without objects."""
    if not masks:
        return None
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    everything = np.any(masks, axis=0)
    return float(np.mean([_is_like_glass(lab, grey, mask, everything) for mask in masks]))


def _is_like_glass(lab: np.ndarray, grey: Uint8, mask: Bool, everything: Bool) -> bool:
    size = np.sqrt(float(mask.sum()))
    reach = max(2, round(RING_FRACTION * size))
    ring = dilated(mask, reach, square) & ~everything
    if size < 16 or ring.sum() < 16:
        return False
    usual = np.median(lab[ring], axis=0)
    off, off_around = (np.linalg.norm(lab[where] - usual, axis=1) for where in (mask, ring))
    # Most of it, not only its middle colour: a cup on a table of like colour is white inside.
    reach_around = float(np.percentile(off_around, 80))
    if reach_around > PLAIN or np.percentile(off, 80) > reach_around + GLASS_COLOUR:
        return False
    glint = mask & (grey > max(GLINT, float(np.median(grey[mask])) + GLINT_OVER))
    count, _, stats, _ = cv2.connectedComponentsWithStats(glint.astype(np.uint8))
    spots = int((stats[1:count, cv2.CC_STAT_AREA] >= 3).sum())
    low, high = GLINT_FRACTION
    return low <= glint.sum() / mask.sum() <= high and spots >= MIN_GLINTS


def _outline(mask: Bool) -> Bool:
    """The True pixels that have a False neighbour, or none at all for being at the border."""
    return mask & ~eroded(mask, 1, square, beyond=False)
