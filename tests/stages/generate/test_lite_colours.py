"""The lite generator's unseen colours: they spread from the photo's rim, and nothing else does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scene.cameras import camera_from_fov
from scene.types import CropCamera, ObjectCrop, ObjectMesh
from stages import generate
from stages.generate.lite import Lite, Settings, load

SIDE_PX = 256
HALF_PX = SIDE_PX // 2
RADIUS_PX = 105
RED, BLUE = (200, 60, 40), (40, 60, 200)
CROP = CropCamera(camera_from_fov(SIDE_PX, SIDE_PX, 0.3), np.eye(3))
V, U = np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5
FROM_CENTRE = np.hypot(U - HALF_PX, V - HALF_PX)


@pytest.fixture(scope="module")
def lite() -> Lite:
    return load(Settings(grid=64), "cpu")


def _made(lite: Lite, rgb: np.ndarray, depth: np.ndarray | None = None) -> ObjectMesh:
    """The mesh of a disc with these colours."""
    solid = FROM_CENTRE < RADIUS_PX
    rgba = np.dstack([rgb, np.where(solid, 255, 0)]).astype(np.uint8)
    unknown = np.full(solid.shape, np.nan)
    seen = np.where(solid, unknown if depth is None else depth, np.nan).astype(np.float32)
    return generate.run(lite, ObjectCrop(rgba, seen, CROP), 0)


def _two_coloured() -> np.ndarray:
    return np.where(U[..., None] < HALF_PX, RED, BLUE)


def _panel(mesh: ObjectMesh) -> np.ndarray:
    """(H, H, 3) the colours of the last surface."""
    return mesh.texture[:HALF_PX, SIDE_PX : SIDE_PX + HALF_PX].astype(float)


def _ball_depth() -> np.ndarray:
    height = np.sqrt(np.maximum(RADIUS_PX**2 - FROM_CENTRE**2, 0)) / SIDE_PX
    return 0.5 / np.tan(0.15) - height


def test_a_two_coloured_balls_back_has_both_colours_each_on_its_side(lite: Lite) -> None:
    back = _panel(_made(lite, _two_coloured()))
    for column, true in ((HALF_PX // 4, RED), (3 * HALF_PX // 4, BLUE)):
        found = back[HALF_PX // 2, column]
        assert found @ np.array(true) > 0.97 * np.linalg.norm(found) * np.linalg.norm(true)
        assert 0.3 < found.max() / max(true) < 1.1


@pytest.mark.parametrize("measured", [True, False])
def test_photo_and_unseen_side_meet_without_a_step(lite: Lite, measured: bool) -> None:
    """Points of the seam are there at the photo and at another panel or chart."""
    rgb = _two_coloured() * (0.6 + 0.4 * V / SIDE_PX)[..., None]
    mesh = _made(lite, rgb, _ball_depth() if measured else None)
    size = np.array(mesh.texture.shape[1::-1])
    pixels = mesh.uv * size
    x, y = (pixels - 0.5).astype(np.float32).T[:, :, None]
    texture = mesh.texture.astype(np.float32)
    colours = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    _, which = np.unique(mesh.vertices, axis=0, return_inverse=True)
    of_photo = pixels[:, 0] < SIDE_PX
    first, second = (np.full(which.max() + 1, -1) for _ in range(2))
    first[which[of_photo]] = np.nonzero(of_photo)[0]
    second[which[~of_photo]] = np.nonzero(~of_photo)[0]
    pairs = (first >= 0) & (second >= 0)
    away = np.abs(pixels[first, 0] - HALF_PX) > 20  # from where the two colours meet
    assert (pairs & away).sum() > 100
    step = np.abs(colours[first] - colours[second])[pairs & away]
    assert np.percentile(step, 99) < 12


def test_stripes_at_the_rim_make_no_streaks(lite: Lite) -> None:
    """From one stripe to the next the photo changes by 200; what spreads from its top does not."""
    stripes = np.where((U.astype(int) // 3 % 2)[..., None], 220, 20).repeat(3, -1)
    top = (HALF_PX - RADIUS_PX // 2) // 2 - 25
    rows = _panel(_made(lite, stripes))[top : top + 12, HALF_PX // 2 - 12 : HALF_PX // 2 + 12]
    assert np.abs(np.diff(rows, axis=1)).max() < 8


def test_a_dark_background_in_the_outermost_pixels_leaves_no_fringe(lite: Lite) -> None:
    rgb = np.where((FROM_CENTRE < RADIUS_PX - 1.5)[..., None], RED, 0)
    mesh = _made(lite, rgb)
    rim = np.abs(FROM_CENTRE - RADIUS_PX + 1) < 2
    for drawn in (mesh.texture[:, :SIDE_PX][rim], _panel(mesh)[rim[::2, ::2]]):
        assert np.abs(drawn.astype(float) - RED).max() < 20


def test_what_the_photo_shows_keeps_its_colours_exactly(lite: Lite) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3))
    for depth in (None, _ball_depth()):
        mesh = _made(lite, rgb, depth)
        seen = FROM_CENTRE < RADIUS_PX - 0.025 * SIDE_PX
        np.testing.assert_array_equal(mesh.texture[:, :SIDE_PX][seen], rgb[seen])
