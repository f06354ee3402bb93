"""Continues a visible outline below what hides it: with no network, for `inpaint` and as fallback.

A round outline goes on as the ellipse that fits it, any other as its convex hull.

Only pixels of occluders may be filled: where the photo shows that the object ends, it ends.
Colours come from Telea's inpainting (A. Telea, An Image Inpainting Technique Based on the Fast
Marching Method, 2004).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.morphology import dilated, square
from scene.types import Bool, Completion, Crop, Uint8

MIN_ELLIPSE_IOU = 0.97  # of the fitted ellipse and the object, where both can be seen
MIN_OUTLINE_PX = 40  # fewer outline pixels fit too many ellipses


def continued(crop: Crop, min_hidden: float, radius_px: int) -> Completion:
    """The visible cut-out, and below the occluders its continuation with continued colours.

    min_hidden: share of the visible area below which nothing is completed; radius_px: how far the
    inpainting looks for colours.
    """
    visible = crop.rgba[..., 3] > 127
    hidden = hidden_part(visible, crop.occluder)
    if hidden.sum() < min_hidden * visible.sum():
        return Completion(crop.rgba)
    return filled(crop, hidden, _continued_colours(crop, visible, hidden, radius_px))


def filled(crop: Crop, hidden: Bool, rgb: NDArray[Any]) -> Completion:
    """The visible cut-out with a hidden part (N, N) in colours (N, N, 3) in [0, 255]; solid pixels
    keep their own."""
    visible = crop.rgba[..., 3] > 127
    alpha = np.where(hidden, 255, crop.rgba[..., 3])
    seam = dilated(hidden, 1, square)
    alpha = np.where(seam & (crop.rgba[..., 3] > 0), 255, alpha)  # close the antialiased border
    fill = (crop.rgba[..., 3] <= 250) & seam
    colours = np.where(fill[..., None], np.rint(rgb).clip(0, 255), crop.rgba[..., :3])
    rgba = np.concatenate([colours, alpha[..., None]], -1).astype(np.uint8)
    share = hidden.sum() / (hidden.sum() + visible.sum())
    return Completion(rgba, (f"{share:.0%} of the outline was hidden and has been continued",))


def _continued_colours(crop: Crop, visible: Bool, hidden: Bool, radius_px: int) -> Uint8:
    """(N, N, 3): the photo, with hidden pixels painted from the object's own solid pixels."""
    solid = crop.rgba[..., 3] > 250
    unknown = ~solid & dilated(hidden, 2 * radius_px, square)
    far = ~solid & ~unknown
    picture = crop.rgba[..., :3].copy()
    picture[far] = np.median(picture[solid if solid.any() else visible], axis=0)
    painted = cv2.inpaint(picture, unknown.astype(np.uint8), radius_px, cv2.INPAINT_TELEA)
    return np.asarray(painted, np.uint8)


def hidden_part(visible: Bool, occluder: Bool) -> Bool:
    """(N, N): pixels of the occluder inside the visible outline's continuation.

    Pieces that do not touch the visible part are dropped.
    """
    points = np.stack(np.nonzero(visible)[::-1], -1).astype(np.int32)
    if len(points) < 3:
        return np.zeros_like(visible)
    hull = cv2.fillConvexPoly(np.zeros(visible.shape, np.uint8), cv2.convexHull(points), 1) > 0
    ellipse = fitting_ellipse(visible, occluder)
    whole = hull if ellipse is None else hull | ellipse
    candidate = whole & occluder & ~visible
    count, parts = cv2.connectedComponents((candidate | visible).astype(np.uint8), connectivity=8)
    touching = np.isin(parts, np.unique(parts[visible])) if count > 1 else visible
    return candidate & touching


def fitting_ellipse(visible: Bool, occluder: Bool) -> Bool | None:
    """(N, N): the filled ellipse through the outline that no occluder cuts, if it is one.

    None when the ellipse and the visible pixels differ by more than 3 % where nothing hides them.
    """
    contours, _ = cv2.findContours(
        visible.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = np.concatenate(contours).reshape(-1, 2).astype(np.int64)
    free = outline[~dilated(occluder, 2, square)[outline[:, 1], outline[:, 0]]]
    if len(free) < MIN_OUTLINE_PX:
        return None
    (x, y), axes, angle = cv2.fitEllipse(free.astype(np.float32))
    if not all(0 < side < 2 * max(visible.shape) for side in axes):
        return None
    canvas = np.zeros(visible.shape, np.uint8)
    ellipse = cv2.ellipse(canvas, ((x, y), axes, angle), 1, -1) > 0
    shown = ellipse & ~occluder
    agreement = (shown & visible).sum() / max(int((shown | visible).sum()), 1)
    return ellipse if agreement >= MIN_ELLIPSE_IOU else None
