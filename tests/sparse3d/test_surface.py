"""Decoded surfaces: repaired, simplified and textured, against shapes whose answer is known."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import trimesh

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from sparse3d.dual_grid import dual_grid_to_mesh  # noqa: E402
from sparse3d.dual_grid_encode import mesh_to_dual_grid  # noqa: E402
from sparse3d.mesh_repair import clean_mesh, fill_holes, orient  # noqa: E402
from sparse3d.nearest import nearest_points  # noqa: E402
from sparse3d.simplify import simplify  # noqa: E402
from sparse3d.surface import (  # noqa: E402
    TexturedMesh,
    VoxelAttributes,
    bake,
    fill_uncovered,
    sample_attributes,
    surface_points,
)

# At this size no edge of the grid crosses the shapes twice, so their dual meshes are closed.
GRID = 64
TEXTURE = 256


def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=0.41)


def pear() -> trimesh.Trimesh:
    """A closed shape without any symmetry, with a beak."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.28)
    x, y, z = mesh.vertices.T / 0.28
    scale = 1 + 0.25 * y + 0.12 * np.sin(3 * x + 1) + 0.3 * np.exp(-12 * ((x - 0.8) ** 2 + z**2))
    mesh.vertices *= scale[:, None]
    return mesh


def tensors(mesh: trimesh.Trimesh):
    return torch.tensor(np.asarray(mesh.vertices, np.float32)), torch.tensor(np.asarray(mesh.faces))


