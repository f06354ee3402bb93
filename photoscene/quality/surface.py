"""Completeness: is the surface closed, in one piece, the right side out, and how much is known?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photoscene.physics.colliders import box_diagonal
from photoscene.quality.edges import Edges, face_areas
from photoscene.quality.evidence import ObjectEvidence
from photoscene.quality.rubric import Row, measured
from scene.cameras import project
from scene.raycast import cast
from scene.seams import parts_of
from scene.types import Camera, Float64, ObjectMesh

APART = 0.01  # of the size: pieces nearer than this touch
SIDES = np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)
                  if x or y or z], np.float64)  # fmt: skip
RAYS_ACROSS = 24  # of the grid of parallel rays from each of the 26 sides
SAMPLES = 4000  # points of the surface, for what the photo shows of it
DEPTH_TOLERANCE = 1e-3  # of the depth: a point that the camera sees lies where its ray ends


def completeness_rows(subject: ObjectEvidence, edges: Edges, camera: Camera) -> list[Row]:
    """The rows of one object."""
    placed = subject.placed
    mesh, name = placed.mesh, placed.name
    pieces = parts_of(edges.corners)
    open_edges = int((edges.count == 1).sum())
    seen = visible_fraction(subject, camera)
    return [
        measured(name, "made", 0),
        measured(name, "closed", open_edges / len(edges.ends), f"{open_edges} open edges"),
        measured(name, "floaters", floating_fraction(mesh, pieces)),
        measured(name, "normals", inner_hits(mesh)),
        measured(name, "seen", seen, f"{1 - seen:.0%} guessed"),
    ]


def floating_fraction(mesh: ObjectMesh, pieces: NDArray[np.int64]) -> float:
    """Share of the surface in pieces that hang apart, by no chain of near pieces, from the largest.

    pieces (M,): of the faces.
    """
    from scipy.spatial import KDTree

    areas = np.bincount(pieces, face_areas(mesh))
    if len(areas) == 1 or not areas.sum():
        return 0.0
    reach = APART * box_diagonal(mesh.vertices)
    points, owner = _samples(mesh, SAMPLES), pieces[_sampled_faces(mesh, SAMPLES)]
    corners = mesh.vertices[mesh.faces].astype(np.float64).reshape(-1, 3)
    points = np.concatenate([points, corners])
    owner = np.concatenate([owner, np.repeat(pieces, 3)])
    joined = {int(areas.argmax())}
    waiting = [*joined]
    trees = [KDTree(points[owner == p]) for p in range(len(areas))] if len(areas) <= 64 else None
    if trees is None:  # so many pieces are reported as such
        far = KDTree(points[owner == waiting[0]]).query(points)[0] > reach
        apart = np.array([far[owner == p].all() for p in range(len(areas))])
        return float(areas[apart].sum() / areas.sum())
    while waiting:
        tree = trees[waiting.pop()]
        for other, mine in enumerate(trees):
            if other not in joined and tree.query(mine.data)[0].min() <= reach:
                joined.add(other)
                waiting.append(other)
    return float(1 - areas[[*joined]].sum() / areas.sum())


def inner_hits(mesh: ObjectMesh) -> float:
    """Share of parallel rays from 26 sides whose first hit is the inner side of a face."""
    vertices = mesh.vertices.astype(np.float64)
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = box_diagonal(vertices) / 2
    a, b, c = (vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    inner = hits = 0
    for side in SIDES / np.linalg.norm(SIDES, axis=1, keepdims=True):
        # Far enough away, rays through one point are as good as parallel.
        eye = centre + 50 * radius * side
        rays = _grid(side, radius) + centre - eye
        found = cast([(vertices, mesh.faces)], eye, rays)
        facing = (normals[found.face[found.hit]] * rays[found.hit]).sum(1)
        inner += int((facing > 0).sum())
        hits += len(facing)
    return inner / hits if hits else 1.0


def visible_fraction(subject: ObjectEvidence, camera: Camera) -> float:
    """Share of the surface that the photo shows: in front, and inside the visible mask."""
    mesh, placed = subject.placed.mesh, subject.placed.camera_from_object
    points = placed.apply(_samples(mesh, SAMPLES))
    front = points[:, 2] > 0
    pixels = np.full((len(points), 2), -1.0)
    pixels[front] = project(camera, points[front])
    columns, rows = np.floor(pixels).astype(int).T
    inside = (0 <= columns) & (columns < camera.width) & (0 <= rows) & (rows < camera.height)
    shown = inside & front
    shown[shown] = subject.mask[rows[shown], columns[shown]]
    rays = points / np.maximum(points[:, 2:], 1e-12)
    found = cast([(subject.placed.camera_vertices, mesh.faces)], np.zeros(3), rays[shown])
    shown[shown] = found.distance >= points[shown, 2] * (1 - DEPTH_TOLERANCE)
    return float(shown.mean())


def _sampled_faces(mesh: ObjectMesh, count: int) -> NDArray[np.int64]:
    """(count,) faces, as many of each as its area asks for."""
    passed = np.cumsum(face_areas(mesh))
    steps = (np.arange(count) + 0.5) / count * passed[-1]
    return np.minimum(np.searchsorted(passed, steps), len(passed) - 1)


def _samples(mesh: ObjectMesh, count: int) -> Float64:
    """(count, 3) points of the surface, in the frame of the mesh, the same each time."""
    faces = mesh.faces[_sampled_faces(mesh, count)]
    u, v = np.random.default_rng(0).random((2, count))
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    a, b, c = (mesh.vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return a + u[:, None] * (b - a) + v[:, None] * (c - a)


def _grid(side: Float64, radius: float) -> Float64:
    """(N, 3) points of a square grid across a direction, about zero."""
    across = np.cross(side, [0.3, 0.9, 0.2])
    across /= np.linalg.norm(across)
    up = np.cross(side, across)
    steps = (np.arange(RAYS_ACROSS) + 0.5) / RAYS_ACROSS * 2 - 1
    x, y = np.meshgrid(steps * radius, steps * radius)
    return x.reshape(-1, 1) * across + y.reshape(-1, 1) * up
