"""Voxels at a surface: exactly those with a node within reach, wherever the mesh stands."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from direct3d_s2.surface_voxels import distances_to_triangles, voxels_at_surface  # noqa: E402


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_voxels_with_a_node_within_reach(seed: int) -> None:
    """Triangles from one of no extent to such as are nearly as large as the grid."""
    random = torch.Generator().manual_seed(seed)
    starts = 40 * torch.rand(6, 1, 3, generator=random)
    size = torch.tensor([1.0, 2.0, 6.0, 15.0, 25.0, 0.0])[:, None, None]
    corners = (starts + size * (torch.rand(6, 3, 3, generator=random) - 0.5)).clamp(0, 39)
    faces = torch.arange(18).view(6, 3)
    found = voxels_at_surface(corners.view(-1, 3), faces, 40)
    nodes = torch.cartesian_prod(*(torch.arange(40.0),) * 3)
    near = torch.full((len(nodes),), torch.inf)
    for triangle in corners:
        near = torch.minimum(near, distances_to_triangles(nodes, triangle))
    expected = (nodes[near < 4] // 8).unique(dim=0).int()
    assert torch.equal(found.coords[:, 1:], expected)


def test_distances_to_a_triangle() -> None:
    triangle = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    points = torch.tensor([[1.0, 1, 3], [-3, 0, 4], [4, 4, 0], [2, -5, 0]])
    expected = torch.tensor([3.0, 5.0, 8**0.5, 5.0])
    torch.testing.assert_close(distances_to_triangles(points, triangle), expected)
