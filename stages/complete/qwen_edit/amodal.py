"""The completed object from a registered edit: photographed pixels, and drawn ones behind them."""

from __future__ import annotations

import cv2
import numpy as np

from scene.morphology import dilated
from scene.types import Bool, Crop, Float32, Uint8
from stages.complete.qwen_edit.drift import RegisteredEdit, Tint
from stages.complete.qwen_edit.edit_request import gap_px

SEAM = 0.02  # over the side: how far what differs at the seam is carried into the drawn part
SOLID = 0.98  # coverage from which a pixel's colour is the object's own


def unknown_pixels(crop: Crop) -> Bool:
    """(N, N): where the photo does not show whether the object is there."""
    return crop.occluder if crop.outside is None else crop.occluder | crop.outside


def hidden_pixels(crop: Crop, edit: RegisteredEdit) -> Bool:
    """(N, N): drawn pixels of the object that the photo does not show, joined to what it shows.

    Only occluders and what is outside the photo can hide anything; what lies between their masks
    and the visible one, as masks are cut, counts with them.
    """
    visible = crop.rgba[..., 3] > 127
    unknown = unknown_pixels(crop)
    gap = gap_px(visible.shape[0])
    seam = dilated(visible, gap) & dilated(unknown, gap)
    hidden = (edit.alpha > 0.5) & (unknown | seam) & ~visible
    _, pieces = cv2.connectedComponents((hidden | visible).astype(np.uint8), connectivity=8)
    return hidden & np.isin(pieces, np.unique(pieces[visible]))


def compose(crop: Crop, edit: RegisteredEdit, tint: Tint, hidden: Bool) -> Uint8:
    """(N, N, 4): the photo where the object is visible, the edit in its colours where it is hidden.

    Pixels that the mask has wholly stay exactly as photographed.
    """
    alpha, open_ = crop.rgba[..., 3].astype(np.float32), crop.rgba[..., 3] <= 250
    photo = crop.rgba[..., :3].astype(np.float32)
    rim = dilated(hidden, 1) & unknown_pixels(crop)
    fresh = open_ & (hidden | rim)
    seam = open_ & dilated(hidden, 2) & dilated(~open_, 2) & (edit.alpha > 0.5)
    joined = np.where(fresh, np.maximum(alpha, 255 * edit.alpha), alpha)
    joined = np.where(seam, 255, joined)[..., None]
    drawn = _met(tint.apply(_own_colours(edit)), photo, ~open_)
    rgb = np.where((fresh | seam)[..., None], drawn, photo)
    return np.rint(np.concatenate([rgb, joined], -1)).clip(0, 255).astype(np.uint8)


def _own_colours(edit: RegisteredEdit) -> Float32:
    """(N, N, 3): the edit, its rim in the colours of the solid pixels beside it."""
    solid = (edit.alpha >= SOLID).astype(np.float32)
    share = cv2.GaussianBlur(solid, (0, 0), 1.5)
    nearby = cv2.GaussianBlur(edit.rgb * solid[..., None], (0, 0), 1.5)
    nearby /= np.maximum(share, 1e-6)[..., None]
    mixed = (solid < 1) & (share > 1e-3)
    return np.where(mixed[..., None], nearby, edit.rgb).astype(np.float32)


def _met(drawn: Float32, photo: Float32, solid: Bool) -> Float32:
    """(N, N, 3): the drawn picture, bent to the photo's colours at the seam, less so further off.

    What differs along the visible part is averaged nearby and fades with the distance.
    """
    width = max(1.0, SEAM * drawn.shape[0])
    mask = solid.astype(np.float32)
    share = cv2.GaussianBlur(mask, (0, 0), width)
    differs = cv2.GaussianBlur((photo - drawn) * mask[..., None], (0, 0), width)
    differs /= np.maximum(share, 1e-6)[..., None]
    away = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 5)
    fades = np.exp(-away / (2 * width)) * (share > 1e-5)
    return (drawn + differs * fades[..., None]).clip(0, 255).astype(np.float32)
