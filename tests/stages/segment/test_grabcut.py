"""The grabcut backend on pictures whose true masks are known because the test draws them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from benchmarks.known_scenes import GROUND_TRUTH, load_scene
from flows.request import prompt_from_json
from scene.images import decode_photo
from scene.types import Bool, Float32, ObjectPrompt, Photo, Point, Uint8
from stages import segment
from stages.segment import grabcut
from stages.segment.shared.partition import region_tree
from stages.segment.shared.saliency import load_saliency, network_tensor
from support import ROOT

HEIGHT, WIDTH = 240, 320
RED, BLUE, GREEN = (200, 40, 40), (40, 60, 190), (40, 150, 60)


@pytest.fixture(scope="module")
def backend() -> grabcut.GrabCut:
    """The backend; tests that share a picture share its saliency, which is what takes time."""
    saliency_of, seen = load_saliency(), dict[bytes, Float32]()

    def remembered(rgb: Uint8) -> Float32:
        key = rgb.tobytes()
        if key not in seen:
            seen[key] = saliency_of(rgb)
        return seen[key]

    return grabcut.GrabCut(grabcut.Settings(), remembered)


def textured_plane(seed: int = 0) -> Uint8:
    """(240, 320, 3) uint8 of light grain."""
    grain = np.random.default_rng(seed).normal(0, 8, (HEIGHT, WIDTH, 1))
    return np.clip(np.array([188, 178, 160]) + grain, 0, 255).astype(np.uint8)


def disc(x: int, y: int, radius: int) -> Bool:
    """(240, 320) bool."""
    return cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (x, y), radius, 1, -1) > 0


def box(x0: int, y0: int, x1: int, y1: int) -> Bool:
    """(240, 320) bool."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def painted(*parts: tuple[Bool, tuple[int, int, int]]) -> Photo:
    """A textured plane with flat shapes on it, antialiased like a photo."""
    rgb = textured_plane()
    for mask, colour in parts:
        rgb[mask] = colour
    return Photo(np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.7), np.uint8))


