"""Segment: a photo and prompts -> one visible mask per object."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np

from scene.types import Mask, ObjectPrompt, Photo

logger = logging.getLogger(__name__)
MIN_MASK_PX = 16  # fewer pixels cannot carry a shape


class Segmenter(Protocol):
    """What a segment backend does."""

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt, or the objects it finds when there are neither prompts nor files."""
        ...


def check_prompts(photo_width: int, photo_height: int, prompts: tuple[ObjectPrompt, ...]) -> None:
    """Raise ValueError where a prompt points outside the photo; a box may reach over its border."""
    size = f"the photo is {photo_width} x {photo_height} pixels"
    for index, prompt in enumerate(prompts):
        name = f"prompt {index + 1}" + (f" ({prompt.label})" if prompt.label else "")
        for p in prompt.points:
            if not (0 <= p.x_px < photo_width and 0 <= p.y_px < photo_height):
                raise ValueError(f"{name}: point ({p.x_px:g}, {p.y_px:g}) is outside; {size}")
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            wide, high = min(x1, photo_width) - max(x0, 0), min(y1, photo_height) - max(y0, 0)
            if not (wide >= 1 and high >= 1):
                raise ValueError(f"{name}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is outside; {size}")


def run(
    segmenter: Segmenter,
    photo: Photo,
    prompts: tuple[ObjectPrompt, ...],
    files: tuple[Mask, ...],
) -> list[Mask]:
    """Segment a photo; masks come back disjoint, in the order of the prompts or files.

    Where two masks claim a pixel the smaller one keeps it: an object in front of, or lying in,
    another is usually smaller, and a visible pixel has one owner. Raises ValueError for a mask
    of the wrong size, an empty one, or one that others cover completely.
    """
    check_prompts(photo.width, photo.height, prompts)
    masks = segmenter.segment(photo, prompts, files)
    shape = photo.rgb.shape[:2]
    owner = np.full(shape, -1)
    for index in sorted(range(len(masks)), key=lambda i: -int(masks[i].pixels.sum())):
        if masks[index].pixels.shape != shape:
            raise ValueError(f"mask {index + 1} is {masks[index].pixels.shape}, the photo {shape}")
        owner[masks[index].pixels] = index
    disjoint = [Mask(owner == i, m.label, m.score) for i, m in enumerate(masks)]
    for index, mask in enumerate(disjoint):
        if mask.pixels.sum() < MIN_MASK_PX:
            asked = int(masks[index].pixels.sum())
            why = "covered by other masks" if asked >= MIN_MASK_PX else f"only {asked} pixels"
            raise ValueError(f"mask {index + 1} ({mask.label or 'no label'}) is empty: {why}")
    shared = sum(int(m.pixels.sum()) for m in masks) - int((owner >= 0).sum())
    if shared:
        logger.info("masks overlap by %d pixels: the smaller mask keeps them", shared)
    return disjoint
