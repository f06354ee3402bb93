"""Turns one file that names many objects, a label map or annotations, into a mask file per object.

What follows is as with `--mask`: the masks lie in the store, under the names that the file gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flows.request import MAX_WORDS_LENGTH, MaskFile
from flows.steps.photo import MAX_SIDE_PX
from scene.annotations import decode_annotations
from scene.errors import BadInput
from scene.masks import decode_label_map
from scene.png import encode_png
from scene.store import Store
from scene.text import printable
from scene.types import Bool
from stages.segment import MIN_MASK_PX

MAX_OBJECTS = 1000  # each costs a second or more; more than that is a mistake
MAX_ANNOTATION_BYTES = 200_000_000
REDUCED_MARGIN = 1.5  # a mask that is made smaller may lose more pixels than its share
SHOWN_NAMES = 3


def label_map_masks(data: bytes, path: Path, store: Store) -> tuple[list[MaskFile], list[str]]:
    """One mask per label of the file, and what was left out, in words."""
    try:
        found = decode_label_map(data)
    except BadInput as error:
        raise BadInput(f"--label-map {path} {error}") from None
    return _kept(f"--label-map {path}", found.objects, list(found.notes), store)


def annotation_masks(
    data: bytes, path: Path, photo_name: str, store: Store
) -> tuple[list[MaskFile], list[str]]:
    """One mask per object that the file gives for the photo, and what was left out, in words."""
    option = f"--annotations {path}"
    if len(data) > MAX_ANNOTATION_BYTES:
        raise BadInput(f"{option} has {len(data)} bytes: too large, split it by photo")
    try:
        found = decode_annotations(data, photo_name)
    except BadInput as error:
        raise BadInput(f"{option} {error}") from None
    return _kept(option, found.objects, list(found.notes), store)


def _kept(
    option: str, objects: Iterator[tuple[str, Bool]], notes: list[str], store: Store
) -> tuple[list[MaskFile], list[str]]:
    """The objects of the file that are large enough to work on, saved."""
    masks: list[MaskFile] = []
    small: list[str] = []
    try:
        for label, pixels in objects:
            if len(masks) == MAX_OBJECTS:
                raise BadInput(f"has more than {MAX_OBJECTS} objects: split it")
            if _is_too_small(pixels):
                small.append(label)
                continue
            png = encode_png(pixels.astype(np.uint8) * 255)
            masks.append(MaskFile(store.save_bytes(png, "file", ".png"), _label(label)))
    except BadInput as error:
        raise BadInput(f"{option} {error}") from None
    if small:
        shown = ", ".join(small[:SHOWN_NAMES]) + (", ..." if len(small) > SHOWN_NAMES else "")
        notes = [
            *notes,
            f"{len(small)} objects of fewer than {MIN_MASK_PX} pixels left out: {shown}",
        ]
    if not masks:
        raise BadInput(f"{option} has no object of at least {MIN_MASK_PX} pixels: check it")
    return masks, [f"{option.split()[0]}: {note}" for note in notes]


def _is_too_small(pixels: Bool) -> bool:
    """Whether too few pixels would be left at the size that photos are worked on."""
    factor = min(1.0, MAX_SIDE_PX / max(pixels.shape))
    least = MIN_MASK_PX * (REDUCED_MARGIN if factor < 1 else 1)
    return bool(pixels.sum() * factor**2 < least)


def _label(words: str) -> str:
    """A name as prompts may have it: valid text of a limited length."""
    return printable(words)[:MAX_WORDS_LENGTH] or "object"
