"""What a person changed by hand, taken in place of what a stage made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scene.cameras import crop_from_crop, warp_rgba
from scene.errors import BadInput
from scene.types import Bool, Completion, CropCamera, Cutout, Mask
from stages.segment import MIN_MASK_PX


def edited_masks(
    masks: Sequence[Mask], edited: Mapping[int, Bool], names: Sequence[str]
) -> list[Mask]:
    """All masks of a photo with some of them (by index) changed: one owner per pixel.

    A changed mask takes its pixels from the others; of two changed ones the smaller has them.
    Raises BadInput where too little is left of an object.
    """
    owner = np.full(masks[0].pixels.shape, -1)
    for index, mask in enumerate(masks):
        if index not in edited:
            owner[mask.pixels] = index
    for index in sorted(edited, key=lambda i: -int(edited[i].sum())):
        if int(edited[index].sum()) < MIN_MASK_PX:
            raise BadInput(
                f"the edited mask of {names[index]} has {int(edited[index].sum())} pixels of the "
                f"object, at least {MIN_MASK_PX} are needed: paint the object white"
            )
        owner[edited[index]] = index
    for index, name in enumerate(names):
        left = owner == index
        if left.sum() < MIN_MASK_PX:
            before = edited.get(index, masks[index].pixels)
            above = int(np.bincount(owner[before & ~left]).argmax())
            raise BadInput(
                f"the edited mask of {names[above]} leaves nothing of {name}: cut it out there"
            )
    return [Mask(owner == i, mask.label, mask.score) for i, mask in enumerate(masks)]


def edited_completion(cutout: Cutout, made_for: CropCamera, camera: CropCamera) -> Completion:
    """A completion that was edited in one context crop, in the crop that its mask has now.

    Raises BadInput for a picture of another size than the crop it was edited in.
    """
    check_side(cutout, made_for)
    rgba = cutout.rgba
    if not _same(made_for, camera):
        homography = crop_from_crop(camera, made_for)
        rgba = warp_rgba(rgba, homography, camera.camera.width)
    if not (rgba[..., 3] > 127).any():
        raise BadInput("the edited completion has nothing in the crop that the mask has now")
    return Completion(rgba)


def check_side(cutout: Cutout, made_for: CropCamera) -> None:
    """BadInput, as the end of a sentence, for a picture that has not the size of its crop."""
    height, width = cutout.rgba.shape[:2]
    side = made_for.camera.width
    if (height, width) != (side, side):
        raise BadInput(f"is {width} x {height} pixels, expected {side} x {side}: keep its size")


def _same(a: CropCamera, b: CropCamera) -> bool:
    return a.camera == b.camera and np.array_equal(a.photo_from_crop, b.photo_from_crop)
