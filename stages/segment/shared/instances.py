"""Masks as a network decodes them -> objects: whole, distinct, each with its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from scene.types import Bool, Float32, Float64, Mask
from stages.segment import MIN_MASK_PX

DUPLICATE = 0.7  # masks that share this much of their union are one object (SAM's box_nms_thresh)
INSIDE = 0.8  # a mask with this share of its pixels in another lies in it, or in front of it
SPECK_FRACTION = 0.01  # holes and islands below this share of a mask are the decoder's noise
Window = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, eq=False)
class Instance:
    """One mask that a network found.

    pixels (H, W) bool at the photo's size; likelihood (h, w) float32 in [0, 1] on the decoder's
    grid, the same for all instances of a photo; score in [0, 1].
    """

    pixels: Bool
    likelihood: Float32
    score: float
    label: str = ""

    @property
    def mask(self) -> Mask:
        """What the stage returns of it."""
        return Mask(self.pixels, self.label, float(np.clip(self.score, 0, 1)))


def cleaned(pixels: Bool) -> Bool:
    """A mask without its small holes and small islands; the largest part always stays."""
    window = _window(pixels)
    area = int(pixels[window].sum())
    # A rim of background joins what lies around the mask, and is too large to look like a hole.
    rim = 1 + max(pixels[window].shape) // 100
    around = np.pad(pixels[window], rim)
    whole = without_islands(~without_islands(~around, area), area)
    out = np.zeros_like(pixels)
    out[window] = whole[rim:-rim, rim:-rim]
    return out


def without_islands(pixels: Bool, area: int) -> Bool:
    """The mask without parts (8 neighbours) below SPECK_FRACTION of an area in pixels.

    Its largest part stays, however small.
    """
    if not pixels.size:  # OpenCV ends the process there
        return pixels
    count, parts, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
    if count <= 2:
        return pixels
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= SPECK_FRACTION * area
    keep[1 + int(areas[1:].argmax())] = True
    keep[0] = False
    return np.asarray(keep[np.asarray(parts, np.intp)])


def distinct_objects(instances: Sequence[Instance], given: Sequence[bool], smallest_px: int,
               max_objects: int) -> list[Instance]:  # fmt: skip
    """The instances that are objects of their own, in their order, with disputed pixels settled.

    given: which of them a person pointed at; those stay. Of the others a duplicate of a given or
    a better one goes, then all but the `max_objects` best, then those of which fewer than
    smallest_px (or than a mask needs) are visible, since they are that small or others cover them.
    """
    kept = _distinct(instances, given)
    found = sorted((i for i in kept if not given[i]), key=lambda i: -instances[i].score)
    kept = [i for i in kept if given[i] or i in found[:max_objects]]
    settled = settle([instances[i] for i in kept])
    seen, needed = _visible_areas(settled), max(smallest_px, MIN_MASK_PX)
    return [o for i, o, area in zip(kept, settled, seen, strict=True)
            if given[i] or area >= needed]  # fmt: skip


def settle(instances: Sequence[Instance]) -> list[Instance]:
    """Where two masks overlap without one lying in the other, the likelier one keeps the pixel.

    A mask in another is an object in front of it or lying in it: both stay as they are, and
    `stages.segment.disjoint` gives the smaller one its pixels. Likelihood counts times score.
    """
    masks = [o.pixels.copy() for o in instances]
    windows = [_window(o.pixels) for o in instances]
    shared = shared_areas(instances)
    areas = np.maximum(shared.diagonal(), 1)
    likely: dict[int, Float32] = {}
    for i, j in zip(*np.nonzero(np.triu(shared, 1)), strict=True):
        if shared[i, j] >= INSIDE * min(areas[i], areas[j]):
            continue
        for k in (i, j):
            if k not in likely:
                likely[k] = _likelihood(instances[k], windows[k])
        common = _common(windows[i], windows[j])
        both = instances[i].pixels[common] & instances[j].pixels[common]
        first, second = (likely[k][_within(common, windows[k])] for k in (i, j))
        masks[j][common] &= ~(both & (first >= second))
        masks[i][common] &= ~(both & (first < second))
    return [replace(o, pixels=_whole(o.pixels, m)) for o, m in zip(instances, masks, strict=True)]


def shared_areas(instances: Sequence[Instance]) -> Float64:
    """(N, N) how much each pair shares, in cells of the decoder's grid; areas on the diagonal."""
    if not instances:
        return np.zeros((0, 0))
    flat = np.stack([o.likelihood.ravel() > 0.5 for o in instances]).astype(np.float32)
    return (flat @ flat.T).astype(np.float64)


def without_duplicates(instances: Sequence[Instance]) -> list[int]:
    """The indices that stay when of every two of one object the earlier stays."""
    shared = shared_areas(instances)
    areas = shared.diagonal()
    union = areas[:, None] + areas[None, :] - shared
    same = shared > DUPLICATE * np.maximum(union, 1e-9)
    kept: list[int] = []
    for index in range(len(instances)):
        if not same[index, kept].any():
            kept.append(index)
    return kept


def _distinct(instances: Sequence[Instance], given: Sequence[bool]) -> list[int]:
    """The indices of all given instances, and of the others that are no duplicates, in order."""
    order = sorted(range(len(instances)), key=lambda i: (not given[i], -instances[i].score))
    kept = {order[k] for k in without_duplicates([instances[i] for i in order])}
    return [i for i in range(len(instances)) if given[i] or i in kept]


def _visible_areas(instances: Sequence[Instance]) -> list[int]:
    """Pixels of each that are left when every pixel goes to the smallest mask that has it."""
    if not instances:
        return []
    owner = np.full(instances[0].pixels.shape, -1)
    for index in sorted(range(len(instances)), key=lambda i: -int(instances[i].pixels.sum())):
        owner[instances[index].pixels] = index
    return np.bincount(owner[owner >= 0], minlength=len(instances)).tolist()


def _likelihood(instance: Instance, window: Window) -> Float32:
    """Likelihood times score at the photo's size, in a window."""
    height, width = instance.pixels.shape
    values = cv2.resize(instance.likelihood, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(values[window], np.float32) * np.float32(instance.score)


def _window(pixels: Bool) -> Window:
    """The rows and columns that a mask reaches over; none for an empty mask."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _common(a: Window, b: Window) -> Window:
    rows, columns = (
        slice(max(u.start, v.start), max(u.start, v.start, min(u.stop, v.stop)))
        for u, v in zip(a, b, strict=True)
    )
    return rows, columns


def _within(inner: Window, outer: Window) -> Window:
    """A window as it lies in another one that it is a part of."""
    rows, columns = (
        slice(u.start - v.start, u.stop - v.start) for u, v in zip(inner, outer, strict=True)
    )
    return rows, columns


def _whole(before: Bool, after: Bool) -> Bool:
    """What is left of a mask, without the slivers that a dispute cut off it."""
    if np.array_equal(before, after):
        return before
    window = _window(after)
    out = np.zeros_like(after)
    out[window] = without_islands(after[window], int(after[window].sum()))
    return out
