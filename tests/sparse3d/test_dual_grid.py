"""Flexible dual grids: against readable twins, and from a mesh to a grid and back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import trimesh
from scipy.optimize import lsq_linear
from scipy.spatial import cKDTree

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from sparse3d.dual_grid import dual_grid_to_mesh  # noqa: E402
from sparse3d.dual_grid_encode import mesh_to_dual_grid  # noqa: E402

# Corners round a quad as the two far axes see them: (0,0), then two neighbours, then the last.
ROUND_THE_EDGE = {
    0: ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)),
    1: ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
    2: ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)),
}


def random_grid(grid_size: int, fill: float, seed: int):
    """Voxels in random order with random vertices, flags and weights; many reach the border."""
    generator = torch.Generator().manual_seed(seed)
    coords = (torch.rand((grid_size,) * 3, generator=generator) < fill).nonzero().int()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    dual_vertices = 2 * torch.rand(len(coords), 3, generator=generator) - 0.5
    intersected = torch.rand(len(coords), 3, generator=generator) < 0.5
    return coords, dual_vertices, intersected, torch.rand(len(coords), 1, generator=generator)


def faces_by_dictionary(coords, intersected, split_weight) -> list[list[int]]:
    """The readable twin: one voxel, one axis, one look-up at a time."""
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    faces = []
    for coord, flags in zip(coords.tolist(), intersected.tolist(), strict=True):
        for axis in (a for a in range(3) if flags[a]):
            around = [tuple(np.add(coord, o).tolist()) for o in ROUND_THE_EDGE[axis]]
            if not all(voxel in rows for voxel in around):
                continue
            a, b, c, d = (rows[voxel] for voxel in around)
            along_ac = True
            if split_weight is not None:
                w = split_weight[[a, b, c, d], 0]
                along_ac = bool(w[0] * w[2] > w[1] * w[3])
            faces += [[a, b, c], [a, c, d]] if along_ac else [[a, b, d], [d, b, c]]
    return faces


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("fill", [0.5, 1.0])
def test_mesh_equals_the_readable_twin(weighted: bool, fill: float) -> None:
    coords, dual_vertices, intersected, weight = random_grid(7, fill, seed=1)
    weight = weight if weighted else None
    vertices, faces = dual_grid_to_mesh(coords, dual_vertices, intersected, weight, 7)
    assert faces.tolist() == faces_by_dictionary(coords, intersected, weight)
    assert vertices.dtype == torch.float32 and faces.dtype == torch.int64
    expected = (coords.double() + dual_vertices.double()) / 7 - 0.5
    torch.testing.assert_close(vertices.double(), expected, atol=1e-6, rtol=0)


def test_three_quads_are_split_each_by_its_own_corners() -> None:
    """With three quads a cross product along the wrong axis has the right shape."""
    coords = torch.tensor(list(product((0, 1), repeat=3)), dtype=torch.int32)
    intersected = torch.zeros(8, 3, dtype=torch.bool)
    intersected[0] = True
    dual_vertices = torch.full((8, 3), 0.5)
    _, faces = dual_grid_to_mesh(coords, dual_vertices, intersected, None, 2)
    assert faces.tolist() == faces_by_dictionary(coords, intersected, None)


def test_a_corner_without_area_takes_the_other_diagonal() -> None:
    coords = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]], dtype=torch.int32)
    # Corners 0, 1, 2 of the quad on one straight line, corner 3 beside it.
    dual_vertices = torch.tensor([[0.5, 0.5, 0.5], [0.5, 1.0, 0.0], [0.5, 0.5, 0.5], [0.5] * 3])
    flags = torch.zeros(4, 3, dtype=torch.bool)
    flags[0, 0] = True
    _, faces = dual_grid_to_mesh(coords, dual_vertices, flags, None, 2)
    assert faces.tolist() == [[0, 1, 3], [3, 1, 2]]


def test_an_empty_grid_is_an_empty_mesh() -> None:
    coords, flags = torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 3, dtype=torch.bool)
    vertices, faces = dual_grid_to_mesh(coords, torch.zeros(0, 3), flags, None, 4)
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": torch.zeros(2, 4, dtype=torch.int32)}, r"coords: \(N, 3\) integer"),
        ({"coords": torch.zeros(2, 3)}, "integer"),
        ({"coords": torch.tensor([[0, 0, 0], [0, 0, 4]])}, "between 0 and 3, got 0 to 4"),
        ({"coords": torch.tensor([[0, 0, 0], [0, 0, -1]])}, "got -1 to 0"),
        ({"coords": torch.zeros(2, 3, dtype=torch.int32)}, "some rows are equal"),
        ({"dual_vertices": torch.zeros(3, 3)}, "dual_vertices"),
        ({"intersected": torch.ones(2, 3)}, "intersected: bool"),
        ({"split_weight": torch.ones(2)}, "split_weight"),
        ({"grid_size": 0}, "grid_size"),
    ],
)
def test_wrong_grids_are_named(change: dict, message: str) -> None:
    arguments = {
        "coords": torch.tensor([[0, 0, 0], [0, 0, 1]], dtype=torch.int32),
        "dual_vertices": torch.zeros(2, 3),
        "intersected": torch.ones(2, 3, dtype=torch.bool),
        "split_weight": None,
        "grid_size": 4,
    }
    with pytest.raises(ValueError, match=message):
        dual_grid_to_mesh(**(arguments | change))


def torus(grid_turn: float = 0.3) -> trimesh.Trimesh:
    """A closed torus at an angle to the grid, so that no grid line meets it in a tie."""
    mesh = trimesh.creation.torus(0.28, 0.12, major_sections=48, minor_sections=24)
    turn = trimesh.transformations.rotation_matrix(grid_turn, [1.0, 0.4, 0.2])
    return mesh.apply_transform(turn)


def encoded(mesh: trimesh.Trimesh, grid_size: int, **weights: float):
    vertices = torch.tensor(np.asarray(mesh.vertices, np.float32))
    return mesh_to_dual_grid(vertices, torch.tensor(np.asarray(mesh.faces)), grid_size, **weights)


def decoded(grid, grid_size: int) -> trimesh.Trimesh:
    vertices, faces = dual_grid_to_mesh(
        grid.coords, grid.dual_vertices, grid.intersected, None, grid_size
    )
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


@pytest.mark.parametrize("grid_size", [16, 33])
def test_a_mesh_survives_the_round_trip(grid_size: int) -> None:
    mesh = torus()
    again = decoded(encoded(mesh, grid_size), grid_size)
    assert again.euler_number == mesh.euler_number == 0
    samples, samples_again = (
        trimesh.sample.sample_surface(m, 60_000, seed=2)[0] for m in (mesh, again)
    )
    farthest = max(
        cKDTree(samples).query(samples_again)[0].max(),
        cKDTree(samples_again).query(samples)[0].max(),
    )
    assert farthest < 0.5 / grid_size


def test_a_cube_keeps_its_edges() -> None:
    """Sharp edges are what the quadratic error is for: corners lie within 2 % of a voxel.

    No grid edge crosses a box of this size twice, so the result is closed as well.
    """
    mesh = trimesh.creation.box((0.503, 0.61, 0.707))
    again = decoded(encoded(mesh, 16), 16)
    distance = cKDTree(again.vertices).query(mesh.vertices)[0]
    assert distance.max() < 0.02 / 16
    assert again.is_watertight


def soup(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A few loose triangles, so that every edge is boundary, and one shared edge."""
    vertices = np.random.default_rng(seed).uniform(-0.48, 0.48, (15, 3)).astype(np.float32)
    return vertices, np.array([*np.arange(15).reshape(5, 3).tolist(), [1, 0, 5]])


