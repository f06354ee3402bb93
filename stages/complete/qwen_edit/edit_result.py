"""What becomes of an edit: registered to the photo, checked, and made the completed object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.errors import CannotComplete
from scene.types import Bool, Crop, Float32, Uint8
from stages.complete.qwen_edit.amodal import compose, hidden_pixels, unknown_pixels
from stages.complete.qwen_edit.background import backdrop, coverage
from stages.complete.qwen_edit.drift import agreement, on_photo, rejection_reason, tint_of
from stages.complete.qwen_edit.registration import Registration, register

MIN_BODY = 0.002  # of the picture: less is an empty one


@dataclass(frozen=True, eq=False)
class EditCheck:
    """An edit on the photo. rejection: why it cannot be used, "" if it can.

    where: None for an edit that shows no object on a plain background; rgba (N, N, 4) and hidden
    (N, N), the pixels that the photo did not show: None when it is rejected.
    """

    rejection: str
    where: Registration | None = None
    rgba: Uint8 | None = None
    hidden: Bool | None = None


def check_edit(edit: Uint8, crop: Crop) -> EditCheck:
    """Register an edit (M, M, 3) of a crop's object, and complete the object with it if it may be.

    The edit should show the whole object on a plain background.
    """
    behind = backdrop(edit)
    if not behind.plain:
        return EditCheck(f"the background is not plain (only {behind.share:.0%} of the border is)")
    alpha = coverage(edit, behind)
    if (alpha > 0.5).mean() < MIN_BODY:
        return EditCheck("nothing is drawn")
    unknown = unknown_pixels(crop)
    try:
        where = register(edit, alpha, crop.rgba, unknown)
    except CannotComplete as error:
        return EditCheck(str(error))
    placed = on_photo(edit, alpha, where, _border_colour(edit, alpha))
    tint = tint_of(placed, crop.rgba)
    rejection = rejection_reason(where, agreement(placed, tint, crop.rgba, unknown))
    if rejection:
        return EditCheck(rejection, where)
    hidden = hidden_pixels(crop, placed)
    return EditCheck("", where, compose(crop, placed, tint, hidden), hidden)


def _border_colour(edit: Uint8, alpha: Float32) -> np.ndarray:
    """(3,) the median colour of what is not the object."""
    return np.median(edit[alpha <= 0], axis=0) if (alpha <= 0).any() else np.zeros(3)
