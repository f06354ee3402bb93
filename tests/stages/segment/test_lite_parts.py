"""Pieces of one object: what meets another piece with a thin end belongs to it."""

from __future__ import annotations

import numpy as np
import pytest

from scene.types import Bool, Mask
from stages.segment.lite.parts import belong, joined


def box(x0: int, y0: int, x1: int, y1: int) -> Bool:
    mask = np.zeros((240, 320), bool)
    mask[y0:y1, x0:x1] = True
    return mask


TOP, LEG = box(80, 40, 240, 100), box(152, 100, 168, 200)
POT, STEM, CROWN = box(130, 180, 190, 230), box(152, 110, 168, 190), box(100, 40, 220, 110)


@pytest.mark.parametrize(("a", "b"), [
    (TOP, LEG),  # a table top on its leg, a shade on its pole
    (STEM & ~POT, POT),
    (CROWN, STEM & ~POT),
    (box(90, 40, 230, 120) | box(152, 120, 168, 205), box(120, 200, 200, 225)),  # seat, pedestal
    (TOP, box(100, 100, 108, 200) | box(100, 140, 220, 146) | box(212, 100, 220, 200)),  # legs
])  # fmt: skip
def test_a_thin_end_belongs_to_what_it_meets(a: Bool, b: Bool) -> None:
    assert belong(a, b)
    assert belong(b, a)


@pytest.mark.parametrize(("a", "b"), [
    (box(140, 60, 180, 110), TOP | box(60, 100, 260, 140)),  # stands on it
    (box(130, 90, 160, 160), box(40, 150, 250, 220)),  # stands on its middle, but it is wide
    (box(60, 40, 200, 160), box(170, 140, 186, 220)),  # stands before its side
    (box(60, 100, 120, 200), box(120, 90, 200, 200)),  # stands beside it
    (box(60, 40, 76, 160), box(60, 158, 200, 200)),  # a candle beside the middle of a chest
    (box(100, 40, 200, 140), box(110, 140, 190, 200)),  # stands behind it
    (TOP, box(152, 160, 168, 220)),  # does not touch it
])  # fmt: skip
def test_what_stands_on_before_or_beside_another_is_none_of_its_parts(a: Bool, b: Bool) -> None:
    assert not belong(a, b)
    assert not belong(b, a)


def test_a_thin_end_beside_something_else_may_be_a_sliver_of_what_it_hides() -> None:
    basket = box(100, 40, 200, 120) | box(
        140, 120, 146, 170
    )  # and what shows of it beside a carton
    carton, plate = box(148, 60, 180, 176), box(100, 172, 190, 210)
    assert belong(basket, plate)
    found = joined([Mask(m, "", 0.3) for m in (basket, carton, plate)], [False] * 3)
    assert len(found) == 3
    assert len(joined([Mask(m, "", 0.3) for m in (basket, plate)], [False] * 2)) == 1


def test_leaves_that_meet_on_a_stem_do_not_hide_where_they_do() -> None:
    before, stem = box(130, 80, 190, 112), box(152, 112, 168, 180)
    behind = box(90, 40, 230, 118) & ~before & ~stem
    plant = [Mask(m, "", 0.3) for m in (behind, before, stem, POT)]
    assert len(joined(plant, [False] * 4)) == 1


def test_slivers_beside_another_thing_are_no_end() -> None:
    shade, foot = CROWN | box(154, 110, 166, 182), box(130, 180, 190, 220)
    sliver = box(126, 216, 156, 224) & ~foot
    (lamp,) = joined([Mask(shade | sliver, "", 0.3), Mask(foot, "", 0.2)], [False] * 2)
    assert np.array_equal(lamp.pixels, shade | sliver | foot)


def test_pieces_become_one_mask_with_the_name_of_one() -> None:
    pieces = [Mask(CROWN, "", 0.4), Mask(box(0, 0, 20, 20), "", 0.3), Mask(STEM, "", 0.2),
              Mask(POT, "vase", 0.6)]  # fmt: skip
    plant, other = joined(pieces, [False] * 4)
    assert np.array_equal(plant.pixels, CROWN | STEM | POT)
    assert (plant.label, plant.score) == ("vase", 0.4)
    assert other is not plant and np.array_equal(other.pixels, pieces[1].pixels)
    crown, _, stem_and_pot = joined(pieces, [True, False, False, False])
    assert np.array_equal(crown.pixels, CROWN)
    assert np.array_equal(stem_and_pot.pixels, STEM | POT)
    assert joined([], []) == []
