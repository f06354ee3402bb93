"""Segment: a photo and prompts -> one visible mask per object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.backends import Backend, SettingsT, Stage

logger = logging.getLogger(__name__)
MIN_MASK_PX = 16  # fewer pixels cannot carry a shape


class Segmenter(Protocol):
    """What a segment backend does."""

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt in order, or the objects it finds without prompts and files.

        A backend that knows words answers a prompt of words alone with every object that they
        fit, best first, in that prompt's place: many masks, one, or none.
        """
        ...


SegmenterT = TypeVar("SegmenterT", bound=Segmenter)


@dataclass(frozen=True, kw_only=True)
class SegmentBackend(Backend[SettingsT, SegmenterT]):
    """What is asked of a segment backend."""

    knows_words: bool = False
    """Whether it finds objects by words. A prompt of words alone is then answered with every object
    that they mean, in that prompt's place, perhaps none; any other prompt with one mask. Words with
    a box mean one object: choosing by hand asks for the words once and then for each box, and
    expects the same objects again."""
    unknown_words: Callable[[str], str] = field(default=lambda words: "")
    """Why these words are not known, "" where they are: of a backend that knows some only."""


STAGE = Stage[SegmentBackend[Any, Segmenter]]("segment", SegmentBackend, version="1")


def check_prompts(photo_width: int, photo_height: int, prompts: tuple[ObjectPrompt, ...]) -> None:
    """Raise BadInput where a prompt says nothing, or points outside the photo.

    A box may reach over the photo's border.
    """
    size = f"the photo is {photo_width} x {photo_height} pixels"
    for index, prompt in enumerate(prompts):
        name = name_of(prompt, index)
        if not (prompt.text or prompt.box or any(p.foreground for p in prompt.points)):
            raise BadInput(
                f"{name} does not say where the object is: "
                "give it a box, a point on it (not only beside it), or words"
            )
        for p in prompt.points:
            if not (0 <= p.x_px < photo_width and 0 <= p.y_px < photo_height):
                raise BadInput(f"{name}: point ({p.x_px:g}, {p.y_px:g}) is outside: {size}")
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            wide, high = min(x1, photo_width) - max(x0, 0), min(y1, photo_height) - max(y0, 0)
            if not (wide >= 1 and high >= 1):
                raise BadInput(f"{name}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is outside: {size}")


def name_of(prompt: ObjectPrompt, index: int) -> str:
    """What to call a prompt in a message; the first is prompt 1."""
    return f"prompt {index + 1}" + (f" ({prompt.label})" if prompt.label else "")


def run(
    segmenter: Segmenter,
    photo: Photo,
    prompts: tuple[ObjectPrompt, ...],
    files: tuple[Mask, ...],
) -> list[Mask]:
    """Segment a photo; masks come back disjoint, in the order of the prompts or files.

    Words alone give as many masks as they fit, perhaps none. Where two masks claim a pixel the
    smaller one keeps it: an object in front of, or lying in, another is usually smaller, and a
    visible pixel has one owner. Raises BadInput for a mask of the wrong size, an empty one, or
    one that others cover completely.
    """
    check_prompts(photo.width, photo.height, prompts)
    masks = segmenter.segment(photo, prompts, files)
    found = disjoint(masks, (photo.height, photo.width))
    shared = sum(int(m.pixels.sum()) for m in masks) - sum(int(m.pixels.sum()) for m in found)
    if shared:
        logger.info("masks overlap by %d pixels: the smaller mask keeps them", shared)
    return found


def disjoint(masks: Sequence[Mask], shape: tuple[int, int]) -> list[Mask]:
    """The masks with one owner per pixel of a photo of shape (H, W): the smaller mask.

    Raises BadInput for an empty mask, and for one that others cover completely.
    """
    owner = np.full(shape, -1)
    for index in sorted(range(len(masks)), key=lambda i: -int(masks[i].pixels.sum())):
        if masks[index].pixels.shape != shape:
            raise ValueError(f"mask {index + 1} is {masks[index].pixels.shape}, the photo {shape}")
        owner[masks[index].pixels] = index
    found = [Mask(owner == i, m.label, m.score) for i, m in enumerate(masks)]
    for index, mask in enumerate(found):
        if mask.pixels.sum() < MIN_MASK_PX:
            raise BadInput(
                f"mask {index + 1} ({mask.label or 'no label'}) is empty: "
                f"{_why_empty(index, masks, owner)}"
            )
    return found


def _why_empty(index: int, masks: Sequence[Mask], owner: NDArray[np.intp]) -> str:
    pixels = masks[index].pixels
    if pixels.sum() < MIN_MASK_PX:
        return f"only {int(pixels.sum())} pixels of it are set; paint the object white"
    above = int(np.bincount(owner[pixels]).argmax())
    if np.array_equal(pixels, masks[above].pixels):
        return f"covered by other masks, mask {above + 1} is the same; leave one of them out"
    return f"covered by other masks, most of all mask {above + 1}; cut it out of that one"
