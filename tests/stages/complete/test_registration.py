"""An edit is brought back to the photo by what both show, and another picture is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.edits import Drift, crop_from_edit, drifted, finished
from benchmarks.known_scenes import KnownObject
from benchmarks.registration import displaced
from scene.cameras import camera_from_fov, project
from scene.types import Bool, Crop, CropCamera, Uint8
from stages.complete.qwen_edit.amodal import unknown_pixels
from stages.complete.qwen_edit.background import backdrop, coverage
from stages.complete.qwen_edit.edit_request import BACKDROPS, backdrop_name
from stages.complete.qwen_edit.edit_result import check_edit
from stages.complete.qwen_edit.registration import Registration, register

SIDE = 512
MOVES = [
    Drift(0.95, (12, -12), (1.06, 0.96, 0.92), (6, -8, 10), shade=10, blur_px=1, jpeg=85),
    Drift(1.05, (-12, 12), (0.92, 1.04, 1.05), (-6, 8, -5), shade=10, blur_px=1.2, jpeg=80),
    Drift(1.02, (4.3, 7.7), texture=0.3, repaint=0.1),
    Drift(0.98, (-5.2, -11.1), texture=0.4, jpeg=75),
]


def patterned() -> Uint8:
    """(SIDE, SIDE, 4): a vase with a pattern."""
    shape = _vase()
    v, u = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    waves = np.sin(u / 9) * np.cos(v / 13) + 0.5 * np.sin((u + 2 * v) / 17)
    colours = np.stack([150 + 60 * waves, 90 + 40 * np.cos(v / 21), 60 + 30 * waves], -1)
    return _shaded(colours, shape)


def plain() -> Uint8:
    """(SIDE, SIDE, 4): a cup of one colour, softly lit: its outline alone tells where it is."""
    shape = cv2.ellipse(np.zeros((SIDE, SIDE), np.uint8), (256, 170), (120, 40), 0, 0, 360, 1, -1)
    cv2.fillPoly(shape, [np.array([[136, 170], [376, 170], [330, 400], [182, 400]])], 1)
    return _shaded(np.full((SIDE, SIDE, 3), 205.0), shape > 0)


def _vase() -> Bool:
    shape = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(shape, (256, 290), (110, 130), 0, 0, 360, 1, -1)
    cv2.fillPoly(shape, [np.array([[215, 90], [305, 90], [290, 260], [225, 260]])], 1)
    return shape > 0


def _shaded(colours: np.ndarray, shape: Bool) -> Uint8:
    u = np.linspace(-1, 1, SIDE)[None, :, None]
    alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 0.6) * 255
    lit = colours * (0.9 + 0.1 * u)
    return np.rint(np.concatenate([lit, alpha[..., None]], -1)).clip(0, 255).astype(np.uint8)


def occluded(truth: Uint8, bar: Bool) -> Crop:
    """The object in a photo, a patterned bar in front of it."""
    random = np.random.default_rng(7)
    wall = random.uniform(60, 190, (SIDE // 8, SIDE // 8, 3))
    rgb = cv2.resize(wall, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    alpha = truth[..., 3:] / 255
    rgb = truth[..., :3] * alpha + rgb * (1 - alpha)
    rgb[bar] = (30, 110, 60)
    rgba = np.concatenate([rgb, np.where(bar[..., None], 0, truth[..., 3:])], -1)
    camera = CropCamera(camera_from_fov(SIDE, SIDE, 0.5), np.eye(3))
    return Crop(np.rint(rgba).clip(0, 255).astype(np.uint8), bar, camera)


def lower_corner() -> Bool:
    v, u = np.mgrid[:SIDE, :SIDE]
    return (u + v > 620) & (v > 230)


def edited(truth: Uint8, drift: Drift, crop: Crop, seed: int = 0) -> Uint8:
    """(1024, 1024, 3): as an editor would return it, on the colour that it is asked for."""
    plain_colour = BACKDROPS[backdrop_name(crop.rgba)]
    return drifted(truth, np.diag([1024 / SIDE, 1024 / SIDE, 1]), plain_colour, drift, seed)


def registered(edit: Uint8, crop: Crop) -> Registration:
    alpha = coverage(edit, backdrop(edit))
    return register(edit, alpha, crop.rgba, unknown_pixels(crop))


def error_px(found: Registration, drift: Drift, crop: Crop) -> float:
    """Root mean square displacement of the visible pixels that is left, in pixels of the crop."""
    left = found.distance_px(crop_from_edit(drift, SIDE), crop.rgba[..., 3] > 127)
    return float(np.sqrt((left**2).mean()))


@pytest.mark.parametrize(
    "drift", [*MOVES[::2], *(pytest.param(m, marks=pytest.mark.slow) for m in MOVES[1::2])]
)
def test_a_patterned_object_comes_back(drift: Drift) -> None:
    crop = occluded(patterned(), lower_corner())
    assert error_px(Registration(SIDE, 1, 0, 0), drift, crop) > 2
    assert error_px(registered(edited(patterned(), drift, crop), crop), drift, crop) < 0.1


@pytest.mark.parametrize("drift", MOVES[:2])
def test_a_plain_object_comes_back_by_its_outline(drift: Drift) -> None:
    crop = occluded(plain(), lower_corner())
    assert error_px(registered(edited(plain(), drift, crop), crop), drift, crop) < 0.3


def test_the_occluder_has_no_say() -> None:
    """Whatever stands where the occluder was: another colour there moves nothing."""
    crop = occluded(patterned(), lower_corner())
    drift = Drift(1.03, (9, -6))
    odd = patterned()
    odd[lower_corner(), :3] = (250, 20, 200)
    assert error_px(registered(edited(odd, drift, crop), crop), drift, crop) < 0.1


def test_directions_and_the_homography() -> None:
    """An edit that is enlarged and moved right is shrunk and moved left."""
    crop = occluded(patterned(), np.zeros((SIDE, SIDE), bool))
    found = registered(edited(patterned(), Drift(1.04, (10, 0)), crop), crop)
    assert found.zoom == pytest.approx(1 / 1.04, abs=5e-4)
    assert found.shift_x_px == pytest.approx(-10 / 1.04 / 2, abs=0.1)  # 2: the crop is half as wide
    assert found.shift_y_px == pytest.approx(0, abs=0.1)
    middle_of_edit = found.photo_from_edit(1024) @ [512, 512, 1]
    np.testing.assert_allclose(middle_of_edit[:2], [256 + found.shift_x_px, 256], atol=0.1)


def test_an_accepted_edit_completes_the_object() -> None:
    truth, bar = patterned(), lower_corner()
    crop = occluded(truth, bar)
    drift = Drift(0.97, (8, -5), (1.06, 0.96, 0.92), (6, -8, 10), shade=6, blur_px=0.8, jpeg=90)
    found = check_edit(edited(truth, drift, crop), crop)
    assert found.rejection == ""
    assert found.rgba is not None and found.hidden is not None
    solid = crop.rgba[..., 3] > 250
    np.testing.assert_array_equal(found.rgba[solid], crop.rgba[solid])
    alpha, whole = found.rgba[..., 3] > 127, truth[..., 3] > 127
    assert (alpha & whole).sum() / (alpha | whole).sum() > 0.99
    inner = cv2.erode((found.hidden & whole).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    off = np.abs(found.rgba[inner, :3].astype(float) - truth[inner, :3])
    assert inner.sum() > 5000 and off.mean() < 6  # untinted; unregistered, its pattern is off by 40
    assert not (alpha & ~whole & ~bar & (crop.rgba[..., 3] == 0)).any()


def test_what_the_photo_shows_is_not_hidden() -> None:
    """A foot that the editor added where the photo shows the wall is left out."""
    truth = patterned()
    crop = occluded(truth, lower_corner())
    edit = edited(truth, Drift(), crop)
    cv2.rectangle(edit, (290, 700), (400, 790), (120, 80, 60), -1)  # at the visible rim
    found = check_edit(edit, crop)
    assert found.rejection == "" and found.rgba is not None
    np.testing.assert_array_equal(found.rgba[:, :200], crop.rgba[:, :200])


def test_outside_the_photo_may_be_completed() -> None:
    truth = patterned()
    outside = np.zeros((SIDE, SIDE), bool)
    outside[:, 330:] = True
    crop = replace(occluded(truth, outside), occluder=np.zeros_like(outside), outside=outside)
    found = check_edit(edited(truth, Drift(1.01, (3, 3)), crop), crop)
    assert found.rejection == "" and found.hidden is not None
    assert (found.hidden & outside).sum() > 2000


def _rotated(edit: Uint8, degrees: float) -> Uint8:
    turn = cv2.getRotationMatrix2D((512, 512), degrees, 1)
    border = tuple(int(v) for v in edit[0, 0])
    return np.asarray(cv2.warpAffine(edit, turn, (1024, 1024), borderValue=border), np.uint8)


BAD = {
    "blank": lambda good: np.full_like(good, 255),
    "noise": lambda good: np.random.default_rng(0).integers(0, 256, good.shape).astype(np.uint8),
    "turned": lambda good: _rotated(good, 12),
    "upside down": lambda good: np.ascontiguousarray(good[::-1]),
    "moved too far": lambda good: np.roll(good, 120, 1),
    "negative": lambda good: 255 - good,
    "half as large": lambda good: finished(
        np.pad(
            cv2.resize(good, (512, 512), interpolation=cv2.INTER_AREA).astype(np.float32),
            ((256, 256), (256, 256), (0, 0)), mode="edge",
        ),
        Drift(), np.random.default_rng(0),
    ),
}  # fmt: skip


# Where each is hardest to refuse; the rest is slow.
HARDEST = (("patterned", "half as large"), ("plain", "upside down"))
REFUSED = [
    pytest.param(
        kind, truth, id=f"{what}-{kind}", marks=() if (what, kind) in HARDEST else pytest.mark.slow
    )
    for what, truth in (("patterned", patterned()), ("plain", plain()))
    for kind in BAD
]


@pytest.mark.parametrize(("kind", "truth"), REFUSED)
def test_another_picture_is_refused(kind: str, truth: Uint8) -> None:
    crop = occluded(truth, lower_corner())
    found = check_edit(BAD[kind](edited(truth, Drift(), crop)), crop)
    assert found.rejection and found.rgba is None


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param(patterned(), marks=pytest.mark.slow, id="patterned"),
        pytest.param(plain(), marks=pytest.mark.slow, id="plain"),
    ],
)
def test_another_object_and_a_repainted_one_are_refused(truth: Uint8) -> None:
    crop = occluded(truth, lower_corner())
    other = plain() if truth[..., 1].std() > patterned()[..., 1].std() - 1 else patterned()
    assert check_edit(edited(other, Drift(), crop), crop).rejection
    painted = truth.copy()
    painted[:, :256, :3] = (40, 160, 200)
    assert check_edit(edited(painted, Drift(), crop), crop).rejection


def test_the_benchmark_displaces_an_object_as_its_picture() -> None:
    """Every vertex lies at its depth, on the ray of its displaced pixel in a turned camera."""
    angle = 0.3
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    view = CropCamera(camera_from_fov(SIDE, SIDE, 0.5), turn)
    seen = np.random.default_rng(0).uniform((-0.2, -0.2, 1.5), (0.2, 0.2, 2.5), (50, 3))
    known = KnownObject("box", seen @ turn.T, np.zeros((0, 3), np.int32))
    moved = Registration(SIDE, 1.03, 4.0, -7.0).photo_from_edit(SIDE)
    after = displaced(known, view, moved).vertices @ turn
    np.testing.assert_allclose(after[:, 2], seen[:, 2])
    expected = project(view.camera, seen) * 1.03 + [4 - 0.03 * SIDE / 2, -7 - 0.03 * SIDE / 2]
    np.testing.assert_allclose(project(view.camera, after), expected, atol=1e-8)


def test_nothing_visible_is_one_line() -> None:
    crop = occluded(patterned(), np.ones((SIDE, SIDE), bool))
    with pytest.raises(ValueError, match="fewer than 64 pixels"):
        registered(edited(patterned(), Drift(), crop), crop)
