"""Frustum re-projection: meshes of a wrong field of view keep their pixels."""

from dataclasses import dataclass

import numpy as np
import pytest

from alignment.baselines.scale_depth import solve_scale_depth
from alignment.reproject import reproject
from alignment.visible import generator_distance
from scene.cameras import camera_from_fov, pixel_centres, project, rotation_to, unproject
from scene.raycast import render
from scene.types import Bool, CropCamera, Float64, ObjectCrop, ObjectMesh, Similarity
from stages import generate
from stages.generate.relief import Relief, Settings
from support.shapes import letter_f

SIDE = 518
TURN = rotation_to(np.array([0.3, -0.1, 1.0]))


def _crop(fov_rad: float, side: int = SIDE) -> CropCamera:
    return CropCamera(camera_from_fov(side, side, fov_rad), TURN)


# The released generator's hint for distorted results, and a 400 px object in a 60 degree photo.
GENERATOR, TRUE = _crop(0.2), _crop(np.radians(16))
FOCAL_RATIO = TRUE.camera.fx_px / GENERATOR.camera.fx_px  # f_c / f_g


def _pixels(vertices: Float64, crop: CropCamera) -> Float64:
    """(N, 2) where the crop's camera sees the cube's points at lambda = 1."""
    return project(crop.camera, vertices + [0, 0, generator_distance(crop)])


def _silhouette(mesh: ObjectMesh, vertices: Float64, crop: CropCamera) -> Bool:
    lifted = vertices + [0, 0, generator_distance(crop)]
    return render([(mesh, lifted)], crop.camera)[1] == 0


def _extent_px(inside: Bool) -> Float64:
    """(2,) height and width of the True pixels' bounding box."""
    return np.array([np.ptp(found) + 1 for found in np.nonzero(inside)], np.float64)


@pytest.mark.parametrize("true_deg", [5.0, 16.0, 60.0])
def test_every_vertex_keeps_its_pixel_and_its_depth(true_deg: float) -> None:
    true = _crop(np.radians(true_deg))
    cube = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 3))
    moved = reproject(cube, GENERATOR, true)
    assert np.abs(_pixels(moved, true) - _pixels(cube, GENERATOR)).max() < 1e-6
    np.testing.assert_array_equal(moved[:, 2], cube[:, 2])
    np.testing.assert_allclose(reproject(moved, true, GENERATOR), cube, atol=1e-12)
    assert np.abs(moved - cube).max() > 0.01


def test_it_is_the_equation_of_the_facts() -> None:
    """X'_xy = (f_g / f_c) (Z' / (x_z + d_g)) x_xy with s = D f_g / (f_c d_g) and D = d_c."""
    cube = np.random.default_rng(1).uniform(-0.5, 0.5, (50, 3))
    d_g, d_c = generator_distance(GENERATOR), generator_distance(TRUE)
    assert d_g == pytest.approx(0.5 / np.tan(0.1))
    scale = d_c / (FOCAL_RATIO * d_g)
    assert scale == pytest.approx(1)
    depth = scale * cube[:, 2:] + d_c
    expected = depth / (FOCAL_RATIO * (cube[:, 2:] + d_g)) * cube[:, :2]
    np.testing.assert_allclose(reproject(cube, GENERATOR, TRUE)[:, :2], expected, atol=1e-12)


def test_the_silhouette_is_kept_where_zoom_alone_scales_it() -> None:
    """M1 keeps the mesh and the generator's distance: its outline is off by f_c / f_g."""
    mesh = letter_f()
    cube = mesh.vertices.astype(np.float64)
    meant = _silhouette(mesh, cube, GENERATOR)
    moved = _silhouette(mesh, reproject(cube, GENERATOR, TRUE), TRUE)
    assert (moved & meant).sum() / (moved | meant).sum() > 0.999
    placed = cube + [0, 0, generator_distance(GENERATOR)]
    centre = np.array([SIDE / 2, SIDE / 2])
    pixels, meant_px = project(TRUE.camera, placed), _pixels(cube, GENERATOR)
    np.testing.assert_allclose(pixels - centre, FOCAL_RATIO * (meant_px - centre), atol=1e-9)
    scaled = render([(mesh, placed)], TRUE.camera)[1] == 0
    shrunk = _extent_px(scaled) / _extent_px(meant)
    np.testing.assert_allclose(shrunk, FOCAL_RATIO, atol=2 / _extent_px(meant).min())
    assert FOCAL_RATIO < 0.72


@pytest.mark.parametrize("lambda_", [0.4, 1.7])
def test_scale_and_depth_have_the_centre_plane_exact_and_tell_the_mismatch(lambda_: float) -> None:
    """M2 on exact matches: D / (s d_g) = f_c / f_g; beside the centre plane it errs as in C4."""
    rng = np.random.default_rng(2)
    cube = rng.uniform(-0.5, 0.5, (300, 3))
    cube[:100, 2] = 0
    d_g, d_c = generator_distance(GENERATOR), generator_distance(TRUE)
    true = Similarity(lambda_, np.eye(3), np.array([0, 0, lambda_ * d_c]))
    found = solve_scale_depth(cube, true.apply(cube), d_g, 0.15)
    np.testing.assert_allclose(found.matrix, true.matrix, rtol=1e-6, atol=1e-6)
    assert found.translation[2] / (found.scale * d_g) == pytest.approx(FOCAL_RATIO, rel=1e-6)
    centre = SIDE / 2
    placed_px = project(TRUE.camera, found.apply(cube)) - centre
    meant_px = _pixels(cube, GENERATOR) - centre
    assert np.abs(placed_px - meant_px)[:100].max() < 1e-3
    error = (1 + cube[:, 2:] / d_g) / (1 + cube[:, 2:] / (FOCAL_RATIO * d_g))
    np.testing.assert_allclose(placed_px, meant_px * error, atol=1e-3)
    assert np.abs(placed_px - meant_px).max() > 5


