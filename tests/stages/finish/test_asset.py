"""Assets of shapes whose finish is known: closed, outward, in budget, near, with the right maps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

pytest.importorskip("numba", reason="finishing: pip install -e '.[finish]'")
pytest.importorskip("xatlas", reason="finishing: pip install -e '.[finish]'")

from benchmarks import shapes_to_finish as shapes
from meshes.nearest import at_nearest, nearest_points, surface_tree
from scene.glb import object_from_glb, object_to_glb
from scene.seams import is_closed
from scene.types import Cutout, ObjectMesh
from stages import finish
from stages.crops import cutout_crop
from stages.finish.asset import Settings, load
from stages.finish.asset.charts import by_normals, overlapping
from stages.finish.asset.packing import packed
from stages.finish.asset.shell import as_closed_shell, well_composed
from stages.finish.asset.texels import covered_texels, spread

LONG = partial(pytest.param, marks=pytest.mark.long)
pytestmark = pytest.mark.slow  # compiles for half a minute
SCANS = Path(__file__).parents[3] / "benchmarks" / "ground_truth" / "objects"


def _finished(shape: trimesh.Trimesh, dense: bool = True, **settings) -> ObjectMesh:
    """The asset of a shape, without a photo."""
    blank = np.zeros((32, 32, 4), np.uint8)
    blank[8:24, 8:24, 3] = 255
    crop = cutout_crop(Cutout(blank), 0.6)
    values = {"preset": "lite", "faces": 4000, "texture_px": 256, "photo": False} | settings
    source = shapes.as_dense(shape) if dense else None
    finisher = load(Settings(**values), "cpu")
    return finish.run(finisher, shapes.as_object(shape), source, Cutout(crop.rgba), crop.camera)


def _hausdorff(asset: ObjectMesh, shape: trimesh.Trimesh) -> float:
    """The larger distance of either surface's points from the other, by the shape's size."""
    made = trimesh.Trimesh(asset.vertices, asset.faces, process=False)
    there = nearest_points(surface_tree(shape.vertices, shape.faces), made.sample(8000))
    back = nearest_points(surface_tree(asset.vertices, asset.faces), _outside_of(shape))
    return float(max(there.distance.max(), back.distance.max()) / shape.extents.max())


def _outside_of(shape: trimesh.Trimesh) -> np.ndarray:
    """Samples of a shape; only of the outer one of two shells."""
    parts = shape.split(only_watertight=False)
    nested = len(parts) == 2 and (parts[0].extents > parts[1].extents).all()
    return np.asarray((parts[0] if nested else shape).sample(8000))


@pytest.mark.parametrize("shape", [shapes.torus, shapes.double_shell, shapes.open_sheet])
def test_an_asset_is_one_closed_outward_shell_in_its_budget(shape) -> None:
    known = shape()
    asset = _finished(known)
    assert is_closed(asset.vertices, asset.faces)
    assert 2000 < len(asset.faces) <= 4000
    volume = trimesh.Trimesh(asset.vertices, asset.faces, process=True).volume
    whole = shapes.ball().volume if shape is shapes.double_shell else max(known.volume, 0)
    if shape is shapes.open_sheet:
        assert 0 < volume < 0.02
    else:
        assert volume == pytest.approx(whole, rel=0.01)
    assert _hausdorff(asset, known) < 0.01


def test_a_closed_shell_in_its_budget_keeps_its_surface() -> None:
    ball = trimesh.creation.icosphere(3)
    made = _finished(ball, dense=False)
    assert len(made.faces) == len(ball.faces)
    apart = surface_tree(ball.vertices, ball.faces)
    assert nearest_points(apart, made.vertices.astype(np.float64)).distance.max() < 1e-6
    assert made.texture.shape[:2] == (256, 256)


@pytest.mark.parametrize("spoilt", ["open", "inside out", "two parts", "over budget"])
def test_only_a_closed_outward_shell_in_its_budget_is_kept(spoilt: str) -> None:
    ball = trimesh.creation.icosphere(2)
    vertices, faces = np.float32(ball.vertices), ball.faces
    assert as_closed_shell(vertices, faces) is not None
    if spoilt == "over budget":
        made = _finished(trimesh.creation.icosphere(4), dense=False, faces=1000)
        assert len(made.faces) <= 1000 and is_closed(made.vertices, made.faces)
        return
    if spoilt == "two parts":
        vertices = np.concatenate([vertices, vertices + 3])
        faces = np.concatenate([faces, faces + len(ball.vertices)])
    faces = {"open": faces[1:], "inside out": faces[:, ::-1], "two parts": faces}[spoilt]
    assert as_closed_shell(vertices, faces) is None


@pytest.mark.parametrize("seed", [0, LONG(3)])  # `python -m benchmarks.finishing` has all of them
def test_a_decoded_field_becomes_a_solid(seed: int) -> None:
    known = shapes.decoded_field(seed)
    asset = _finished(known, faces=12000)
    assert is_closed(asset.vertices, asset.faces) and len(asset.faces) <= 12000
    assert trimesh.Trimesh(asset.vertices, asset.faces, process=True).volume > 0
    assert _hausdorff(asset, known) < 0.01


def test_maps_have_what_the_dense_surface_has() -> None:
    """Colours tell their place; roughness and metallic are those of the dense mesh; no holes."""
    asset = _finished(shapes.ball())
    material = asset.material
    assert material.alpha is None and material.metallic_roughness is not None
    assert np.ptp(material.metallic_roughness[..., 0]) == 0
    assert (material.metallic_roughness[..., 1] == 128).all()
    made = trimesh.Trimesh(asset.vertices, asset.faces, process=False)
    middles = made.triangles_center
    at = (asset.uv[asset.faces].mean(1) * asset.texture.shape[0]).astype(int)
    shown = asset.texture[at[:, 1], at[:, 0]] / 255 - 0.5
    assert np.abs(shown - middles).mean() < 0.005
    assert not material.double_sided
    back = object_from_glb(object_to_glb(asset))
    np.testing.assert_array_equal(back.material.normal_map, material.normal_map)


@pytest.mark.parametrize(("scan", "levels"), [("rs_lemon", 3), LONG("gso_plate", 2)])
def test_a_normal_map_gives_the_relief_back(scan: str, levels: int) -> None:
    """Of a thin plate, too, whose sides are nearer to each other than a relief is high."""
    known = shapes.displaced_scan(SCANS / f"{scan}.glb", levels)
    asset = _finished(known, faces=3000, texture_px=1024)
    points, normals = shapes.shaded_normals(asset, 5000, seed=1)
    dense = trimesh.Trimesh(known.vertices, known.faces, process=True)
    nearest = nearest_points(surface_tree(dense.vertices, dense.faces), points)
    true = at_nearest(nearest, dense.faces, np.asarray(dense.vertex_normals))
    true /= np.linalg.norm(true, axis=1, keepdims=True)

    def off(found: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip((found * true).sum(1), -1, 1))).mean())

    assert off(normals) < 3 and off(normals) < 0.7 * off(_flat_normals(asset, points))


def _flat_normals(asset: ObjectMesh, points: np.ndarray) -> np.ndarray:
    """Those that the vertices alone would give."""
    nearest = nearest_points(surface_tree(asset.vertices, asset.faces), points)
    assert asset.normals is not None
    normals = at_nearest(nearest, asset.faces, asset.normals)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_grown_charts_do_not_overlap_and_fill_the_texture() -> None:
    known = shapes.torus()
    vertices, faces = np.asarray(known.vertices, np.float32), np.asarray(known.faces, np.int32)
    cut = by_normals(vertices, faces, 512)
    np.testing.assert_array_equal(cut.source[cut.faces], faces)
    assert cut.uv.min() >= 0 and cut.uv.max() <= 1
    assert not overlapping(cut.uv, cut.faces, 512).any()
    a, b, c = (cut.uv[cut.faces[:, k]] for k in range(3))
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    areas = x1 * y2 - x2 * y1
    assert np.abs(areas).sum() / 2 > 0.35
    assert (np.abs(areas) > 1e-9).all()


def test_rectangles_are_packed_apart_and_inside() -> None:
    random = np.random.default_rng(3)
    sizes = random.random((200, 2)) + 0.05
    scale, corners = packed(sizes, 512, 4)
    low, high = corners, corners + np.ceil(sizes * scale)
    assert low.min() >= 2 and high.max() <= 510
    apart = (low[:, None] >= high[None] + 3.99).any(2)
    assert (apart | apart.T | np.eye(200, dtype=bool)).all()
    assert (sizes.prod(1).sum() * scale**2) / 512**2 > 0.6


def test_the_nearest_point_is_that_of_all_faces() -> None:
    shape = shapes.torus()
    points = np.random.default_rng(5).random((300, 3)) - 0.5
    found = nearest_points(surface_tree(shape.vertices, shape.faces), points)
    corners = np.asarray(shape.triangles, np.float64)
    for point, distance in zip(points, found.distance, strict=True):
        nearest = trimesh.triangles.closest_point(corners, np.tile(point, (len(corners), 1)))
        assert np.linalg.norm(nearest - point, axis=1).min() == pytest.approx(distance, abs=1e-6)
    near = nearest_points(surface_tree(shape.vertices, shape.faces), points, 0.05)
    np.testing.assert_array_equal(near.face >= 0, found.distance <= 0.05)


def test_a_mended_grid_has_no_contact_in_an_edge_or_a_corner() -> None:
    solid = np.zeros((24, 24, 24), np.uint8)
    solid[3:-3, 3:-3, 3:-3] = np.random.default_rng(7).random((18, 18, 18)) < 0.3
    before = solid.copy()
    well_composed(solid)
    assert (solid >= before).all() and solid[:3].sum() == 0
    for axis in range(3):
        square = np.moveaxis(solid, axis, 0)
        a, b = square[:, :-1, :-1], square[:, :-1, 1:]
        c, d = square[:, 1:, :-1], square[:, 1:, 1:]
        assert not ((a == d) & (b == c) & (a != b)).any()


def test_texels_beyond_the_charts_have_the_nearest_ones_colour() -> None:
    uv = np.array([[0.25, 0.25], [0.5, 0.25], [0.25, 0.5]], np.float32)
    texels = covered_texels(uv, np.array([[0, 1, 2]], np.int32), 32)
    values = np.full((len(texels.flat), 1), 7, np.uint8)
    assert (spread(texels, values) == 7).all()
    values[:] = (texels.flat % 32)[:, None]
    last = texels.flat[texels.flat // 32 == 10].max() % 32
    assert abs(int(spread(texels, values)[10, 31, 0]) - int(last)) <= 1
