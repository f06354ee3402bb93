"""Backend `lite` of complete: the guess is merged so that it goes on from what is visible."""

from __future__ import annotations

import numpy as np
import pytest

from scene.cameras import camera_from_fov
from scene.errors import BadInput
from scene.types import Crop, CropCamera, Float32
from stages import complete
from stages.complete.lite import Lite, Settings
from stages.complete.lite.colours import painted
from stages.complete.lite.scaled import INPUT_CHANNELS, SIDE_PX, may_hide, scaled

N = 192
CAMERA = CropCamera(camera_from_fov(N, N, 0.4), np.eye(3))
V, U = np.mgrid[:N, :N] + 0.5
DISC = np.hypot(U - N / 2, V - N / 2) < 60
COVERED = U > 120
GREEN = (30, 180, 60)


def _crop(**changed: np.ndarray) -> Crop:
    """A green disc, its right part behind a red wall."""
    rgb = np.where((DISC & ~COVERED)[..., None], GREEN, 90)
    rgb = np.where(COVERED[..., None], (200, 30, 30), rgb)
    alpha = np.where(DISC & ~COVERED, 255, 0)
    given = {"occluder": COVERED, **changed}
    return Crop(np.dstack([rgb, alpha]).astype(np.uint8), camera=CAMERA, **given)


def _says(radius: float, shift: float = 0.0, most: float = 6.0) -> Lite:
    """A completer whose network says there is a disc of a radius, moved to the right; most: its
    largest logit."""

    def network(batch: Float32) -> Float32:
        assert batch.shape == (1, INPUT_CHANNELS, SIDE_PX, SIDE_PX)
        v, u = (np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5) * (N / SIDE_PX)
        far = np.hypot(u - N / 2 - shift, v - N / 2)
        return np.clip((radius - far) / 2, -6, most).astype(np.float32)[None, None]

    return Lite(Settings(), network)


def test_what_is_visible_and_what_nothing_hides_stay_as_photographed() -> None:
    crop = _crop()
    made = complete.run(_says(radius=80), crop, "", 0)
    visible = crop.rgba[..., 3] > 127
    np.testing.assert_array_equal(made.rgba[visible], crop.rgba[visible])
    assert not (made.rgba[..., 3][~visible & ~COVERED] > 0).any()
    assert "hidden" in made.notes[0]


def test_a_right_guess_gives_the_whole_disc_to_a_pixel() -> None:
    whole = complete.run(_says(radius=60), _crop(), "", 0).rgba[..., 3] > 127
    assert (whole ^ DISC).sum() < 0.01 * DISC.sum()


@pytest.mark.parametrize("radius", [56, 64])
def test_the_outline_goes_on_without_a_step(radius: float) -> None:
    """A guess that is off by four pixels is moved toward the visible outline where they meet."""
    whole = complete.run(_says(radius), _crop(), "", 0).rgba[..., 3] > 127
    tops = whole.argmax(0)[100:140]
    assert np.abs(np.diff(tops.astype(int))).max() <= 2
    true = DISC.argmax(0)[100:140]
    assert np.abs(tops.astype(int) - true)[21:25].max() <= 2  # just behind the wall's edge


def test_beyond_the_continued_outline_the_network_must_be_sure() -> None:
    """A square cut off by a wall: its convex hull ends at the wall."""
    square = (np.abs(U - N / 2) < 50) & (np.abs(V - N / 2) < 50)
    alpha = np.where(square & ~COVERED, 255, 0)
    crop = Crop(np.dstack([np.full((N, N, 3), 90), alpha]).astype(np.uint8), COVERED, CAMERA)
    visible = square & ~COVERED
    sure, unsure = (complete.run(_says(80, most=m), crop, "", 0) for m in (6, 2))
    assert (sure.rgba[..., 3] > 127).sum() > 1.2 * visible.sum()
    np.testing.assert_array_equal(unsure.rgba[..., 3] > 127, visible)


def test_below_the_object_the_network_must_be_sure_of_more() -> None:
    """The same wall, before the right side and before the foot."""
    added = {}
    for side, turns in {"right": 0, "foot": 3}.items():
        square = (np.abs(U - N / 2) < 50) & (np.abs(V - N / 2) < 50)
        covered = np.rot90(COVERED, turns)
        alpha = np.where(square & ~covered, 255, 0)
        crop = Crop(np.dstack([np.full((N, N, 3), 90), alpha]).astype(np.uint8), covered, CAMERA)
        whole = complete.run(_says(36), crop, "", 0).rgba[..., 3] > 127
        added[side] = int((whole & covered).sum())
    assert added["right"] > 200
    assert added["foot"] == 0


def test_hidden_colours_go_on_from_the_visible_ones() -> None:
    made = complete.run(_says(radius=60), _crop(), "", 0)
    behind = made.rgba[..., :3][DISC & COVERED].astype(int)
    assert np.abs(behind - GREEN).max() < 12


def test_of_two_colours_each_goes_on_where_it_is() -> None:
    known = U < 96
    rgb = np.where((V < 96)[..., None], GREEN, (200, 30, 30)).astype(np.float32)
    made = painted(np.where(known[..., None], rgb, 0).astype(np.float32), known)
    assert np.abs(made[20, 100] - GREEN).max() < 5
    assert np.abs(made[170, 100] - (200, 30, 30)).max() < 5


def test_the_photos_border_may_hide_what_lies_beyond_it() -> None:
    crop = _crop(occluder=np.zeros_like(COVERED), outside=COVERED)
    np.testing.assert_array_equal(may_hide(crop), COVERED)
    whole = complete.run(_says(radius=60), crop, "", 0).rgba[..., 3] > 127
    assert (whole ^ DISC).sum() < 0.01 * DISC.sum()


def test_pieces_that_do_not_touch_the_visible_part_are_dropped() -> None:
    crop = _crop(occluder=U > 140)
    whole = complete.run(_says(radius=30, shift=70), crop, "", 0).rgba[..., 3] > 127
    np.testing.assert_array_equal(whole, crop.rgba[..., 3] > 127)


def test_where_nothing_hides_it_the_network_is_not_asked() -> None:
    def never(batch: Float32) -> Float32:
        raise AssertionError("asked")

    crop = _crop(occluder=np.zeros_like(COVERED))
    made = complete.run(Lite(Settings(), never), crop, "", 0)
    np.testing.assert_array_equal(made.rgba, crop.rgba)


def test_the_network_does_not_see_what_hides_the_object() -> None:
    first = _crop()
    rgba = first.rgba.copy()
    rgba[COVERED, :3] = 0
    second = Crop(rgba, COVERED, CAMERA)
    np.testing.assert_array_equal(scaled(first), scaled(second))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="min_hidden: expected 0 to 1"):
        Settings(min_hidden=2)