def test_a_grid_equals_the_readable_twin() -> None:
    """Every voxel, flag and vertex, on triangles with boundaries in a grid of 6^3 voxels."""
    vertices, faces = soup(seed=4)
    weights = {"face_weight": 0.7, "boundary_weight": 0.2, "regularization": 0.01}
    grid = mesh_to_dual_grid(torch.tensor(vertices), torch.tensor(faces), 6, **weights)
    expected = grid_by_loops(vertices, faces, 6, **weights)
    assert [tuple(c) for c in grid.coords.tolist()] == sorted(expected)
    for coord, vertex, flags in zip(
        grid.coords.tolist(), grid.dual_vertices, grid.intersected.tolist(), strict=True
    ):
        expected_vertex, expected_flags = expected[tuple(coord)]
        assert flags == expected_flags
        assert np.abs(vertex.numpy() - expected_vertex).max() < 1e-4, coord


def grid_by_loops(vertices, faces, grid_size, face_weight, boundary_weight, regularization):
    """The readable twin: {voxel: (vertex, flags)} by trying every face against every voxel.

    Faces and boundary edges are clipped to the voxel, and the vertex is a bounded least-squares
    problem, one row per squared distance.
    """
    corners = (vertices.astype(np.float64) + 0.5)[faces] * grid_size
    equations: dict[tuple[int, ...], list] = {}
    flags: dict[tuple[int, ...], list[bool]] = {}
    for triangle in corners:
        normal = unit_normal(triangle)
        for axis, i, j in product(range(3), range(1, grid_size), range(1, grid_size)):
            point = crossing(triangle, axis, i, j)
            if point is None:
                continue
            for step in product((0, 1), repeat=2):
                voxel = np.floor(point).astype(int)
                voxel[[(axis + 1) % 3, (axis + 2) % 3]] = i - 1 + step[0], j - 1 + step[1]
                key = tuple(voxel.tolist())
                rows = [(normal[None], normal @ triangle[:1].T)]
                rows.append((regularization**0.5 * np.eye(3), regularization**0.5 * point))
                equations.setdefault(key, []).extend(rows)
                flags.setdefault(key, [False] * 3)[axis] |= step == (0, 0)
    edges = [tuple(sorted(e)) for f in faces.tolist() for e in zip(f, f[1:] + f[:1], strict=True)]
    boundary = [e for e in edges if edges.count(e) == 1]
    for key, rows in equations.items():
        for triangle in corners:
            if len(clipped(list(triangle), key)):
                normal = face_weight**0.5 * unit_normal(triangle)
                rows.append((normal[None], normal @ triangle[:1].T))
        for edge in boundary:
            ends = (vertices[list(edge)].astype(np.float64) + 0.5) * grid_size
            if len(clipped(list(ends), key)):
                direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
                across = boundary_weight**0.5 * (np.eye(3) - np.outer(direction, direction))
                rows.append((across, across @ ends[0]))
    return {key: (bounded_vertex(key, rows), flags[key]) for key, rows in equations.items()}


