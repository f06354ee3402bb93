"""Marching cubes by slabs: closed, in its place, and the same as in one piece."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from torch import Tensor  # noqa: E402

from meshes.marching import march  # noqa: E402
from sparse3d.marching_cubes import marching_cubes  # noqa: E402


class Volume:
    """A dense field."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.side = values, len(values)

    def planes(self, start: int, stop: int) -> Tensor:
        return self.values[start:stop]


def _check_closed(faces: Tensor) -> None:
    """Every edge is walked once in each direction."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    codes = edges[:, 0] * (1 << 32) + edges[:, 1]
    back = edges[:, 1] * (1 << 32) + edges[:, 0]
    assert len(codes.unique()) == len(codes)
    assert torch.equal(codes.sort().values, back.sort().values)


def test_random_values_make_the_closed_surface_of_the_dense_form() -> None:
    """Noise has every case, ambiguous faces and cells with a point of their own included."""
    values = torch.ones(22, 22, 22)
    noise = torch.randn(20, 20, 20, generator=torch.Generator().manual_seed(0))
    values[1:-1, 1:-1, 1:-1] = noise
    vertices, faces = marching_cubes(Volume(values), 0.2)
    _check_closed(faces)
    field = values.numpy() - np.float32(0.2)

    def crossing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        a, b = (field[tuple(node.T)] for node in (first, second))
        return a / (a - b)

    cut = march(field < 0, crossing)
    assert len(cut.triangles) == len(faces) and len(cut.points) == len(vertices)
    # Both number vertices by their edges' nodes.
    np.testing.assert_allclose(vertices.numpy(), cut.points, atol=1e-4)
    assert set(map(tuple, faces.tolist())) == set(map(tuple, cut.triangles.tolist()))


def test_a_ball_is_where_its_field_says() -> None:
    nodes = torch.stack(torch.meshgrid(*[torch.arange(30.0)] * 3, indexing="ij"), -1)
    centre = torch.tensor([14.2, 15.1, 13.7])
    values = (nodes - centre).norm(dim=-1) - 9
    vertices, faces = marching_cubes(Volume(values), 0.5)
    _check_closed(faces)
    assert ((vertices - centre).norm(dim=1) - 9.5).abs().max() < 0.02
    a, b, c = (vertices[faces] - centre).unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum() / 6
    assert float(volume) == pytest.approx(4 / 3 * np.pi * 9.5**3, rel=0.01)


def test_a_field_without_a_surface_gives_none() -> None:
    vertices, faces = marching_cubes(Volume(torch.ones(9, 9, 9)), 0.2)
    assert len(vertices) == len(faces) == 0
