"""Segment backend `lite`: everyday things by a small detector, by itself or by words; on a CPU.

The detector (NanoDet-g) tells where things are and what they are; a small network on its features
finds their masks, and what stands out without being one of its 80 kinds is found as by `grabcut`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scene.cores import side_by_side
from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.segment import SegmentBackend, name_of
from stages.segment.lite import detector
from stages.segment.lite.boxes import Box, area, iou
from stages.segment.lite.detector import Detection, Detector, load_detector, load_features
from stages.segment.lite.masks import LARGEST, InBox, load_in_box, scaled
from stages.segment.lite.masks import WEIGHTS_FILE as MASKS_FILE
from stages.segment.lite.parts import joined
from stages.segment.lite.things import (
    COMPACT,
    SURE,
    is_alive,
    is_whole,
    meant,
    whole_of,
    whole_things,
)
from stages.segment.lite.words import class_of, unknown_words
from stages.segment.shared import analysed
from stages.segment.shared.analysed import AnalysedPhoto, analyse, propose, score_of
from stages.segment.shared.outline import cut, enlarged, overlap, window_of
from stages.segment.shared.pointed import object_in_box, segment_prompt, window_mask, working_window
from stages.segment.shared.saliency import WEIGHTS_FILE as SALIENCY_FILE
from stages.segment.shared.saliency import SaliencyMap, load_saliency

log = logging.getLogger(__name__)

BOX_MARGIN = 0.1  # of its sides: by how much a detector's box may be too small
LIKELY, CERTAIN, UNLIKELY = 0.5, 0.97, 0.05  # of a pixel: inside; and GrabCut leaves it so
SURE_OF_MASK = 0.75  # mean over a mask's pixels; below, the network is unsure what belongs to it
AS_GOOD = 0.06  # fits of masks to a box that differ by less are as good
AGREED = 0.7  # IoU of the network's mask with that of the photo's regions: they mean the same
FILLS_BOX = 0.5  # IoU of a mask's own box with the box that it was found in
SAME_THING = 0.6  # masks with a greater IoU are one thing
CONFIRMED = 0.75  # IoU of a part's box with that of an object that stands out: it is none
SAME_OBJECT = 0.9  # ... or more: that object is what the box means; of masks: nothing is added
WORN = 0.7  # with this share of its pixels in a person's or animal's, what is unsure is a part
MIN_VISIBLE_FRACTION = 0.3  # a mask of which less is left under smaller ones is none of its own
SAME_BOX = 0.7  # IoU of a given box and the own box of a mask that words found before
TAKEN = 0.5  # what stands out with this share of its pixels in boxes is what they mean


@dataclass(frozen=True)
class Settings(analysed.Settings):
    """As `grabcut`, and: min_score of a detection that becomes an object; min_word_score of
    one that words ask for; min_name_score of a name that is shown, since boxes are right more
    often than names."""

    min_score: float = 0.18
    min_word_score: float = 0.2
    min_name_score: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_score", "min_word_score", "min_name_score"):
            if not detector.MIN_SCORE <= getattr(self, name) <= 1:
                raise BadInput(
                    f"{name}: expected {detector.MIN_SCORE:g} to 1, got {getattr(self, name):g}"
                )


@dataclass(frozen=True, eq=False)
class Found:
    """A detection and its mask at working size; agreement: IoU of its box with that of what stands
    out there by itself."""

    thing: Detection
    mask: Mask
    agreement: float


@dataclass(frozen=True, eq=False)
class Lite:
    """A detector, masks in its boxes, and the classical masks; deterministic, on the CPU."""

    settings: Settings
    detect: Detector
    likelihood_in: InBox
    saliency_of: SaliencyMap

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """What prompts mean in their order, or without prompts what is found, best first.

        Words alone: every instance of them, best first. Points and boxes mean what they mean to
        `grabcut`; words with them name the object. Masks are (H, W) bool at the photo's size.
        `files` are another backend's business and are ignored. Raises BadInput where a prompt
        cannot be followed.
        """
        for index, prompt in enumerate(prompts):
            check_prompt(prompt, name_of(prompt, index))
        clicks = [p for q in prompts if q.box is None for p in q.points if p.foreground]
        known = analyse(photo, self.saliency_of, self.settings, clicks if prompts else None)
        if prompts:
            masks = self.asked(photo, known, prompts)
        else:
            masks = self.everything(photo, known)
        return side_by_side(lambda m: replace(m, pixels=enlarged(m.pixels, photo.rgb)), masks)

    def everything(self, photo: Photo, known: AnalysedPhoto) -> list[Mask]:
        """The objects of a photo: things of the detector, then what else stands out."""
        smallest = self.settings.min_area_share * known.saliency.size
        by_itself = propose(known, self.settings)
        found: list[Found] = []
        for thing in whole_things(self.detect(photo.rgb), self.settings.min_score):
            alone, agreement = best_in_box(by_itself, thing.box, known)
            whole = whole_of(thing, [one.thing for one in found])
            if whole and (agreement < CONFIRMED or whole.score >= SURE):
                continue
            mask = alone if agreement > SAME_OBJECT else self.in_box(thing, known)
            if mask is None or mask.pixels.sum() < smallest:
                continue
            new = Found(thing, self.described(mask, thing), agreement)
            others = [one for one in found if not is_piece_of(one, new)]
            if is_among(mask, [one.mask for one in others]):
                continue
            bodies = [one.mask for one in others if is_alive(one.thing)]
            if thing.score < SURE and any(lies_on(mask, body) for body in bodies):
                continue
            found = [*others, new]
        found = [found[index] for index in visible([one.mask for one in found])]
        inside = np.zeros(known.saliency.shape, bool)
        for one in found:
            inside |= window_mask(working_window(one.thing.box, known), inside.shape)
        rest = [m for m in by_itself if (m.pixels & inside).sum() < TAKEN * m.pixels.sum()]
        wholes = [is_whole(one.thing) for one in found]
        pieces = [one.mask for one in found] + rest
        return joined(pieces, wholes + [False] * len(rest))[: self.settings.max_objects]

    def in_box(self, thing: Detection, known: AnalysedPhoto) -> Mask | None:
        """The mask in a detection's box; None where nothing fills it.

        It is the network's, or what the photo's regions make of the same thing where they know
        more: of a kind with thin parts, and where the network is unsure.
        """
        window = scaled(thing.box, known.working_from_photo)
        fits = area(window) <= LARGEST * known.saliency.size
        mask, sureness = self.likely_in(window, known) if fits else (None, 0.0)
        thin = thing.name not in COMPACT
        if mask is None or thin or sureness < SURE_OF_MASK:
            regions = object_in_box(known, thing.box, self.saliency_of, BOX_MARGIN)
            if mask is None or (
                regions is not None
                and overlap(mask.pixels, regions.pixels) >= AGREED
                and (thin or fit(regions, thing, known) >= fit(mask, thing, known) - AS_GOOD)
            ):
                mask = regions
        return mask if mask and fit(mask, thing, known) >= FILLS_BOX else None

    def likely_in(self, window: Box, known: AnalysedPhoto) -> tuple[Mask | None, float]:
        """What the network finds in a box at working size, its outline moved onto the colours, and
        how sure it is of those pixels: 1 where it is certain, 0 where they are as likely outside.
        """
        likelihood = self.likelihood_in(known.rgb, window)
        region = likelihood > LIKELY
        pixels = cut(known.rgb, region, likelihood > CERTAIN, likelihood < UNLIKELY)
        if not pixels.any():
            return None, 0.0
        sureness = float(np.abs(2 * likelihood[pixels] - 1).mean())
        return Mask(pixels, "", score_of(pixels, region, known)), sureness

    def described(self, mask: Mask, thing: Detection) -> Mask:
        """A mask with the score of its detection, and its name if that is sure."""
        sure = thing.name_score >= self.settings.min_name_score
        return replace(mask, label=thing.name if sure else "", score=thing.score)

    def asked(
        self, photo: Photo, known: AnalysedPhoto, prompts: tuple[ObjectPrompt, ...]
    ) -> list[Mask]:
        """What prompts mean, in their order."""
        located = tuple(p for p in prompts if has_location(p))
        indices = range(len(located))
        given = iter(side_by_side(lambda index: self.at(photo, known, located, index), indices))
        found: list[Mask] = []
        for prompt in prompts:
            if has_location(prompt):
                found.append(next(given))
                continue
            instances = self.instances(photo, known, prompt)
            if not instances:
                log.warning("nothing here looks like %r (segment.min_word_score %g)",
                            prompt.text, self.settings.min_word_score)  # fmt: skip
            found += [m for m in instances if not is_among(m, found)]
        return found

    def at(
        self, photo: Photo, known: AnalysedPhoto, located: tuple[ObjectPrompt, ...], index: int
    ) -> Mask:
        """The one object at a prompt's box and points."""
        prompt = located[index]
        if prompt.box is not None and prompt.text and not prompt.points:
            for mask in self.instances(photo, known, prompt):
                if iou(box_around(mask, known), prompt.box) > SAME_BOX:
                    return mask
        mask = segment_prompt(known, self.saliency_of, located, index)
        return replace(mask, label=prompt.label or prompt.text)

    def instances(self, photo: Photo, known: AnalysedPhoto, prompt: ObjectPrompt) -> list[Mask]:
        """Everything that a prompt's words mean, best first, under its label (none: the words)."""
        kind = class_of(prompt.text)
        if kind is None:
            return []
        masks: list[Mask] = []
        for thing in meant(self.detect(photo.rgb), kind, self.settings.min_word_score):
            mask = self.in_box(thing, known)
            if mask is not None and not is_among(mask, masks):
                named = prompt.label or prompt.text
                masks.append(replace(mask, label=named, score=thing.score_as(kind)))
        return [masks[index] for index in visible(masks)]


