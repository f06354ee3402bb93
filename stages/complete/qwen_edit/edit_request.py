"""What an image editor is asked for: whether at all, with which picture, in which words."""

from __future__ import annotations

import cv2
import numpy as np

from scene.morphology import dilated, eroded, square
from scene.types import Bool, Crop, Float32, Uint8
from stages.complete.qwen_edit.background import to_lab

GAP = 0.006  # over the side: how far apart an object and what hides it are cut
DEFAULT_PROMPT = (
    "Remove {occluders}. Show the whole {label} by itself, with the parts that were hidden "
    "completed, on a plain {background} background without shadows. Do not move, resize, rotate or "
    "restyle the {label}: keep its position in the picture, its size, viewpoint, colours, texture "
    "and light exactly as they are."
)
# What an editor can be asked for in a word, and what it then paints.
BACKDROPS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (0, 0, 0),
}
MIN_BACKDROP_DISTANCE = 15.0  # Lab units: pixels of the object that would not stand out
MIN_CONTACT_PX = 8


def is_hidden(crop: Crop, min_contact: float) -> bool:
    """Whether something nearer hides a part of the object.

    The depth order has said already that the occluders are nearer along a shared border. Here that
    border must be a part of the visible outline that is worth completing: min_contact of it.
    """
    visible = crop.rgba[..., 3] > 127
    outline = visible & ~eroded(visible, 1, square)
    touched = outline & dilated(crop.occluder, gap_px(visible.shape[0]))
    return bool(touched.sum() >= max(MIN_CONTACT_PX, min_contact * outline.sum()))


def gap_px(side_px: int) -> int:
    """How many pixels may lie between a visible part and what hides it."""
    return max(2, round(GAP * side_px))


def backdrop_name(rgba: Uint8) -> str:
    """The background against which the fewest of the object's pixels are lost.

    rgba (N, N, 4). White, which editors paint most evenly, unless another is better by 1 % of the
    object.
    """
    solid = rgba[rgba[..., 3] > 250][:, :3]
    if not len(solid):
        return "white"
    colours = to_lab(solid)
    lost = {}
    for name, rgb in BACKDROPS.items():
        plain = to_lab(np.array(rgb, np.uint8))
        lost[name] = float((np.linalg.norm(colours - plain, axis=1) < MIN_BACKDROP_DISTANCE).mean())
    best = min(lost, key=lost.__getitem__)
    return "white" if lost["white"] <= lost[best] + 0.01 else best


def image_to_edit(crop: Crop, backdrop: str) -> Uint8:
    """(N, N, 3) the photo's crop, everything but the object and its occluders in the plain colour.

    The edit asked for is then as small as can be: its background is there already, the object has
    its place in the frame, nothing else can be taken for it (it may have no name), and what is to
    be removed is seen. Editors move pictures less, the less they have to change.
    """
    shown = (crop.rgba[..., 3] > 127) | crop.occluder
    # What lies between the two is a seam, not a gap.
    joined = eroded(dilated(shown, gap_px(len(shown))), gap_px(len(shown)))
    between = joined & dilated(crop.occluder, gap_px(len(shown)))
    keep = np.maximum(crop.rgba[..., 3] / 255, _soft(crop.occluder | between))
    if crop.outside is not None:
        keep = np.where(crop.outside, 0, keep)
    plain = np.array(BACKDROPS[backdrop], np.float32)
    mixed = crop.rgba[..., :3] * keep[..., None] + plain * (1 - keep[..., None])
    return np.rint(mixed).astype(np.uint8)


def words_for(template: str, label: str, occluders: tuple[str, ...], backdrop: str) -> str:
    """The prompt: {label}, {occluders} and {background} replaced."""
    named = [f"the {name}" for name in occluders if name]
    in_front = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return template.format(
        label=label or "object",
        occluders=in_front or "everything that is in front of it",
        background=backdrop,
    )


def _soft(mask: Bool) -> Float32:
    """(N, N) a mask with an antialiased border, in [0, 1]."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7), np.float32)