def as_trimesh(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(np.asarray(vertices), np.asarray(faces), process=False)


def coloured(coords, grid_size: int) -> VoxelAttributes:
    """Attributes that say where their voxel is: x, y, z in [0, 1], then 1 - x, 1 - y, 1 - z."""
    position = (coords + 0.5) / grid_size
    return VoxelAttributes(coords, torch.cat((position, 1 - position), dim=1), grid_size)


@functools.cache
def decoded(shape: Callable[[], trimesh.Trimesh]):
    """The shape as the decoders would give it: from a dual grid, with attributes per voxel."""
    grid = mesh_to_dual_grid(*tensors(shape()), GRID)
    vertices, faces = dual_grid_to_mesh(
        grid.coords, grid.dual_vertices, grid.intersected, None, GRID
    )
    return vertices, faces, coloured(grid.coords, GRID)


def scrambled(faces, seed: int):
    """The faces in random order, half of them wound the other way."""
    generator = torch.Generator().manual_seed(seed)
    flipped = torch.where(
        (torch.rand(len(faces), generator=generator) < 0.5)[:, None], faces.flip(1), faces
    )
    return flipped[torch.randperm(len(faces), generator=generator)]


def test_winding_becomes_consistent_and_outward() -> None:
    """Two separate shapes; the second may not follow the first."""
    first, second = pear(), trimesh.creation.torus(0.03, 0.01).apply_translation([0.44, -0.4, 0.4])
    both = trimesh.util.concatenate([first, second])
    vertices, faces = tensors(both)
    oriented = as_trimesh(vertices, orient(vertices, scrambled(faces, 1)))
    assert oriented.is_winding_consistent
    assert [p.volume > 0 for p in oriented.split()] == [True, True]
    assert oriented.volume == pytest.approx(both.volume, rel=1e-4)


def test_a_moebius_strip_keeps_its_faces() -> None:
    """No winding fits all neighbours; the faces stay, whatever their order."""
    around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rims = [
        np.stack([(2 + s * np.cos(a / 2)) * f(a) for f in (np.cos, np.sin)] + [s * np.sin(a / 2)])
        for s in (-0.5, 0.5)
        for a in around
    ]
    i = np.arange(39)
    quads = np.stack([i, i + 1, i + 41, i + 40], axis=1).tolist() + [[39, 40, 0, 79]]
    faces = torch.tensor([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    vertices = torch.tensor(np.array(rims, np.float32)) / 6
    kept = orient(vertices, faces)
    assert kept.sort(dim=1).values.tolist() == faces.sort(dim=1).values.tolist()


@pytest.mark.parametrize(("largest_hole", "filled"), [(0.2, True), (0.15, False)])
def test_only_small_holes_are_filled(largest_hole: float, filled: bool) -> None:
    """The faces round one vertex are missing; the rim is between 0.15 and 0.2 long."""
    mesh = sphere()
    around = (mesh.faces == mesh.faces[7, 0]).any(axis=1)
    vertices, faces = tensors(mesh)
    rim = faces[around][faces[around] != mesh.faces[7, 0]].unique()
    vertices, faces = clean_mesh(vertices, scrambled(faces[~around], 2), largest_hole)
    cleaned = as_trimesh(vertices, faces)
    assert cleaned.is_watertight == filled
    assert cleaned.is_winding_consistent
    if filled:
        assert len(faces) == len(mesh.faces)
        assert cleaned.volume == pytest.approx(mesh.volume, rel=1e-4)
        middle = torch.tensor(mesh.vertices[rim.numpy()]).float().mean(0)
        torch.testing.assert_close(vertices[-1], middle, atol=1e-4, rtol=0)


def test_a_filled_hole_has_its_vertex_at_the_mean_of_edge_middles() -> None:
    vertices = torch.tensor([[0, 0, 0], [0.004, 0, 0], [0.004, 0.001, 0], [0, 0.003, 0], [0, 0, 1]])
    faces = torch.tensor([[4, 1, 0], [4, 2, 1], [4, 3, 2], [4, 0, 3]])
    filled_vertices, filled = fill_holes(vertices, faces)
    middles = (vertices[:4] + vertices[[1, 2, 3, 0]]) / 2
    torch.testing.assert_close(filled_vertices[5], middles.mean(0))
    assert as_trimesh(filled_vertices, filled).is_watertight


def test_useless_faces_and_vertices_go() -> None:
    mesh = pear()
    vertices, faces = tensors(mesh)
    lonely = torch.tensor([[0.4, 0.4, 0.4]])
    seam = vertices[faces[0]] + 0.0  # the same places again, under other numbers
    more = torch.cat((vertices, lonely, seam))
    extra = torch.tensor(
        [[5, 5, 9], faces[7].flip(0).tolist(), faces[8].roll(1).tolist(), [3, 3, 3]]
    )
    moved = len(vertices) + 1 + torch.arange(3)[None]
    cleaned, left = clean_mesh(more, torch.cat((moved, faces[1:], extra)))
    assert (len(cleaned), len(left)) == (len(vertices), len(faces))
    assert as_trimesh(cleaned, left).volume == pytest.approx(mesh.volume, rel=1e-4)


def test_simplified_shapes_stay_closed_and_close() -> None:
    pytest.importorskip("fast_simplification", reason="pip install 'photoscene[pixal3d]'")
    vertices, faces = clean_mesh(*decoded(pear)[:2])
    small = as_trimesh(*simplify(vertices, faces, 2000))
    assert 1500 <= len(small.faces) <= 2000
    assert small.is_watertight and small.is_winding_consistent
    assert small.volume == pytest.approx(pear().volume, rel=5e-3)
    same = simplify(vertices, faces, len(faces))
    assert same[0] is vertices and same[1] is faces


def sampled_by_loops(attributes: VoxelAttributes, point: np.ndarray) -> np.ndarray | None:
    """The readable twin of the trilinear rule, for one point; None where no voxel is near."""
    rows = {tuple(c): i for i, c in enumerate(attributes.coords.tolist())}
    cell = (point + 0.5) * attributes.grid_size
    total, weights = np.zeros(6), 0.0
    for voxel in np.ndindex(attributes.grid_size, attributes.grid_size, attributes.grid_size):
        weight = np.clip(1 - np.abs(np.array(voxel) + 0.5 - cell), 0, None).prod()
        if weight > 0 and voxel in rows:
            total += weight * attributes.values[rows[voxel]].numpy()
            weights += weight
    return total / weights if weights > 0 else None


def test_sampling_equals_the_readable_twin() -> None:
    generator = torch.Generator().manual_seed(5)
    coords = (torch.rand(7, 7, 7, generator=generator) < 0.4).nonzero().int()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    attributes = VoxelAttributes(coords, torch.rand(len(coords), 6, generator=generator), 7)
    points = torch.rand(200, 3, generator=generator) - 0.5
    sampled = sample_attributes(attributes, points).numpy()
    expected = [sampled_by_loops(attributes, p) for p in points.numpy()]
    near = [i for i, e in enumerate(expected) if e is not None]
    assert len(near) > 150
    assert np.abs(sampled[near] - np.array([expected[i] for i in near])).max() < 1e-4


def test_far_points_take_the_nearest_voxel() -> None:
    """Within two voxels the nearest one exactly; farther, something between the voxels."""
    coords = torch.tensor([[10, 10, 10], [10, 10, 13], [30, 31, 0]])
    attributes = VoxelAttributes(coords, torch.eye(6)[:3] + 0.1, 32)
    cells = torch.tensor([[10.5, 10.5, 11.8], [10.5, 12.4, 13.6], [31.9, 29.1, 1.9], [0.0, 0, 31]])
    sampled = sample_attributes(attributes, cells / 32 - 0.5)
    torch.testing.assert_close(sampled[:3], attributes.values[[0, 1, 2]])
    assert sampled[3, :3].sum() == pytest.approx(1.3) and sampled[3, 2] < 0.2
    outside = sample_attributes(attributes, torch.tensor([[7.0, -8.0, 9.0]]))
    assert outside.isfinite().all() and outside.min() > 0.05


def test_every_texel_that_is_touched_has_its_point() -> None:
    """One triangle: inside, the plane's point; just outside, the nearest one of its border."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    uv = torch.tensor([[0.2, 0.1], [0.9, 0.1], [0.2, 0.7]])
    points, covered = surface_points(vertices, torch.tensor([[0, 1, 2]]), uv, 20)
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    centres = (torch.stack((columns, rows), 2) + 0.5) / 20
    u, v = ((centres - uv[0]) / (uv[[1, 2], [0, 1]] - uv[0])).unbind(2)
    inside = (u >= 0) & (v >= 0) & (u + v <= 1)
    assert covered[inside].all() and covered.sum() > inside.sum() + 20
    torch.testing.assert_close(points[inside], torch.stack((u, v, 0 * u), 2)[inside])
    below = (v < 0) & (u > 0) & (u < 0.9) & covered
    assert below.any()
    torch.testing.assert_close(points[below][:, 1], torch.zeros(int(below.sum())))
    torch.testing.assert_close(points[below][:, 0], u[below])
    corner = (u + v > 1.3) | (u < -0.3) | (v < -0.3)
    assert not covered[corner].any()


def test_uncovered_texels_take_colours_from_near_by() -> None:
    texels = torch.zeros(11, 11, 2)
    covered = torch.zeros(11, 11, dtype=torch.bool)
    texels[1, 2], texels[9, 8] = torch.tensor([1.0, 0.5]), torch.tensor([3.0, 0.5])
    covered[1, 2] = covered[9, 8] = True
    filled = fill_uncovered(texels, covered)
    torch.testing.assert_close(filled[..., 1], torch.full((11, 11), 0.5))
    assert filled[0, 3, 0] == 1 and filled[8, 9, 0] == 3
    assert torch.equal(filled[covered], texels[covered])


@pytest.mark.parametrize("shape", [sphere, pear])
def test_a_baked_texture_says_where_it_is(shape) -> None:
    """Random points of the result look up their own position in the textures."""
    pytest.importorskip("xatlas", reason="pip install 'photoscene[pixal3d]'")
    pytest.importorskip("fast_simplification", reason="pip install 'photoscene[pixal3d]'")
    vertices, faces, attributes = decoded(shape)
    baked = bake(vertices, faces, attributes, TEXTURE, target_faces=2000)
    assert len(baked.faces) <= 2000
    merged = trimesh.Trimesh(baked.vertices, baked.faces, process=True)
    assert merged.is_watertight and merged.volume == pytest.approx(shape().volume, rel=5e-3)
    assert 0 <= baked.uv.min() and baked.uv.max() <= 1
    # No place of these shapes has a channel below 0.07, so a darker texel was left uncovered.
    assert min(t.min() for t in (baked.base_colour, baked.metallic_roughness, baked.alpha)) > 10

    points, seen = looked_up(baked, count=20_000)
    expected = np.concatenate((points + 0.5, 0.5 - points), axis=1) * 255
    texel = np.sqrt(merged.area / (0.4 * TEXTURE**2)) * 255
    # Half a level is lost on average where values are cut off to whole numbers.
    error = np.abs(seen + 0.5 - expected)
    assert error.max() < 2 + texel
    assert error.mean() < 0.5


def _bumpy_radius(directions: np.ndarray) -> np.ndarray:
    return 0.36 * (1 + 0.04 * np.sin(14 * directions).prod(1))


def bumpy_sphere() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=5)
    mesh.vertices *= _bumpy_radius(mesh.vertices)[:, None]
    return mesh


def _voxels_off(points: np.ndarray) -> float:
    """How far points of the bumpy sphere are off, in voxels, on average."""
    radius = np.linalg.norm(points, axis=1)
    return float(np.abs(radius - _bumpy_radius(points / radius[:, None])).mean()) * GRID


def test_texels_look_attributes_up_on_the_surface_before_it_was_simplified() -> None:
    """Coarse faces miss the bumps; colours tell the place where they were looked up."""
    pytest.importorskip("xatlas", reason="pip install 'photoscene[pixal3d]'")
    pytest.importorskip("fast_simplification", reason="pip install 'photoscene[pixal3d]'")
    vertices, faces, attributes = decoded(bumpy_sphere)
    points, seen = looked_up(bake(vertices, faces, attributes, TEXTURE, 400), count=2000)
    assert _voxels_off(points) > 0.25
    assert _voxels_off((seen[:, :3] + 0.5) / 255 - 0.5) < 0.12  # colours have steps of 0.25


def test_nearest_points_are_those_of_all_faces() -> None:
    vertices, faces = clean_mesh(*decoded(bumpy_sphere)[:2])
    vertices = torch.cat((vertices, vertices[:1]))
    faces = torch.cat((faces, torch.tensor([[0, len(vertices) - 1, faces[0, 1]]])))  # no area
    points = 0.36 * trimesh.unitize(np.random.default_rng(9).normal(size=(40, 3)))
    found = nearest_points(vertices, faces, torch.from_numpy(points)).double().numpy()
    corners = vertices.double()[faces[:-1]].numpy()
    every = np.array([
        np.linalg.norm(trimesh.triangles.closest_point(corners, np.tile(p, (len(corners), 1))) - p,
                       axis=1).min()
        for p in points
    ])  # fmt: skip
    off = np.abs(np.linalg.norm(found - points, axis=1) - every).max()
    assert every.max() * GRID > 0.5 and off * GRID < 0.01


def looked_up(baked: TexturedMesh, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random surface points, and the six channels that a bilinear texture look-up finds there."""
    mesh = trimesh.Trimesh(baked.vertices, baked.faces, process=False)
    points, face = trimesh.sample.sample_surface(mesh, count, seed=3)
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[face], points)
    uv = (weights[:, :, None] * baked.uv[baked.faces[face]]).sum(1)
    texture = np.concatenate(
        (baked.base_colour, baked.metallic_roughness, baked.alpha[..., None]), axis=2
    )
    size = texture.shape[0]
    position = uv * size - 0.5
    low = np.floor(position).astype(int)
    share = position - low
    seen = np.zeros((count, 6))
    for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = np.clip(low + (right, down), 0, size - 1).T
        weight = np.where((right, down), share, 1 - share).prod(1)
        seen += weight[:, None] * texture[row, column]
    return points, seen