def check_prompt(prompt: ObjectPrompt, name: str) -> None:
    """Raise BadInput where a prompt has nothing to point at, and its words are not known."""
    if has_location(prompt):
        return
    if not prompt.text:
        raise BadInput(f"{name} has no box, no point on it and no words: give one of them")
    if reason := unknown_words(prompt.text):
        raise BadInput(f"{name} ({prompt.text!r}): {reason}")


def has_location(prompt: ObjectPrompt) -> bool:
    """Whether a prompt points at one object; what it is not does not say where it is."""
    return prompt.box is not None or any(p.foreground for p in prompt.points)


def is_among(mask: Mask, masks: Sequence[Mask]) -> bool:
    """Whether a mask shows the same thing as one of the others."""
    return any(overlap(mask.pixels, other.pixels) > SAME_THING for other in masks)


def is_piece_of(one: Found, other: Found) -> bool:
    """Whether what is found is most of another thing, and only that stands out as one object: a
    pan without its handle."""
    return (
        one.thing.score < SURE
        and one.agreement < CONFIRMED <= other.agreement
        and SAME_THING < overlap(one.mask.pixels, other.mask.pixels) < SAME_OBJECT
        and one.mask.pixels.sum() < other.mask.pixels.sum()
        and lies_on(one.mask, other.mask)
    )


