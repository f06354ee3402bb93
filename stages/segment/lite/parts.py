"""Which pieces are one object? What meets another piece with a thin end belongs to it.

A stem in its pot, a shade on its pole, a seat on its pedestal, a table top on its legs: there is
ground, or nothing, on both sides of the place where they meet. Things that stand on, before or
beside each other meet over most of their width, or at a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from scene.types import Bool, Mask
from stages.segment.shared.outline import window_of

REACH = 0.012  # of the photo's longer side: pieces with a smaller gap between them touch
SLIVER = 0.05  # of a piece's largest component: what is less beside it does not count
END = 0.12  # of a piece's height: its foot, or its top
THIN = 0.35  # an end as wide as this share of the piece's height, or less, is thin
NARROW = 0.45  # of the width of what is carried: they touch over no more
FOOT_AT, TOP_AT = 0.8, 0.7  # of the upper piece's height: they touch below that
WIDER = 1.6  # times the longer side of what stands on it: no pot or base is
BELOW = 0.5  # of what carries: so much of its height is below what it carries
FOOT_OFF, TOP_OFF = 0.1, 0.16  # of the other's width: as far from its middle they may touch


@dataclass(frozen=True)
class Contact:
    """Where two pieces touch: how far down the upper one; across both, each in [0, 1] of the
    piece; and how wide, in pixels."""

    down: float
    across_upper: float
    across_lower: float
    width_px: int


def joined(masks: Sequence[Mask], whole: Sequence[bool]) -> list[Mask]:
    """The masks, in order of their first pieces, with pieces of one object in one.

    whole: which are objects of their own, whatever they touch. Each pixel counts for the smallest
    mask that has it. A joined mask has the first name and score among its pieces.
    """
    own = own_pixels(masks)
    parts = [k for k in range(len(masks)) if not whole[k]]
    pairs = [{i, j} for i in parts for j in parts if j < i and belong(own[i], own[j])]
    first = list(range(len(masks)))
    for pair in pairs:
        i, j = sorted(pair)
        # A crown of several leaves meets its stem in one place.
        joins = set[int]().union(*(other for other in pairs if other & pair))
        if hidden_contact(own[i], own[j], [o for k, o in enumerate(own) if k not in joins]):
            continue
        low, high = sorted((first[i], first[j]))
        first = [low if f == high else f for f in first]
    found: list[Mask] = []
    for k in sorted(set(first)):
        pieces = [mask for mask, f in zip(masks, first, strict=True) if f == k]
        pixels = np.logical_or.reduce([piece.pixels for piece in pieces])
        label = next((piece.label for piece in pieces if piece.label), "")
        found.append(replace(pieces[0], pixels=pixels, label=label))
    return found


def own_pixels(masks: Sequence[Mask]) -> list[Bool]:
    """What is left of masks where smaller ones own their pixels, without slivers beside it."""
    areas = [int(mask.pixels.sum()) for mask in masks]
    owner = np.full(masks[0].pixels.shape if masks else (0, 0), -1)
    for i in sorted(range(len(masks)), key=lambda i: -areas[i]):
        owner[masks[i].pixels] = i
    return [without_slivers(owner == i) for i in range(len(masks))]


def without_slivers(piece: Bool) -> Bool:
    """A piece without what hardly shows beside its largest component."""
    count, components = cv2.connectedComponents(piece.astype(np.uint8))
    areas = np.bincount(components.ravel(), minlength=max(count, 2))
    areas[0] = 0
    return (areas >= max(SLIVER * areas.max(), 1))[components]


def belong(a: Bool, b: Bool) -> bool:
    """Whether one piece stands on the other with a thin foot, or carries it with a thin top."""
    if not (a.any() and b.any()):
        return False
    upper, lower = sorted((a, b), key=middle_row)
    contact = contact_of(upper, lower)
    if contact is None:
        return False
    (left, y0, right, y1), (width, height) = window_of(lower), size(upper)
    low = window_of(upper)[3]
    foot, top = end_width(upper, top=False), end_width(lower, top=True)
    stands = (
        max(foot, contact.width_px) <= THIN * height
        and contact.down >= FOOT_AT
        and abs(contact.across_lower - 0.5) <= FOOT_OFF
        and right - left <= WIDER * max(width, height)
    )
    carries = (
        top <= THIN * min(width, y1 - y0)
        and y1 - low >= BELOW * (y1 - y0)
        and contact.width_px <= NARROW * width
        and contact.down >= TOP_AT
        and abs(contact.across_upper - 0.5) <= TOP_OFF
    )
    return stands or carries


def hidden_contact(a: Bool, b: Bool, others: Sequence[Bool]) -> bool:
    """Whether something else is where two pieces touch, so that neither end there may be its own.

    A sliver of what is behind a thing looks like a thin end beside it.
    """
    upper, lower = sorted((a, b), key=middle_row)
    near = cv2.dilate(touching(upper, lower).astype(np.uint8), np.ones((3, 3), np.uint8),
                      iterations=reach_px(a))  # fmt: skip
    return any(bool((near.astype(bool) & other).any()) for other in others)


def touching(upper: Bool, lower: Bool) -> Bool:
    """(H, W): the upper one's pixels that the lower one is near to."""
    side = 2 * reach_px(upper) + 1
    return (cv2.dilate(lower.astype(np.uint8), np.ones((side, side), np.uint8)) > 0) & upper


def reach_px(piece: Bool) -> int:
    """Pieces with no larger gap between them touch."""
    return max(1, round(REACH * max(piece.shape)))


def contact_of(upper: Bool, lower: Bool) -> Contact | None:
    """Where two pieces touch, None where they do not."""
    rows, columns = np.nonzero(touching(upper, lower))
    if not len(rows):
        return None
    (x0, y0, x1, y1), (left, _, right, _) = window_of(upper), window_of(lower)
    return Contact(
        down=float((rows.mean() - y0) / (y1 - y0)),
        across_upper=float((columns.mean() - x0) / (x1 - x0)),
        across_lower=float((columns.mean() - left) / (right - left)),
        width_px=len(np.unique(columns)),
    )


def end_width(piece: Bool, top: bool) -> int:
    """Over how many columns the topmost or lowest rows of a piece reach."""
    _, y0, _, y1 = window_of(piece)
    deep = max(1, round(END * (y1 - y0)))
    rows = piece[y0 : y0 + deep] if top else piece[y1 - deep : y1]
    return int(rows.any(0).sum())


def size(piece: Bool) -> tuple[int, int]:
    """Width and height of a piece's own box."""
    x0, y0, x1, y1 = window_of(piece)
    return x1 - x0, y1 - y0


def middle_row(piece: Bool) -> float:
    """The mean row of a piece's pixels."""
    return float(np.nonzero(piece)[0].mean())
