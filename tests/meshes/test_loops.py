"""Compiled loops over meshes do what the readable operations on tensors do."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

pytest.importorskip("torch", reason="the twins run on torch: pip install -e '.[pixal3d]'")

import torch  # noqa: E402

from benchmarks import shapes_to_finish as shapes  # noqa: E402
from sparse3d import mesh_repair, simplify  # noqa: E402

pytestmark = pytest.mark.extra("numba")


@cache
def _damaged() -> tuple[torch.Tensor, torch.Tensor]:
    """A decoded field with holes, a seam, repeated faces and corners, wound at random."""
    field = shapes.decoded_field(1)
    random = np.random.default_rng(2)
    vertices, faces = np.asarray(field.vertices, np.float32), np.asarray(field.faces)
    faces = faces[random.random(len(faces)) > 0.003]
    around = random.random(len(faces)) < 0.5
    faces[around] = faces[around][:, ::-1]
    seam = np.arange(3) + len(vertices)
    extra = [[3, 3, 4], faces[7][::-1], np.roll(faces[8], 1), [5, 6, 5]]
    vertices = np.concatenate([vertices, vertices[faces[0]]])
    faces = np.concatenate([seam[None], faces[1:], extra])
    return torch.from_numpy(vertices), torch.from_numpy(faces)


@pytest.mark.parametrize("largest_hole", [0.0, 1.0])
def test_cleaning_by_loops_is_cleaning(largest_hole: float) -> None:
    vertices, faces = _damaged()
    expected = mesh_repair.clean_mesh(vertices, faces, largest_hole)
    found = mesh_repair.clean_by_loops(vertices, faces, largest_hole)
    assert len(expected[1]) > (8000 if largest_hole else 7900)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_cleaning_by_loops_sorts_the_faces_of_a_hub() -> None:
    """More faces on a vertex than are sorted by insertion."""
    rim = torch.arange(1, 301)
    angle = rim * (2 * torch.pi / 300)
    places = torch.stack((angle.cos(), angle.sin(), 0 * angle), 1) / 3
    vertices = torch.cat((torch.tensor([[0.0, 0, 0.1]]), places))
    faces = torch.stack((0 * rim, rim, rim % 300 + 1), 1)
    faces = torch.cat((faces, faces[5:6]))[torch.randperm(301, generator=torch.manual_seed(0))]
    expected = mesh_repair.clean_mesh(vertices, faces)
    found = mesh_repair.clean_by_loops(vertices, faces)
    assert len(found[1]) == 300
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_clusters_by_loops_are_those_of_tensors() -> None:
    from meshes import clusters

    vertices, faces = mesh_repair.clean_mesh(*_damaged(), largest_hole=1.0)
    expected = simplify.clustered(vertices, faces, 24)
    found = clusters.clustered(vertices.numpy(), faces.numpy().astype(np.int32), 24)
    assert 500 < len(found[1]) < len(faces) / 2
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)


def test_clusters_of_a_closed_surface_are_closed() -> None:
    """Every edge has an even number of faces, though whole fingers of the field become flat."""
    vertices, faces = mesh_repair.clean_mesh(*_damaged(), largest_hole=1.0)
    for cells in (8, 13, 24):
        _, left = simplify.clustered(vertices, faces, cells)
        edges = torch.stack((left, left.roll(-1, dims=1)), 2).reshape(-1, 2).sort(dim=1).values
        uses = torch.unique(edges, dim=0, return_counts=True)[1]
        assert len(left) > 100 and not (uses % 2).any()


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_vertices_of_clusters_lie_on_edges_and_sheets_stay_apart(tilt: float) -> None:
    """Two roofs, one a ninth of a cell above the other: ridges stay sharp, roofs stay two."""
    steps = np.arange(41) / 64 - 0.3
    x, y = np.meshgrid(steps, steps, indexing="ij")
    roofs = [np.stack([x, y, 0.2 - 0.7 * np.abs(x - 0.05 - tilt * y) + up], -1) for up in (0, 0.01)]
    at = np.arange(41 * 41).reshape(41, 41)
    quads = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1).reshape(-1, 4)
    one = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    vertices = torch.from_numpy(np.concatenate(roofs).reshape(-1, 3).astype(np.float32))
    coarse, faces = simplify.clustered(
        vertices, torch.from_numpy(np.concatenate([one, one + 41 * 41])), 11
    )
    sides = torch.cat((faces[:, :2], faces[:, 1:]))
    part, _ = mesh_repair.spanning_parity(len(coarse), sides, torch.zeros(len(sides)).bool())
    assert 100 < len(faces) < 1000 and len(part[faces].unique()) == 2
    x, y, z = coarse.double().numpy().T
    off = np.abs(z - 0.2 + 0.7 * np.abs(x - 0.05 - tilt * y))
    assert np.minimum(off, np.abs(off - 0.01)).max() < 0.02