def test_scale_and_depth_on_the_reprojected_mesh_itself() -> None:
    """The re-projected mesh is no similarity of the generated one; M2 comes close to its ratio."""
    cube = np.random.default_rng(3).uniform(-0.5, 0.5, (2000, 3))
    measured = reproject(cube, GENERATOR, TRUE) + [0, 0, generator_distance(TRUE)]
    found = solve_scale_depth(cube, measured, generator_distance(GENERATOR), 0.15)
    diagnostic = found.translation[2] / (found.scale * generator_distance(GENERATOR))
    assert diagnostic == pytest.approx(FOCAL_RATIO, rel=0.01)


def test_vertices_that_are_not_before_both_cameras_are_refused() -> None:
    wide, narrow = _crop(np.radians(100)), _crop(np.radians(60))
    front = np.array([[0.1, 0.1, -generator_distance(narrow)]])
    with pytest.raises(ValueError, match="1 of the mesh's vertices .* they were made for"):
        reproject(front, narrow, _crop(np.radians(50)))
    corner = np.array([[0.5, 0.5, -0.5], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="1 of the mesh's vertices .* sees the crop"):
        reproject(corner, narrow, wide)
    with pytest.raises(ValueError, match="not before the camera"):
        reproject(np.full((1, 3), np.nan), narrow, narrow)
    with pytest.raises(ValueError, match=r"expected \(N, 3\), got \(3,\)"):
        reproject(np.zeros(3), narrow, narrow)


@dataclass(frozen=True)
class Tetrahedron:
    """A generator whose corners lie on known pixels of the camera that it is told."""

    seen: list[ObjectCrop]

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        self.seen.append(crop)
        distance = generator_distance(crop.camera)
        depth = distance + np.array([0.3, 0.3, 0.3, -0.4])
        rays = unproject(crop.camera.camera, PIXELS)
        vertices = (rays * depth[:, None] - [0, 0, distance]).astype(np.float32)
        faces = np.array([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]], np.int32)
        return ObjectMesh(vertices, faces, np.zeros((4, 2), np.float32), np.zeros((2, 2, 3), "u1"))


FOV_RANGE_DEG = (20.0, 50.0)
PIXELS = np.array([[40.0, 50.0], [210.0, 60.0], [120.0, 220.0], [140.0, 100.0]])


def _ball(fov_rad: float) -> ObjectCrop:
    """A ball that fills its crop, with its measured depth."""
    crop = _crop(fov_rad, 256)
    rays = unproject(crop.camera, pixel_centres(256, 256))
    centre, radius = np.array([0, 0, 10.0]), 10 * np.sin(fov_rad / 2) / 1.1
    b, c = rays @ centre, (rays**2).sum(-1)
    inside = b**2 - c * (centre @ centre - radius**2)
    depth = (b - np.sqrt(np.maximum(inside, 0))) / c
    rgba = np.full((256, 256, 4), 150, np.uint8)
    rgba[..., 3] = np.where(inside > 0, 255, 0)
    return ObjectCrop(rgba, np.where(inside > 0, depth, np.nan).astype(np.float32), crop)


@pytest.mark.parametrize(("true_deg", "told_deg"), [(8, 20), (35, 35), (70, 50)])
def test_a_limited_generator_is_told_what_it_knows_and_corrected(
    true_deg: float, told_deg: float
) -> None:
    crop, seen = _ball(np.radians(true_deg)), []
    mesh = generate.run(Tetrahedron(seen), crop, 0, FOV_RANGE_DEG)
    (told,) = seen
    assert np.degrees(told.camera.camera.fov_x_rad) == pytest.approx(told_deg)
    assert (told is crop) == (true_deg == told_deg)
    np.testing.assert_array_equal(told.rgba, crop.rgba)
    np.testing.assert_array_equal(told.camera.photo_from_crop, TURN)
    found = _pixels(mesh.vertices.astype(np.float64), crop.camera)
    np.testing.assert_allclose(found, PIXELS, atol=1e-3)  # of float32 vertices
    assert mesh.vertices.dtype == np.float32


@pytest.mark.parametrize("true_deg", [8, 70])
def test_depth_told_to_a_limited_generator_gives_the_same_relief(true_deg: float) -> None:
    crop = _ball(np.radians(true_deg))
    free = generate.run(Relief(Settings(grid=64)), crop, 0)
    limited = generate.run(Relief(Settings(grid=64)), crop, 0, FOV_RANGE_DEG)
    np.testing.assert_array_equal(limited.faces, free.faces)
    apart = _pixels(limited.vertices.astype(np.float64), crop.camera) - _pixels(
        free.vertices.astype(np.float64), crop.camera
    )
    assert np.abs(apart).max() < 1e-3
    # The shift is that of the visible front; the centre, a little deeper, asks for a little more.
    relief = np.ptp(free.vertices[:, 2])
    difference = np.abs(limited.vertices[:, 2] - free.vertices[:, 2])
    assert np.median(difference) < 0.03 * relief and difference.max() < 0.1 * relief


def test_a_crop_without_depth_is_told_without_depth() -> None:
    ball = _ball(np.radians(8))
    crop, seen = ObjectCrop(ball.rgba, np.full_like(ball.depth, np.nan), ball.camera), []
    generate.run(Tetrahedron(seen), crop, 0, FOV_RANGE_DEG)
    assert np.isnan(seen[0].depth).all()


def test_a_generator_without_limits_sees_the_crop_itself() -> None:
    crop, seen = _ball(np.radians(8)), []
    generate.run(Tetrahedron(seen), crop, 0)
    assert seen[0] is crop
