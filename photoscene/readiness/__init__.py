"""Is a photo worth a generator's time? A score from 0 to 100, with what it lost and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from photoscene.readiness import image_measures, objects, overlays
from photoscene.readiness.findings import READY as READY
from photoscene.readiness.findings import Finding as Finding
from photoscene.readiness.findings import Readiness as Readiness
from photoscene.readiness.findings import summed
from scene.errors import BadInput
from scene.images import decode_photo, orientation_of
from scene.masks import decode_mask
from scene.morphology import dilated, square
from scene.types import Bool, Photo, Uint8

AROUND_FRACTION = 0.02  # of the photo's long side: edges so near an object's outline are its own


def check_photo(
    data: bytes,
    max_side_px: int,
    masks: Sequence[tuple[str, bytes]] = (),
    boxes: Sequence[objects.Box] = (),
) -> Readiness:
    """Judge a photo file as it will be worked on, at most max_side_px long.

    masks: name and bytes of mask images; boxes: x0, y0, x1, y1 in the photo's own pixels. With
    neither, objects are found at a glance. Raises BadInput for what is no readable image, a
    mask of another size, and an object with no pixel in the photo.
    """
    photo, details = decode_photo(data, max_side_px)
    scale = photo.width / details["width"]
    native = photo.rgb
    if scale < 1:
        native = decode_photo(data, max(details["width"], details["height"]))[0].rgb
    turned = orientation_of(data) if masks else None
    chosen = [_mask(name, mask, photo, details, turned) for name, mask in masks]
    inside = [(a * scale, b * scale, c * scale, d * scale) for a, b, c, d in boxes]
    for given, (x0, y0, x1, y1) in zip(boxes, inside, strict=True):
        if x1 <= 0 or y1 <= 0 or x0 >= photo.width or y0 >= photo.height:
            box = ",".join(f"{value:g}" for value in given)
            raise BadInput(f"--box {box} lies outside the photo: check it")
    chosen += objects.objects_in_boxes(photo.rgb, inside)
    found = chosen or objects.find_objects(photo.rgb)
    values = _measured(photo.rgb, native, found)
    values["object size"] = objects.crop_side_px(found, smallest=bool(chosen))
    values["focal length"] = float(details["focal_35mm"] is not None)
    return summed(values)


def _mask(
    name: str, data: bytes, photo: Photo, details: Mapping[str, Any], turned: str | None
) -> Bool:
    sizes = [(photo.width, photo.height), (details["width"], details["height"])]
    try:
        mask = decode_mask(data, photo.width, photo.height, sizes, turned)
    except BadInput as error:
        raise BadInput(f"--mask {name} {error}") from None
    if not mask.any():
        raise BadInput(f"--mask {name} is empty: no pixel is above half")
    return mask


def _measured(rgb: Uint8, native: Uint8, found: list[Bool]) -> dict[str, float | None]:
    """A value per finding, from pixels and masks; pixels count where the objects are."""
    grey = image_measures.grey_of(rgb)
    inside = np.any(found, axis=0) if found else np.ones(grey.shape, bool)
    reach = max(1, round(AROUND_FRACTION * max(grey.shape)))
    near = dilated(inside, reach, square)
    native_block_steps = image_measures.block_steps(image_measures.grey_of(native))
    return {
        "objects": float(len(found)),
        "resolution": float(np.sqrt(native.shape[0] * native.shape[1])),
        "sharpness": image_measures.edge_blur_px(grey, near),
        "highlights": image_measures.burnt_percent(rgb, inside),
        "shadows": image_measures.black_percent(grey, inside),
        "contrast": image_measures.contrast_levels(grey),
        "noise": image_measures.noise_level(grey),
        # Made smaller, a photo keeps so much less of its blocks.
        "compression": native_block_steps * len(rgb) / len(native),
        "cut off": objects.cut_off_percent(found),
        "clutter": objects.clutter(found),
        "see-through": objects.glass_fraction(rgb, found),
        "overlay": overlays.overlay_hint(rgb),
    }