def bounded_vertex(voxel: tuple[int, ...], rows: list) -> np.ndarray:
    matrix = np.concatenate([A for A, _ in rows])
    target = np.concatenate([b for _, b in rows]) - matrix @ np.array(voxel)
    return lsq_linear(matrix, target, (0.0, 1.0), method="bvls", tol=1e-14).x


def unit_normal(triangle: np.ndarray) -> np.ndarray:
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    return normal / np.linalg.norm(normal)


def crossing(triangle: np.ndarray, axis: int, i: int, j: int) -> np.ndarray | None:
    """Where the grid line through (i, j) of the other axes meets the triangle."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    system = np.stack([triangle[:, u], triangle[:, v], np.ones(3)])
    weights = np.linalg.solve(system, [i, j, 1.0])
    return weights @ triangle if weights.min() > 0 else None


def clipped(polygon: list[np.ndarray], voxel: tuple[int, ...]) -> list[np.ndarray]:
    """What remains of a polygon, or of a segment, inside a voxel (Sutherland-Hodgman)."""
    for axis, (sign, bound) in product(range(3), ((1, 0), (-1, 1))):
        depth = [sign * (p[axis] - voxel[axis] - bound) for p in polygon]
        kept = []
        for k in range(len(polygon)):
            before = k - 1
            if (depth[before] < 0) != (depth[k] < 0):
                share = depth[before] / (depth[before] - depth[k])
                kept.append((1 - share) * polygon[before] + share * polygon[k])
            if depth[k] >= 0:
                kept.append(polygon[k])
        polygon = kept
    return polygon


def test_boundaries_attract_vertices() -> None:
    """On an open sheet the voxels of the rim move onto it, and only with the boundary term."""
    half = np.array([0.31, 0.265])
    corners = [[x, y, 0.0] for x, y in half * [(-1, -1), (1, -1), (1, 1), (-1, 1)]]
    sheet = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]])
    turn = trimesh.transformations.rotation_matrix(0.4, [0.3, 1.0, 0.5])
    sheet.apply_transform(turn)

    def to_rim(boundary_weight: float) -> np.ndarray:
        grid = encoded(sheet, 16, boundary_weight=boundary_weight)
        points = (grid.coords.numpy() + grid.dual_vertices.numpy()) / 16 - 0.5
        flat = trimesh.transform_points(points, np.linalg.inv(turn))[:, :2]
        return np.abs(half - np.abs(flat)).min(1) * 16

    with_term, without_term = to_rim(0.2), to_rim(0.0)
    assert (with_term < 0.05).sum() > 3 * (without_term < 0.05).sum()


def test_no_faces_are_no_voxels() -> None:
    grid = mesh_to_dual_grid(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64), 8)
    assert grid.coords.shape == grid.dual_vertices.shape == grid.intersected.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vertices": torch.full((3, 3), 0.6)},
            r"within \[-0.5, 0.5\], got a coordinate of size 0",
        ),
        ({"vertices": torch.full((3, 3), float("nan"))}, "within"),
        ({"faces": torch.tensor([[0, 1, 3]])}, "between 0 and 2, got 0 to 3"),
        ({"faces": torch.tensor([0, 1, 2])}, "faces"),
        ({"grid_size": 0}, "grid_size"),
        ({"regularization": 0.0}, "regularization"),
    ],
)
def test_wrong_meshes_are_named(change: dict, message: str) -> None:
    arguments = {"vertices": torch.zeros(3, 3), "faces": torch.tensor([[0, 1, 2]]), "grid_size": 8}
    with pytest.raises(ValueError, match=message):
        mesh_to_dual_grid(**(arguments | change))
