"""Masks of hand-made logits: are they whole, told apart, and does every pixel have one owner?"""

from __future__ import annotations

import numpy as np
import pytest

from scene.types import Bool, Float32
from stages.segment import disjoint
from stages.segment.shared.instances import (
    Instance,
    cleaned,
    distinct_objects,
    settle,
    without_duplicates,
)

SIZE = 64


def window(x0: int, y0: int, x1: int, y1: int, size: int = SIZE) -> Bool:
    mask = np.zeros((size, size), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def instance(pixels: Bool, score: float = 0.9, likelihood: Float32 | None = None) -> Instance:
    """An instance whose decoder was as fine as the photo, and sure of itself unless told."""
    sure = np.where(pixels, 0.95, 0.05).astype(np.float32)
    return Instance(pixels, sure if likelihood is None else likelihood, score, f"s{score}")


def test_small_holes_are_filled_and_small_islands_dropped() -> None:
    mask = window(10, 10, 50, 50)
    ragged = mask.copy()
    ragged[20:22, 20:22] = False  # 4 pixels of 1600
    ragged[60:62, 60:62] = True
    np.testing.assert_array_equal(cleaned(ragged), mask)


def test_large_holes_and_parts_stay() -> None:
    """A handle's eye, and what an object in front leaves on either side."""
    mask = window(5, 5, 45, 45) & ~window(15, 15, 30, 30) | window(50, 5, 60, 45)
    np.testing.assert_array_equal(cleaned(mask), mask)
    ring = np.zeros((900, 900), bool)
    ring[100:800, 100:800] = True
    ring[300:600, 300:600] = False
    ring[100:110, 100:110] = False  # a corner that is cut off is no hole, however small
    np.testing.assert_array_equal(cleaned(ring), ring)
    assert not cleaned(np.zeros((SIZE, SIZE), bool)).any()
    assert cleaned(window(3, 3, 4, 4)).sum() == 1


def test_a_disputed_pixel_goes_to_the_likelier_mask() -> None:
    left, right = window(0, 0, 40, SIZE), window(30, 0, 64, SIZE)
    x = np.arange(SIZE, dtype=np.float32) + 0.5
    falling, rising = 0.55 - (x - 35) / 100, 0.55 + (x - 35) / 100  # equal at x = 35
    sides = [
        np.where(mask, ramp, 0).astype(np.float32)
        for mask, ramp in ((left, falling), (right, rising))
    ]
    a, b = settle([instance(left, 0.8, sides[0]), instance(right, 0.8, sides[1])])
    np.testing.assert_array_equal(a.pixels, window(0, 0, 35, SIZE))
    np.testing.assert_array_equal(b.pixels, window(35, 0, SIZE, SIZE))
    better = settle([instance(left, 0.9, sides[0]), instance(right, 0.3, sides[1])])
    np.testing.assert_array_equal(better[0].pixels, left)
    np.testing.assert_array_equal(better[1].pixels, right & ~left)


def test_a_mask_may_lose_every_pixel() -> None:
    weak, sure = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    weak[0, 0] = weak[4:, 4:] = 0.6  # cleaning left the corner only
    sure[:2] = 0.9
    found = [instance(window(0, 0, 8, 8), 0.1, weak), instance(window(0, 0, 64, 16), 0.9, sure)]
    lost, kept = settle(found)
    assert not lost.pixels.any() and kept.pixels.sum() == 64 * 16
    assert [o.score for o in distinct_objects(found, [False, False], 0, 9)] == [0.9]


def test_what_lies_in_another_keeps_its_pixels() -> None:
    bowl, spoon = instance(window(5, 5, 55, 55), 0.99), instance(window(20, 20, 30, 30), 0.5)
    settled = settle([bowl, spoon])
    for before, after in zip((bowl, spoon), settled, strict=True):
        np.testing.assert_array_equal(before.pixels, after.pixels)
    owned = disjoint([o.mask for o in settled], (SIZE, SIZE))
    np.testing.assert_array_equal(owned[0].pixels, bowl.pixels & ~spoon.pixels)
    np.testing.assert_array_equal(owned[1].pixels, spoon.pixels)


def test_settled_masks_lose_no_pixel_and_share_none() -> None:
    random = np.random.default_rng(3)
    found = []
    for _ in range(6):
        x, y = random.integers(0, 34, 2)
        found.append(instance(window(x, y, x + 30, y + 30), float(random.uniform(0.3, 1))))
    kept = distinct_objects(found, [False] * 6, 0, 100)
    owned = disjoint([o.mask for o in kept], (SIZE, SIZE))
    assert np.sum([o.pixels for o in owned], axis=0).max() == 1
    np.testing.assert_array_equal(
        np.any([o.pixels for o in owned], axis=0), np.any([o.pixels for o in kept], axis=0)
    )


def test_of_duplicates_the_better_stays_unless_one_was_pointed_at() -> None:
    cup, mug = instance(window(10, 10, 40, 40), 0.6), instance(window(10, 10, 41, 40), 0.9)
    plate = instance(window(45, 45, 60, 60), 0.7)
    assert without_duplicates([cup, mug, plate]) == [0, 2]
    assert [o.score for o in distinct_objects([cup, mug, plate], [False] * 3, 0, 9)] == [0.9, 0.7]
    pointed = distinct_objects([cup, mug, plate], [True, False, False], 0, 9)
    assert [o.score for o in pointed] == [0.6, 0.7]


def test_small_hidden_and_surplus_objects_go_but_not_what_was_given() -> None:
    small, large = instance(window(0, 0, 5, 5), 0.9), instance(window(10, 10, 40, 40), 0.8)
    assert [o.score for o in distinct_objects([small, large], [False, False], 26, 9)] == [0.8]
    assert [o.score for o in distinct_objects([small, large], [True, False], 26, 9)] == [0.9, 0.8]
    assert [o.score for o in distinct_objects([small, large], [False, False], 0, 1)] == [0.9]
    halves = [instance(window(10, 10, 40, 25), 0.7), instance(window(10, 25, 40, 40), 0.6)]
    assert [o.score for o in distinct_objects([large, *halves], [False] * 3, 0, 9)] == [0.7, 0.6]


def test_two_prompts_for_one_object_are_told_so() -> None:
    same = [instance(window(10, 10, 40, 40), 0.8), instance(window(10, 10, 40, 40), 0.9)]
    kept = distinct_objects(same, [True, True], 0, 9)
    with pytest.raises(ValueError, match="mask 2 is the same; leave one of them out"):
        disjoint([o.mask for o in kept], (SIZE, SIZE))
