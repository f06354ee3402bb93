"""Marching cubes: any pattern of nodes gives a closed surface, turned outward, in its place."""

import numpy as np
import pytest
import trimesh

from meshes.marching import march, triangle_table


def _closed(inside: np.ndarray, crossing) -> trimesh.Trimesh:
    cut = march(inside, crossing)
    solid = trimesh.Trimesh(cut.points, cut.triangles, process=False)
    edges = np.sort(solid.edges, axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all() and solid.is_winding_consistent
    return solid


def _halfway(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.full(len(first), 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_any_nodes_make_a_closed_surface(seed: int) -> None:
    """Random nodes have every case, those with ambiguous faces included."""
    inside = np.zeros((14, 15, 16), bool)
    inside[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).random((12, 13, 14)) < 0.5
    assert _closed(inside, _halfway).volume > 0


def test_a_ball_has_its_volume() -> None:
    nodes = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), -1) - 15.3
    level = np.linalg.norm(nodes, axis=-1) - 11

    def crossing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        a, b = (level[tuple(node.T)] for node in (first, second))
        return a / (a - b)

    volume = _closed(level < 0, crossing).volume
    assert volume == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.01)


def test_every_mixed_case_has_triangles_five_at_most() -> None:
    table, lengths = triangle_table()
    assert table.shape == (256, 5, 3)
    assert lengths[0] == lengths[255] == 0
    assert (lengths[1:255] > 0).all()


def test_nothing_inside_makes_nothing() -> None:
    assert len(march(np.zeros((4, 4, 4), bool), _halfway).triangles) == 0
