"""Placement: a known mesh, seen and measured by a known camera, comes back where it was."""

import numpy as np
import pytest
from shapes import letter_f

from alignment.occlusion import occluder_masks
from alignment.pixel_aligned import place_pixel_aligned
from alignment.visible import generator_distance
from scene.cameras import camera_from_fov, look_at_pixels
from scene.raycast import render
from scene.types import CropCamera, ObjectMesh, Similarity

CAMERA = camera_from_fov(480, 360, 0.9)


def photographed_letter(
    offset: tuple[float, float, float],
) -> tuple[ObjectMesh, CropCamera, np.ndarray, np.ndarray]:
    """A pixel-aligned object cube, its crop camera, and the photo's mask and depth.

    The letter stands at `offset` (metres, camera frame); its cube is that of its own crop.
    """
    letter = letter_f()
    world = Similarity(0.5, np.eye(3), np.array(offset)).apply(letter.vertices)
    _, index, depth = render([(letter, world)], CAMERA)
    mask = index == 0
    crop = look_at_pixels(CAMERA, mask, 1.1)
    turned = world @ crop.photo_from_crop
    scale = turned[:, 2].mean() / generator_distance(crop)
    cube = turned / scale - [0, 0, generator_distance(crop)]
    mesh = ObjectMesh(cube.astype(np.float32), letter.faces, letter.uv, letter.texture)
    return mesh, crop, mask, depth.astype(np.float32)


@pytest.mark.parametrize("offset", [(0.0, 0.0, 2.0), (0.6, -0.4, 2.2), (-0.9, 0.5, 3.1)])
def test_placement_is_exact_on_and_off_axis(offset: tuple[float, float, float]) -> None:
    """Also at 25 degrees off the optical axis, where a plain crop would turn the object."""
    mesh, crop, mask, depth = photographed_letter(offset)
    nothing = np.zeros_like(mask)
    placed, fit = place_pixel_aligned(mesh, crop, CAMERA, mask, nothing, depth, 0.1)
    expected = Similarity(0.5, np.eye(3), np.array(offset)).apply(letter_f().vertices)
    np.testing.assert_allclose(placed.apply(mesh.vertices), expected, atol=2e-5)
    assert fit.silhouette_iou > 0.99 and fit.residual_median < 1e-5
    assert fit.warnings == ()


def test_scaling_the_point_map_scales_the_object_and_not_its_outline() -> None:
    mesh, crop, mask, depth = photographed_letter((0.3, 0.1, 2.0))
    nothing = np.zeros_like(mask)
    one, fit_one = place_pixel_aligned(mesh, crop, CAMERA, mask, nothing, depth, 0.1)
    two, fit_two = place_pixel_aligned(
        mesh, crop, CAMERA, mask, nothing, depth * np.float32(2.5), 0.1
    )
    assert two.scale / one.scale == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(two.translation, one.translation * 2.5, rtol=1e-6)
    assert fit_one.silhouette_iou == fit_two.silhouette_iou


def test_an_occluder_inside_the_mask_does_not_pull_the_object() -> None:
    mesh, crop, mask, depth = photographed_letter((0.0, 0.0, 2.0))
    occluder = np.zeros_like(mask)
    occluder[:, :210] = True
    wrong = depth.copy()
    wrong[occluder] = 1.0
    visible = mask & ~occluder
    placed, fit = place_pixel_aligned(mesh, crop, CAMERA, visible, occluder & mask, wrong, 0.1)
    assert np.linalg.norm(placed.translation) == pytest.approx(
        placed.scale * generator_distance(crop), rel=1e-9
    )
    reference, _ = place_pixel_aligned(mesh, crop, CAMERA, mask, np.zeros_like(mask), depth, 0.1)
    assert placed.scale == pytest.approx(reference.scale, rel=1e-4)
    assert fit.silhouette_iou > 0.98


def test_no_depth_at_all_says_so() -> None:
    mesh, crop, mask, depth = photographed_letter((0.0, 0.0, 2.0))
    with pytest.raises(ValueError, match="known depth"):
        place_pixel_aligned(
            mesh, crop, CAMERA, mask, mask & False, np.full_like(depth, np.nan), 0.1
        )


def test_the_nearer_neighbour_is_the_occluder() -> None:
    left, right, far = (np.zeros((60, 90), bool) for _ in range(3))
    left[10:40, 10:30] = True
    right[10:40, 30:50] = True
    far[10:40, 70:80] = True
    depth = np.full((60, 90), 3.0, np.float32)
    depth[left], depth[far] = 2.0, 1.0
    by_left, by_right, by_far = occluder_masks([left, right, far], depth)
    assert not by_left.any() and not by_far.any()
    np.testing.assert_array_equal(by_right, left)
