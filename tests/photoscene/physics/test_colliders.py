"""Convex parts cover their mesh, are few and small, and are the same each time."""

import numpy as np
import pytest
import trimesh
from scipy.optimize import nnls

from photoscene.physics.colliders import (
    MAX_PART_VERTICES,
    MAX_PARTS,
    MAX_UNCOVERED,
    Colliders,
    convex_colliders,
    convex_hull,
    outside,
)
from photoscene.physics.mass import mass_properties
from scene.seams import is_closed
from scene.types import ObjectMesh
from support.shapes import box_mesh, letter_f

RING = trimesh.creation.torus(1.0, 0.25, major_sections=16, minor_sections=6)


def test_a_hull_keeps_its_box_and_its_inside_with_few_corners() -> None:
    ball = trimesh.creation.icosphere(3, radius=2.0)
    hull = convex_hull(np.asarray(ball.vertices))
    assert len(hull.vertices) <= MAX_PART_VERTICES < len(ball.vertices)
    assert is_closed(hull.vertices, hull.faces)
    np.testing.assert_allclose(np.ptp(hull.vertices, axis=0), 4, rtol=1e-6)
    assert outside(hull, np.zeros((1, 3)))[0] < 0 < outside(hull, np.full((1, 3), 2.0))[0]
    assert 0.9 < hull.volume / ball.volume < 1


@pytest.mark.parametrize("flat", [(1, 1, 0), (1, 0, 0), (0, 0, 0)])
def test_the_hull_of_what_is_flat_has_a_volume(flat: tuple[int, int, int]) -> None:
    points = np.random.default_rng(0).random((20, 3)) * flat
    hull = convex_hull(points)
    assert hull.volume > 0 and is_closed(hull.vertices, hull.faces)
    assert (outside(hull, points) <= 1e-9).all()


def test_mass_of_a_box_and_of_an_open_one() -> None:
    box = box_mesh((0, 0, 0), (2.0, 1.0, 0.5))
    hull = convex_hull(box.vertices.astype(np.float64))
    for faces, from_colliders in ((box.faces, False), (box.faces[1:], True)):
        mass = mass_properties(box.vertices, faces, [hull], 500)
        assert mass.mass_kg == pytest.approx(500) and mass.from_colliders == from_colliders
        np.testing.assert_allclose(mass.centre, [1, 0.5, 0.25])
        sides = 500 / 12 * np.array([1 + 0.25, 4 + 0.25, 4 + 1])
        np.testing.assert_allclose(mass.inertia, np.diag(sides), rtol=1e-6, atol=1e-9)


def bytes_of(made: Colliders) -> bytes:
    return b"".join(p.vertices.tobytes() + p.faces.tobytes() for p in made.parts)


def distance_outside(made: Colliders, mesh: ObjectMesh | trimesh.Trimesh) -> float:
    """The farthest of points of a surface from all parts: the nearest mixture of their corners."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, _ = trimesh.sample.sample_surface(body, 100, seed=1)
    gaps = [[mixture_gap(p.vertices, point) for p in made.parts] for point in points]
    return float(np.min(gaps, axis=1).max())


def mixture_gap(corners: np.ndarray, point: np.ndarray) -> float:
    """The distance of a point from the mixtures of corners, weights that add up to 1."""
    heavy = 1e4
    rows = np.vstack([corners.T, np.full(len(corners), heavy)])
    return float(nnls(rows, np.append(point, heavy))[1])


@pytest.mark.extra("physics")
@pytest.mark.parametrize(
    ("mesh", "parts"),
    [(box_mesh((0, 0, 0), (1, 1, 1)), (1, 1)), (letter_f(), (3, 6)), (RING, (4, MAX_PARTS))],
)
def test_parts_cover_the_mesh(mesh: ObjectMesh | trimesh.Trimesh, parts: tuple[int, int]) -> None:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32)
    made = convex_colliders(vertices, faces)
    assert parts[0] <= len(made.parts) <= parts[1]
    assert all(is_closed(p.vertices, p.faces) and p.volume > 0 for p in made.parts)
    assert all(len(p.vertices) <= MAX_PART_VERTICES for p in made.parts)
    size = np.linalg.norm(np.ptp(vertices, axis=0))
    assert made.uncovered <= MAX_UNCOVERED
    assert distance_outside(made, mesh) <= made.uncovered * size + 1e-6
    assert bytes_of(made) == bytes_of(convex_colliders(vertices, faces))


@pytest.mark.extra("physics")
def test_an_open_sheet_has_a_thin_part() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    made = convex_colliders(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    assert made.parts and made.uncovered <= MAX_UNCOVERED
    assert all(np.ptp(p.vertices[:, 2]) < 0.1 and p.volume > 0 for p in made.parts)
