"""Inpainting completes what an occluder hides and keeps what the photo shows."""

import numpy as np

from scene.cameras import camera_from_fov
from scene.types import Crop, CropCamera
from stages import complete
from stages.complete.inpaint import Settings, load
from stages.complete.shared.continuation import hidden_part

CAMERA = CropCamera(camera_from_fov(128, 128, 0.4), np.eye(3))


def _occluded_disc() -> tuple[Crop, np.ndarray, np.ndarray]:
    """A disc, a bar in front of its middle, and the truth."""
    v, u = np.mgrid[:128, :128] + 0.5
    disc = np.hypot(u - 64, v - 64) < 40
    bar = (np.abs(u - 70) < 8) & (np.abs(v - 64) < 60)
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[..., :3] = 90
    rgba[disc, :3] = (200, 60, 30)
    rgba[bar, :3] = (10, 200, 10)
    rgba[..., 3] = np.where(disc & ~bar, 255, 0)
    return Crop(rgba, bar, CAMERA), disc, bar


def test_the_hidden_part_is_found_and_painted() -> None:
    crop, disc, bar = _occluded_disc()
    done = complete.run(load(Settings(), "cpu"), crop, "", 0)
    alpha = done.rgba[..., 3] > 127
    assert (alpha & disc).sum() / (alpha | disc).sum() > 0.97
    painted = done.rgba[disc & bar & alpha][:, :3].astype(int)
    assert np.abs(painted - [200, 60, 30]).mean() < 12
    assert "hidden" in done.notes[0]


def test_visible_pixels_stay_as_photographed() -> None:
    crop, disc, bar = _occluded_disc()
    done = load(Settings(), "cpu").complete(crop, "", 0)
    solid = crop.rgba[..., 3] > 250
    np.testing.assert_array_equal(done.rgba[solid], crop.rgba[solid])


def test_nothing_in_front_means_nothing_changes() -> None:
    crop, _, _ = _occluded_disc()
    free = Crop(crop.rgba, np.zeros_like(crop.occluder), CAMERA)
    done = load(Settings(), "cpu").complete(free, "", 0)
    np.testing.assert_array_equal(done.rgba, crop.rgba)
    assert done.notes == ()


def test_hidden_part_needs_an_occluder_that_touches() -> None:
    visible = np.zeros((60, 60), bool)
    visible[10:50, 10:20] = True
    visible[40:50, 10:50] = True
    speck = np.zeros_like(visible)
    speck[30:33, 30:33] = True  # inside the hull, apart from the object
    assert not hidden_part(visible, speck).any()


def test_a_bite_out_of_a_disc_is_rounded_off() -> None:
    """The hull of a bitten disc stays bitten; the ellipse through the rest of its rim does not."""
    v, u = np.mgrid[:128, :128] + 0.5
    disc = np.hypot(u - 64, (v - 64) * 1.4) < 45
    corner = (u > 80) & (v > 60)
    found = hidden_part(disc & ~corner, corner)
    truth = disc & corner
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_a_square_is_not_rounded() -> None:
    square = np.zeros((128, 128), bool)
    square[30:90, 30:90] = True
    corner = np.zeros_like(square)
    corner[70:110, 70:110] = True
    found = hidden_part(square & ~corner, corner)
    assert not (found & ~square).any()
