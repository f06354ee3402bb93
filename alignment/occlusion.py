"""Which objects hide parts of which: depth order along shared borders."""

from __future__ import annotations

import numpy as np

from scene.morphology import dilated
from scene.types import Bool, Float32

BORDER_PX = 3  # masks this close touch
MIN_BORDER_PX = 8  # shorter contacts are noise of the masks
NEARER_BY = 0.01  # relative depth gap that makes a neighbour an occluder and not a twin


def occluders(masks: list[Bool], depth: Float32) -> list[list[int]]:
    """For each object the indices of the neighbours that lie nearer along the shared border.

    masks: (H, W) bool each, visible pixels; depth: (H, W) z, NaN unknown. A neighbour counts when
    its median depth near the border is at least 1 % smaller than the object's own there.
    """
    grown = [dilated(mask, BORDER_PX) for mask in masks]
    nearer: list[list[int]] = [[] for _ in masks]
    for k, mask in enumerate(masks):
        for j, other in enumerate(masks):
            own_side, other_side = mask & grown[j], other & grown[k]
            if j == k or own_side.sum() < MIN_BORDER_PX or other_side.sum() < MIN_BORDER_PX:
                continue
            if _median(depth[other_side]) < (1 - NEARER_BY) * _median(depth[own_side]):
                nearer[k].append(j)
    return nearer


def occluder_masks(masks: list[Bool], depth: Float32) -> list[Bool]:
    """For each object (H, W) the union of its `occluders`."""
    nothing = np.zeros(depth.shape, bool)
    return [union([masks[j] for j in nearer], nothing) for nearer in occluders(masks, depth)]


def union(masks: list[Bool], nothing: Bool) -> Bool:
    """All masks as one; `nothing` (H, W), all False, where there are none."""
    return np.any(masks, axis=0) if masks else nothing


def _median(depth: Float32) -> float:
    """Median of the known depths, NaN (which compares as False) when there are none."""
    known = depth[np.isfinite(depth)]
    return float(np.median(known)) if len(known) else float("nan")