def lies_on(mask: Mask, other: Mask) -> bool:
    """Whether most of a mask is another's too: clothes, if that is a person."""
    return (mask.pixels & other.pixels).sum() >= WORN * mask.pixels.sum()


def best_in_box(masks: Sequence[Mask], box: Box, known: AnalysedPhoto) -> tuple[Mask | None, float]:
    """The mask whose own box agrees best with a box, and how well (IoU)."""
    fits = [iou(box_around(mask, known), box) for mask in masks]
    best = int(np.argmax(fits)) if fits else -1
    return (masks[best], fits[best]) if fits else (None, 0.0)


def visible(masks: Sequence[Mask]) -> list[int]:
    """The indices of the masks of which enough is left when smaller ones own their pixels.

    Of those of which too little is left the last goes first: it may be what hid the others.
    """
    shown = list(range(len(masks)))
    while shown:
        owner = np.full(masks[0].pixels.shape, -1)
        areas = {i: int(masks[i].pixels.sum()) for i in shown}
        for i in sorted(shown, key=lambda i: -areas[i]):
            owner[masks[i].pixels] = i
        hidden = [i for i in shown if (owner == i).sum() < MIN_VISIBLE_FRACTION * areas[i]]
        if not hidden:
            break
        shown.remove(hidden[-1])
    return shown


def fit(mask: Mask, thing: Detection, known: AnalysedPhoto) -> float:
    """How well a mask's own box agrees with that of the detection: IoU."""
    return iou(box_around(mask, known), thing.box)


def box_around(mask: Mask, known: AnalysedPhoto) -> Box:
    """The box of a mask at working size, in pixels of the photo."""
    x0, y0, x1, y1 = (value / known.working_from_photo for value in window_of(mask.pixels))
    return x0, y0, x1, y1


def load(settings: Settings, device: str) -> Lite:
    """Read the three networks; every device means the CPU here."""
    return Lite(settings, load_detector(), load_in_box(load_features()), load_saliency())


BACKEND = SegmentBackend(
    version="7",
    settings=Settings,
    load=load,
    loading=(),
    weights_sha256=detector.WEIGHTS_SHA256,  # those of masks and saliency go with the version
    bundled=(detector.WEIGHTS_FILE, MASKS_FILE, SALIENCY_FILE),
    knows_words=True,
    unknown_words=unknown_words,
)