def iou(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


def one(backend: grabcut.GrabCut, photo: Photo, prompt: ObjectPrompt) -> Bool:
    """The pixels of the one mask that one prompt gives."""
    masks = backend.segment(photo, (prompt,), ())
    assert len(masks) == 1
    assert masks[0].label == prompt.label
    assert 0 <= masks[0].score <= 1
    return masks[0].pixels


def test_box_finds_a_disc(backend: grabcut.GrabCut) -> None:
    truth = disc(150, 120, 45)
    found = one(backend, painted((truth, RED)), ObjectPrompt("ball", box=(100, 70, 200, 170)))
    assert found.shape == (HEIGHT, WIDTH) and found.dtype == bool
    assert iou(found, truth) > 0.93


def test_click_finds_a_disc(backend: grabcut.GrabCut) -> None:
    truth = disc(150, 120, 45)
    prompt = ObjectPrompt("ball", points=(Point(140.0, 110.0),))
    assert iou(one(backend, painted((truth, RED)), prompt), truth) > 0.93


def test_background_click_removes_a_region(backend: grabcut.GrabCut) -> None:
    left, right = box(90, 90, 160, 160), box(160, 80, 230, 160)
    photo = painted((left, RED), (right, BLUE))
    both = (Point(120.0, 120.0), Point(200.0, 120.0))
    assert iou(one(backend, photo, ObjectPrompt("pair", points=both)), left | right) > 0.9
    without = (Point(120.0, 120.0), Point(200.0, 120.0, foreground=False))
    assert iou(one(backend, photo, ObjectPrompt("left", points=without)), left) > 0.9


def test_automatic_mode_finds_three_objects(backend: grabcut.GrabCut) -> None:
    truths = [disc(70, 120, 32), box(135, 90, 195, 150), disc(260, 130, 30)]
    photo = painted(*zip(truths, (RED, BLUE, GREEN), strict=True))
    masks = backend.segment(photo, (), ())
    assert len(masks) == 3
    for truth in truths:
        assert max(iou(mask.pixels, truth) for mask in masks) > 0.9
    assert not (masks[0].pixels & masks[1].pixels).any()


@pytest.mark.slow
def test_two_calls_agree(backend: grabcut.GrabCut) -> None:
    photo = painted((disc(150, 120, 45), RED))
    again = grabcut.load(grabcut.Settings(), "cpu")
    first, second = backend.segment(photo, (), ()), again.segment(photo, (), ())
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.score == b.score


@pytest.mark.slow
def test_large_photo_gets_masks_at_its_own_size(backend: grabcut.GrabCut) -> None:
    truth = disc(150, 120, 45)
    small = painted((truth, RED))
    size = (5 * WIDTH, 5 * HEIGHT)
    photo = Photo(np.asarray(cv2.resize(small.rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8))
    found = one(backend, photo, ObjectPrompt("ball", box=(500, 350, 1000, 850)))
    true_large = cv2.resize(truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    assert iou(found, true_large) > 0.95


def test_uniform_photo_has_no_objects(backend: grabcut.GrabCut) -> None:
    photo = Photo(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    assert backend.segment(photo, (), ()) == []
    prompt = ObjectPrompt("cup", box=(9, 9, 280, 220))
    with pytest.raises(ValueError, match=r"prompt 1 \(cup\): no object"):
        backend.segment(photo, (prompt,), ())


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (ObjectPrompt("cup", points=(Point(400.0, 20.0),)), r"\(400, 20\).*320 x 240"),
        (ObjectPrompt("cup", box=(330, 10, 360, 50)), r"\(330, 10, 360, 50\).*320 x 240"),
        (ObjectPrompt("cup", box=(50, 50, 20, 90)), r"\(50, 50, 20, 90\)"),
        (ObjectPrompt(text="the cup"), r"the cup.*points and boxes.*--point.*--box"),
        (ObjectPrompt("cup", points=(Point(9.0, 9.0, False),)), "not only beside it"),
    ],
)
def test_prompts_that_cannot_be_followed(
    backend: grabcut.GrabCut, prompt: ObjectPrompt, words: str
) -> None:
    photo = painted((disc(150, 120, 45), RED))
    with pytest.raises(ValueError, match=words):
        segment.run(backend, photo, (prompt,), ())


def test_regions_of_touching_shapes_stop_at_the_notch() -> None:
    left, right = disc(110, 120, 40), disc(195, 120, 45)
    photo = painted((left, RED), (right, BLUE))
    tree = region_tree(photo.rgb, left | right)
    assert len(tree.objects) == 2
    masks = [tree.mask(region) for region in tree.objects]
    np.testing.assert_array_equal(masks[0] | masks[1], left | right)
    assert not (masks[0] & masks[1]).any()


def test_saliency_is_a_share_and_checks_its_input(backend: grabcut.GrabCut) -> None:
    saliency = backend.saliency_of(painted((disc(150, 120, 45), RED)).rgb)
    assert saliency.shape == (HEIGHT, WIDTH) and saliency.dtype == np.float32
    assert 0 <= saliency.min() and saliency.max() <= 1 and saliency[120, 150] > 0.9
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        network_tensor(np.zeros((4, 4), np.uint8))


def test_a_click_inside_a_box_adds_what_the_box_alone_missed(backend: grabcut.GrabCut) -> None:
    """Two halves of very different colour: the click says that both are the object."""
    upper, lower = box(100, 60, 200, 120), box(100, 120, 200, 180)
    photo = painted((upper, BLUE), (lower, (240, 235, 225)))
    clicks = (Point(150, 90), Point(150, 150))
    (mask,) = backend.segment(photo, (ObjectPrompt(box=(96, 56, 204, 184), points=clicks),), ())
    assert mask.pixels[90, 150] and mask.pixels[150, 150]
    assert iou(mask.pixels, upper | lower) > 0.9


def test_a_box_leaves_out_the_rim_of_ground_that_looks_salient(backend: grabcut.GrabCut) -> None:
    folder = GROUND_TRUTH / "scenes" / "scene_03"
    truth = load_scene(folder).masks[2]
    photo, _ = decode_photo((folder / "image.png").read_bytes(), 2048)
    rows, columns = np.nonzero(truth)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    prompt = ObjectPrompt("", "", tuple(float(v) for v in box), ())
    (mask,) = backend.segment(photo, (prompt,), ())
    assert (mask.pixels & truth).sum() / (mask.pixels | truth).sum() > 0.95


def test_clicks_that_a_box_alone_missed_bring_no_corners_of_the_box(
    backend: grabcut.GrabCut,
) -> None:
    """The example's milk carton: its gable is as white as the basket behind it."""
    examples = ROOT / "examples"
    photo, _ = decode_photo((examples / "breakfast.jpg").read_bytes(), 2048)
    asked = json.loads((examples / "breakfast.prompts.json").read_text())["objects"][0]
    (mask,) = backend.segment(photo, (prompt_from_json(asked),), ())
    left, top, right, _ = (int(v) for v in asked["box"])
    assert all(mask.pixels[y, x] for x, y in asked["points"])
    assert not mask.pixels[top : top + 20, left : left + 12].any()
    assert not mask.pixels[top : top + 12, right - 8 : right].any()
