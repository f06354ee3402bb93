"""Which boxes of the detector are things of their own? What lies in a vessel belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stages.segment.lite.boxes import Box, area, around, lies_in
from stages.segment.lite.detector import Detection

# A table's box holds all that stands on it, and is its own only where nothing does.
NO_THING = ("dining table",)
PLANT = "potted plant"
VESSELS = ("cup", "bowl", "vase", "wine glass", PLANT)
CONTENTS = (
    "fork", "knife", "spoon", "scissors", "toothbrush", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "sports ball", PLANT,
)  # fmt: skip
ALIVE = (
    "person", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "teddy bear",
)  # fmt: skip
COMPACT = (  # without legs, stems, spokes or straps
    "bottle", "wine glass", "cup", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "sports ball", "frisbee", "book", "clock",
    "mouse", "remote", "cell phone", "microwave", "oven", "toaster", "sink", "toilet",
    "refrigerator", "suitcase",
)  # fmt: skip
ABOVE_BOTTOM = 0.1  # of the vessel's height: what stands beside it reaches lower
MAX_OVERHANG = 0.05  # of the vessel's width: as far beside it may the middle of what it holds be
MAX_CONTENT_AREA = 2.5  # times the vessel's box: a plant, but not what stands behind a cup
SURE = 0.5  # score from which a thing is certainly there, as a whole
FRAGMENT_SCORE = 0.5  # of its score: what is less sure is no second thing of the same name ...
FRAGMENT = 0.6  # ... if it has this part of its box in the first
MOSTLY = 0.85  # a box with this share in another lies in it
AS_LOW = 0.02  # of the height of a box: bottoms that differ by less are as low


def whole_things(found: Sequence[Detection], min_score: float) -> list[Detection]:
    """The detections that may be objects, best first, each vessel with what it holds."""
    seen = one_of_each(d for d in found if d.score >= min_score and d.name not in NO_THING)
    wholes = list(seen)
    held: set[int] = set()
    for index, one in enumerate(seen):
        vessels = (k for k, other in enumerate(seen) if k not in held and holds(other, one))
        vessel = next((k for k in vessels if k != index), None)
        if vessel is not None:
            wholes[vessel] = filled(wholes[vessel], one)
            held.add(index)
    return [whole for k, whole in enumerate(wholes) if k not in held]


def one_of_each(found: Iterable[Detection]) -> list[Detection]:
    """The detections, best first, with what is clearly one thing in one box.

    A thing that is sure is often found once more, in part and with a low score; what was missed of
    it the first time is in that box.
    """
    firsts: list[Detection] = []
    boxes: list[Box] = []
    for one in found:
        same = next((k for k, first in enumerate(firsts) if is_fragment(one, first)), None)
        if same is None:
            firsts.append(one)
            boxes.append(one.box)
        else:
            boxes[same] = around(boxes[same], one.box)
    return [replace(first, box=box) for first, box in zip(firsts, boxes, strict=True)]


def is_fragment(one: Detection, first: Detection) -> bool:
    """Whether a detection is a better one once more, in part."""
    return (
        one.name == first.name
        and first.score >= SURE
        and one.score < FRAGMENT_SCORE * first.score
        and lies_in(one.box, first.box, FRAGMENT)
    )


def holds(vessel: Detection, content: Detection) -> bool:
    """Whether one thing lies or stands in another, by their kinds and boxes."""
    if vessel.name not in VESSELS or content.name not in CONTENTS:
        return False
    if content.name == PLANT and lies_in(vessel.box, content.box, MOSTLY):
        return True  # the box of the plant has its pot
    x0, y0, x1, y1 = vessel.box
    left, _, right, bottom = content.box
    beside, middle = MAX_OVERHANG * (x1 - x0), (left + right) / 2
    return (
        x0 - beside <= middle <= x1 + beside
        and y0 <= bottom <= y1 - ABOVE_BOTTOM * (y1 - y0)
        and area(content.box) <= MAX_CONTENT_AREA * area(vessel.box)
    )


def filled(vessel: Detection, content: Detection) -> Detection:
    """The two as one: under the vessel's name, except that a pot with a plant may be a plant."""
    box, score = around(vessel.box, content.box), max(vessel.score, content.score)
    named = vessel
    if content.name == PLANT and content.name_score > vessel.name_score:
        named = content
    return Detection(box, score, named.names)


def whole_of(one: Detection, others: Sequence[Detection]) -> Detection | None:
    """The first of better things in whose box a thing lies, unless it is something else.

    That is what has another name, and either is sure itself, as a person on a couch, or reaches as
    low in the photo: then it stands before the other.
    """
    for other in others:
        height = other.box[3] - other.box[1]
        as_low = other.box[3] - one.box[3] <= AS_LOW * height
        something_else = one.name != other.name and (as_low or one.score >= SURE)
        if lies_in(one.box, other.box, MOSTLY) and not something_else:
            return other
    return None


def is_alive(one: Detection) -> bool:
    """Whether a thing is surely a person or an animal."""
    return one.name in ALIVE and one.score >= SURE


def is_whole(one: Detection) -> bool:
    """Whether a thing surely has no part beside its box, such as a pole, a stem or a pedestal."""
    return is_alive(one) or (one.name in COMPACT and one.score >= SURE)


def meant(found: Sequence[Detection], kind: str, min_score: float) -> list[Detection]:
    """The detections that may be of a kind, best first; a vessel with what it holds."""
    likely = [d for d in one_of_each(found) if d.score_as(kind) >= min_score]
    likely.sort(key=lambda d: -d.score_as(kind))
    if kind not in VESSELS:
        return likely
    wholes = [d.box for d in whole_things(found, min_score)]
    return [
        replace(d, box=min((w for w in wholes if lies_in(d.box, w, 1)), key=area, default=d.box))
        for d in likely
    ]
