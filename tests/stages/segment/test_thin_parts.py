"""Automatic masks of drawn objects with thin parts: one object each, and two stay two."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.automatic import drawings, outcome, pairs
from benchmarks.drawings import SHAPES, one_object
from scene.types import Bool, Uint8
from stages.segment import grabcut
from stages.segment.shared.ground import object_pixels
from stages.segment.shared.outline import in_one_piece
from stages.segment.shared.partition import region_tree


@cache
def backend() -> grabcut.GrabCut:
    return grabcut.load(grabcut.Settings(), "cpu")


@pytest.mark.parametrize(
    "shape",
    [
        "chair",
        "dog",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("lamp", "bicycle", "glasses")),
    ],
)
def test_a_drawn_object_with_thin_parts_is_one(shape: str) -> None:
    drawing = one_object(SHAPES[shape], "white", "flat", np.random.default_rng(4))
    assert outcome(backend(), drawing).right


@pytest.mark.parametrize("shape", list(SHAPES))
def test_what_is_salient_of_a_textured_object_is_one_region(shape: str) -> None:
    drawing = one_object(SHAPES[shape], "grey", "textured", np.random.default_rng(7))
    tree = region_tree(drawing.rgb, drawing.masks[0])
    largest = max(int(tree.mask(region).sum()) for region in tree.objects)
    assert largest > 0.97 * drawing.masks[0].sum()


def framed(frame: tuple[int, int, int], within: tuple[int, int, int]) -> tuple[Uint8, Bool, Bool]:
    """A square frame on a light ground, what lies within it, and its outer and inner squares."""
    rgb = np.clip(np.random.default_rng(0).normal(215, 2, (160, 200, 3)), 0, 255).astype(np.uint8)
    outer, inner = np.zeros((2, 160, 200), bool)
    outer[40:120, 60:140] = True
    inner[48:112, 68:132] = True
    rgb[outer & ~inner] = frame
    if within != (215, 215, 215):
        rgb[inner] = within
    return rgb, outer, inner


def test_an_opening_onto_the_ground_is_no_part_of_the_object() -> None:
    rgb, outer, inner = framed((40, 60, 150), (215, 215, 215))
    found = object_pixels(rgb, outer, outer)
    assert not found[52:108, 72:128].any()
    assert found[outer & ~inner].all()


@pytest.mark.parametrize("within", [(170, 60, 60), (235, 225, 190), (190, 190, 190)])
def test_a_filling_of_another_colour_stays(within: tuple[int, int, int]) -> None:
    rgb, outer, _ = framed((40, 60, 150), within)
    np.testing.assert_array_equal(object_pixels(rgb, outer, outer), outer)


def test_a_plate_of_the_ground_s_grey_with_a_faint_rim_stays() -> None:
    rgb, outer, _ = framed((190, 190, 190), (215, 215, 215))
    np.testing.assert_array_equal(object_pixels(rgb, outer, outer), outer)


def test_a_stem_that_saliency_loses_goes_on() -> None:
    rgb = np.full((160, 200, 3), 215, np.uint8)
    salient, stem = np.zeros((2, 160, 200), bool)
    salient[20:60, 60:140] = salient[130:140, 70:130] = True
    stem[60:130, 97:103] = True
    rgb[salient | stem] = (40, 60, 150)
    around = np.zeros_like(stem)
    around[60:130, 90:110] = True
    found = object_pixels(rgb, salient, salient | around)
    np.testing.assert_array_equal(found, salient | stem)


def test_a_thin_stem_survives_the_clean_up_and_a_whisker_does_not() -> None:
    region = np.zeros((200, 200), bool)
    region[10:70, 40:160] = region[170:190, 60:140] = True
    region[70:170, 99:101] = True  # a stem of two pixels
    mask = region.copy()
    mask[30, 160:190] = True
    found = in_one_piece(mask, region)
    assert found[70:170, 99:101].all() and found[175:185].any()
    assert not found[30, 163:].any()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("grounds", "share"), [(("white", "grey"), 0.9), (("textured",), 0.75)])
def test_most_drawings_are_one_object(grounds: tuple[str, ...], share: float) -> None:
    """Fewer than `benchmarks.automatic` looks at for its figures: 60 pictures a ground."""
    each = 28 // len(grounds)
    drawn = [d for ground in grounds for _, d in drawings(ground, each, seed=1)]
    assert np.mean([outcome(backend(), drawing).right for drawing in drawn]) >= share


@pytest.mark.slow
def test_two_that_touch_stay_two() -> None:
    outcomes = [outcome(backend(), drawing) for drawing in pairs(12, seed=1)]
    assert np.mean([o.surplus == 0 for o in outcomes]) >= 0.8
