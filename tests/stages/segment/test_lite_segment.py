"""The lite backend: what the detector's numbers mean, which boxes are things, and their masks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from scene.errors import BadInput
from scene.types import Bool, Float32, ObjectPrompt, Photo, Point, Uint8
from stages import segment
from stages.segment import grabcut, lite
from stages.segment.lite.boxes import Box, iou
from stages.segment.lite.detector import (
    BINS,
    STRIDES_PX,
    Detection,
    decoded,
    load_detector,
    merged_scales,
    network_tensor,
)
from stages.segment.lite.things import meant, whole_of, whole_things
from stages.segment.lite.words import ALSO, CLASSES, class_of
from support import ROOT

HEIGHT, WIDTH = 240, 320
RED, BLUE, GREEN, YELLOW = (200, 40, 40), (40, 60, 190), (40, 150, 60), (220, 190, 40)
GROUND = (188, 178, 160)


def seen(name: str, box: tuple[float, float, float, float], score: float) -> Detection:
    return Detection(box, score, ((name, score),))


# --- the detector's numbers


def test_a_cell_tells_its_box() -> None:
    cells = np.full((8 * 12 + 4 * 6 + 2 * 3, len(CLASSES) + 4 * BINS), -20.0, np.float32)
    row, column = 2, 4  # of the grid of stride 16, which comes after that of stride 8
    cell = 8 * 12 + row * 6 + column
    cells[:, : len(CLASSES)] = 0
    cells[cell, CLASSES.index("cup")] = 0.75
    sides = cells[cell, len(CLASSES) :].reshape(4, BINS)
    sides[0, 2] = sides[1, 1] = sides[2, 3] = 20
    sides[3, [4, 5]] = 20  # between two bins: their mean
    boxes, kinds, scores = decoded(cells, 64, 96)
    x, y = (column + 0.5) * 16, (row + 0.5) * 16
    assert boxes.shape == (1, 4)
    assert np.allclose(boxes[0], [x - 32, y - 16, x + 48, y + 4.5 * 16], atol=1e-3)
    assert CLASSES[kinds[0]] == "cup"
    assert scores[0] == 0.75


def test_the_network_gets_blue_first_and_black_up_to_multiples_of_32() -> None:
    tensor = network_tensor(np.full((40, 33, 3), (255, 128, 0), np.uint8))
    assert tensor.shape == (1, 3, 64, 64)
    assert np.allclose(tensor[0, :, 0, 0] * [57.375, 57.12, 58.395] + [103.53, 116.28, 123.675],
                       [0, 128, 255], atol=1e-3)  # fmt: skip
    assert np.allclose(tensor[0, :, 63, 63] * 57, tensor[0, :, 63, 0] * 57)


def test_two_looks_give_the_mean_box_and_half_a_score_to_what_one_sees() -> None:
    here = [seen("cup", (0, 0, 100, 100), 0.6), seen("book", (200, 0, 220, 20), 0.4)]
    there = [seen("bowl", (0, 0, 100, 110), 0.6), seen("cup", (300, 0, 310, 10), 0.2)]
    first, second, third = merged_scales([here, there])
    assert first.box == pytest.approx((0, 0, 100, 105))
    assert first.score == pytest.approx(0.6)
    assert dict(first.names) == pytest.approx({"cup": 0.3, "bowl": 0.3})
    assert (second.name, second.score) == ("book", pytest.approx(0.2))
    assert (third.name, third.score) == ("cup", pytest.approx(0.1))


def test_boxes_of_one_look_are_never_averaged_with_each_other() -> None:
    twins = [seen("cup", (0, 0, 100, 100), 0.6), seen("cup", (0, 20, 100, 120), 0.5)]
    assert iou(twins[0].box, twins[1].box) > 0.55
    assert len(merged_scales([twins, []])) == 2


# --- words


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("cup", "cup"), ("Cups", "cup"), ("the mug", "cup"), ("sofa", "couch"),
        ("couches", "couch"),
        ("monitor", "tv"), ("phones", "cell phone"), ("cell-phone", "cell phone"),
        ("knives", "knife"), ("benches", "bench"), ("skis", "skis"), ("a  potted plant",
        "potted plant"), ("mice", "mouse"), ("buses", "bus"), ("people", "person"),
        ("teapot", None), ("red cup", None), ("s", None), ("", None),
    ],
)  # fmt: skip
def test_words_mean_classes(words: str, kind: str | None) -> None:
    assert class_of(words) == kind


def test_every_class_and_its_plural_is_known() -> None:
    assert len(set(CLASSES)) == len(CLASSES) == 80
    assert set(ALSO.values()) <= set(CLASSES)
    assert not set(ALSO) & set(CLASSES)
    for name in CLASSES:
        assert class_of(name) == name
        assert class_of(name + "s") == name


# --- which boxes are things


def test_what_a_vessel_holds_belongs_to_it() -> None:
    cup = seen("cup", (100, 100, 200, 240), 0.7)
    pencil = seen("toothbrush", (110, 20, 130, 110), 0.3)
    leaning = seen("knife", (60, 20, 150, 110), 0.25)
    fork = seen("fork", (220, 150, 260, 235), 0.3)  # lies beside it
    found = whole_things([cup, pencil, leaning, fork], 0.18)
    assert [d.name for d in found] == ["cup", "fork"]
    assert found[0].box == (60, 20, 200, 240)


def test_what_stands_before_a_bowl_is_not_in_it() -> None:
    bowl = seen("bowl", (100, 100, 200, 160), 0.7)
    apple = seen("apple", (130, 120, 170, 165), 0.6)
    assert len(whole_things([bowl, apple], 0.18)) == 2
    assert len(whole_things([bowl, replace(apple, box=(130, 90, 170, 130))], 0.18)) == 1


def test_a_plant_and_its_pot_are_one_plant() -> None:
    plant, pot = (seen("potted plant", (100, 20, 220, 240), 0.6),
                  seen("vase", (120, 160, 200, 242), 0.5))  # fmt: skip
    for order in ([plant, pot], [pot, plant]):
        (whole,) = whole_things(order, 0.18)
        assert whole.box == (100, 20, 220, 242)
        assert (whole.name, whole.score) == ("potted plant", 0.6)


def test_a_table_is_no_thing_and_neither_is_what_is_unlikely() -> None:
    table = seen("dining table", (0, 0, 300, 200), 0.9)
    assert whole_things([table, seen("cup", (10, 10, 60, 60), 0.17)], 0.18) == []


def test_a_part_lies_in_its_whole_and_does_not_stand_before_it() -> None:
    chair = seen("chair", (100, 50, 200, 240), 0.7)
    seat = seen("suitcase", (110, 120, 190, 160), 0.3)
    before = seen("bottle", (120, 150, 150, 241), 0.3)
    beside = seen("bottle", (190, 150, 230, 200), 0.3)
    legs = seen("chair", (110, 160, 190, 240), 0.3)
    wholes = [whole_of(d, [chair]) for d in (seat, before, beside, legs)]
    assert wholes == [chair, None, None, chair]
    couch, person = (seen("couch", (0, 50, 300, 240), 0.8),
                     seen("person", (50, 60, 120, 200), 0.7))  # fmt: skip
    assert whole_of(person, [couch]) is None


def test_a_sure_thing_that_is_found_once_more_in_part_is_one() -> None:
    person = seen("person", (0, 60, 300, 460), 0.8)
    lower = seen("person", (10, 160, 310, 500), 0.38)
    (whole,) = whole_things([person, lower], 0.18)
    assert whole == replace(person, box=(0, 60, 310, 500))
    third = seen("person", (40, 240, 340, 580), 0.3)  # half in the whole, less in the first
    assert len(whole_things([person, lower, third], 0.18)) == 2
    beside = seen("person", (200, 60, 500, 460), 0.38)
    likely = seen("person", (10, 160, 310, 500), 0.5)
    assert len(whole_things([person, beside], 0.18)) == 2
    assert len(whole_things([person, likely], 0.18)) == 2


def test_words_find_what_may_be_meant() -> None:
    bowl = Detection((100, 100, 200, 160), 0.6, (("cup", 0.3), ("bowl", 0.28)))
    orange = seen("orange", (130, 90, 170, 130), 0.5)
    other = Detection((0, 0, 50, 30), 0.5, (("cup", 0.5), ("bowl", 0.2)))
    assert [d.score_as("bowl") for d in meant([other, bowl], "bowl", 0.15)] == [0.28, 0.2]
    for words in ("bowl", "cup"):
        assert [d.box for d in meant([bowl, orange], words, 0.15)] == [(100, 90, 200, 160)]
    assert [d.box for d in meant([bowl, orange], "orange", 0.15)] == [orange.box]
    assert meant([bowl, orange], "chair", 0.15) == []


# --- masks


def picture(*parts: tuple[Bool, tuple[int, int, int]]) -> Photo:
    """Flat shapes on a plane of light grain, antialiased like a photo."""
    grain = np.random.default_rng(0).normal(0, 4, (HEIGHT, WIDTH, 1))
    rgb = np.clip(np.array(GROUND) + grain, 0, 255).astype(np.uint8)
    for mask, colour in parts:
        rgb[mask] = colour
    return Photo(np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.7), np.uint8))


def box(x0: int, y0: int, x1: int, y1: int) -> Bool:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def unlike_ground(rgb: Uint8) -> Float32:
    """What is salient, known exactly: all that is not ground."""
    return (np.abs(rgb.astype(int) - GROUND).max(2) > 40).astype(np.float32)


def unlike_ground_in(rgb: Uint8, box: Box) -> Float32:
    """The same inside a box and a pixel around it."""
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = np.zeros(rgb.shape[:2], np.float32)
    inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = 1
    return inside * unlike_ground(rgb)


def backend(*detections: Detection, settings: lite.Settings | None = None) -> lite.Lite:
    """The backend with a detector that sees what a test says."""
    settings = settings or lite.Settings()
    return lite.Lite(settings, lambda rgb: list(detections), unlike_ground_in, unlike_ground)


LEFT, RIGHT, FAR = box(40, 120, 100, 200), box(100, 60, 150, 200), box(220, 100, 280, 180)
SCENE = picture((LEFT, RED), (RIGHT, BLUE), (FAR, GREEN))


def fits(found: Bool, truth: Bool) -> bool:
    return float((found & truth).sum() / (found | truth).sum()) > 0.9


def test_boxes_become_masks_and_what_they_miss_is_added() -> None:
    cup, book = seen("cup", (40, 120, 100, 200), 0.7), seen("book", (100, 60, 150, 200), 0.4)
    found = segment.run(backend(cup, book), SCENE, (), ())
    assert [m.label for m in found] == ["cup", "", ""]
    assert [m.score for m in found[:2]] == [0.7, 0.4]
    for mask, truth in zip(found, (LEFT, RIGHT, FAR), strict=True):
        assert fits(mask.pixels, truth)


def test_a_whole_is_one_object_and_its_parts_none() -> None:
    seat, legs = box(100, 60, 160, 120), box(110, 120, 150, 200)
    photo = picture((seat, BLUE), (legs, YELLOW))
    chair = seen("chair", (100, 60, 160, 200), 0.6)
    (found,) = segment.run(backend(chair, seen("tie", (110, 120, 150, 195), 0.3)), photo, (), ())
    assert found.label == "chair"
    assert fits(found.pixels, seat | legs)


PAN, HANDLE = box(60, 100, 180, 200), box(170, 130, 232, 160) & ~box(60, 100, 180, 200)


@pytest.mark.parametrize(("score", "found_as"), [(0.4, PAN | HANDLE), (0.6, PAN)])
def test_a_likely_piece_gives_way_to_what_stands_out_as_a_whole(
    score: float, found_as: Bool
) -> None:
    photo = picture((PAN | HANDLE, BLUE))
    piece, whole = (seen("bowl", (60, 100, 180, 200), score),
                    seen("scissors", (60, 100, 226, 200), 0.3))  # fmt: skip
    (found,) = segment.run(backend(piece, whole), photo, (), ())
    assert fits(found.pixels, found_as)


@pytest.mark.parametrize(("likelihood", "kind", "whose"), [
    (1.0, "cake", "network"), (0.7, "cake", "regions"), (1.0, "chair", "regions"),
])  # fmt: skip
def test_regions_are_the_mask_where_they_know_more(
    likelihood: float, kind: str, whose: str
) -> None:
    most = LEFT & ~box(40, 180, 100, 200)

    def without_its_foot(rgb: Uint8, box: Box) -> Float32:
        return likelihood * most.astype(np.float32)

    network = replace(backend(seen(kind, (40, 120, 100, 188), 0.4)), likelihood_in=without_its_foot)
    (found,) = segment.run(network, SCENE, (ObjectPrompt(text=kind),), ())
    assert fits(found.pixels, most if whose == "network" else LEFT)
    assert (found.pixels & ~most).any() == (whose == "regions")


def test_what_stands_before_another_thing_is_a_thing_and_its_pixels_are_its_own() -> None:
    behind, before = box(80, 40, 200, 180), box(110, 100, 140, 182)
    photo = picture((behind, BLUE), (before, YELLOW))
    chest, bottle = (seen("suitcase", (80, 40, 200, 182), 0.5),
                     seen("bottle", (110, 100, 140, 182), 0.3))  # fmt: skip
    found = segment.run(backend(chest, bottle), photo, (), ())
    assert [m.score for m in found] == [0.5, 0.3]
    assert fits(found[0].pixels, behind & ~before)
    assert fits(found[1].pixels, before)


def test_a_part_that_stands_out_is_an_object_where_the_whole_is_unsure() -> None:
    upper, lower = box(100, 60, 160, 120), box(110, 120, 150, 200)
    photo = picture((upper, BLUE), (lower, YELLOW))
    whole = seen("chair", (100, 60, 160, 200), 0.4)
    found = segment.run(backend(whole, seen("tie", (110, 120, 150, 195), 0.3)), photo, (), ())
    assert [m.score for m in found] == [0.4, 0.3]


@pytest.mark.parametrize(("name", "objects"), [("person", 1), ("suitcase", 2)])
def test_what_is_unsure_on_a_person_is_a_part(name: str, objects: int) -> None:
    photo = picture((box(100, 60, 160, 140), BLUE), (box(100, 140, 160, 220), YELLOW))
    first, again = seen(name, (100, 60, 160, 200), 0.6), seen(name, (95, 142, 172, 228), 0.36)
    found = segment.run(backend(first, again), photo, (), ())
    assert [m.label for m in found] == [name, ""][:objects]


def test_what_fills_the_photo_is_found_as_a_box_that_a_person_draws() -> None:
    large = box(20, 20, 300, 220)
    whole = seen("couch", (20, 20, 300, 220), 0.6)

    def never(rgb: Uint8, box: Box) -> Float32:
        raise AssertionError(box)

    lite_backend = replace(backend(whole), likelihood_in=never)
    (found,) = segment.run(lite_backend, picture((large, BLUE)), (), ())
    assert fits(found.pixels, large)


def test_a_box_that_nothing_fills_gives_no_object() -> None:
    loose = seen("cup", (200, 10, 310, 235), 0.9)  # FAR is in its middle
    found = segment.run(backend(loose), SCENE, (), ())
    assert [m.label for m in found] == [""] * 3
    assert any(fits(m.pixels, FAR) for m in found)


def test_small_things_and_more_than_the_most_are_left_out() -> None:
    cups = [seen("cup", (40, 120, 100, 200), 0.7), seen("cup", (220, 100, 280, 180), 0.6)]
    few = lite.Settings(max_objects=1)
    assert [m.score for m in backend(*cups, settings=few).segment(SCENE, (), ())] == [0.7]
    large = lite.Settings(min_area_share=0.2)
    assert backend(*cups, settings=large).segment(SCENE, (), ()) == []


def test_words_find_every_instance_best_first() -> None:
    cups = [seen("cup", (40, 120, 100, 200), 0.7), seen("cup", (220, 100, 280, 180), 0.3)]
    prompts = (ObjectPrompt(text="mugs"), ObjectPrompt("post", box=(100, 60, 150, 200)))
    first, second, third = segment.run(backend(*cups), SCENE, prompts, ())
    assert [first.label, second.label, third.label] == ["mugs", "mugs", "post"]
    assert fits(first.pixels, LEFT)
    assert fits(second.pixels, FAR)
    assert fits(third.pixels, RIGHT)
    again = ObjectPrompt(text="mugs", box=(222, 101, 279, 180))
    assert np.array_equal(segment.run(backend(*cups), SCENE, (again,), ())[0].pixels, second.pixels)


def test_words_that_nothing_here_fits_find_nothing() -> None:
    assert segment.run(backend(), SCENE, (ObjectPrompt(text="giraffe"),), ()) == []


@pytest.mark.parametrize(("text", "says"), [
    ("teapot", "prompt 1 .'teapot'.: .* knows 80 words.*profile full"),
    ("", "prompt 1"),
])  # fmt: skip
def test_other_words_are_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        segment.run(backend(), SCENE, (ObjectPrompt(text=text),), ())
    assert "\n" not in str(refused.value)


def test_points_and_boxes_mean_what_they_mean_to_grabcut() -> None:
    prompts = (
        ObjectPrompt("a", points=(Point(250, 140, True),)),
        ObjectPrompt("b", box=(95, 55, 155, 205), points=(Point(60, 130, False),)),
    )
    theirs = grabcut.GrabCut(grabcut.Settings(), unlike_ground).segment(SCENE, prompts, ())
    ours = backend().segment(SCENE, prompts, ())
    for one, other in zip(ours, theirs, strict=True):
        assert (one.label, one.score) == (other.label, other.score)
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("name", ["min_score", "min_word_score", "min_name_score"])
def test_scores_have_ranges(name: str) -> None:
    for value in (0.05, 1.5, float("nan")):
        with pytest.raises(BadInput, match=f"{name}: expected 0.1 to 1"):
            lite.Settings(**{name: value})
    with pytest.raises(BadInput, match="max_objects"):
        lite.Settings(max_objects=0)


def test_the_bundled_detector_sees_the_cup() -> None:
    rgb = np.asarray(cv2.imread(str(ROOT / "examples" / "coffee.jpg")), np.uint8)[..., ::-1].copy()
    detect = load_detector()
    found = detect(rgb)
    cup = next(d for d in found if d.name == "cup")
    assert iou(cup.box, (170, 18, 418, 268)) > 0.8
    assert 0.3 < cup.score < 0.7
    assert found == sorted(found, key=lambda d: -d.score)
    assert load_detector()(rgb) == found  # to the last bit
    assert len(STRIDES_PX) == 3
