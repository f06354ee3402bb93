"""Topology: how many faces and pieces there are, and how well they are shaped."""

from __future__ import annotations

import numpy as np

from photoscene.physics.colliders import box_diagonal
from photoscene.quality.edges import Edges, face_areas
from photoscene.quality.evidence import ObjectEvidence
from photoscene.quality.rubric import Row, measured
from scene.seams import parts_of
from scene.types import ObjectMesh

LONG = 10  # as long as high: normals and textures of such faces flicker


def topology_rows(subject: ObjectEvidence, edges: Edges) -> list[Row]:
    """The rows of one object's faces; those of its texture are in `texture.py`."""
    name, mesh = subject.placed.name, subject.placed.mesh
    many = int((edges.count > 2).sum())
    return [
        measured(name, "faces", len(mesh.faces)),
        measured(name, "pieces", int(parts_of(edges.corners).max()) + 1),
        measured(name, "non-manifold", non_manifold_fraction(edges, mesh), f"{many} edges"),
        measured(name, "slivers", sliver_fraction(mesh)),
    ]


def non_manifold_fraction(edges: Edges, mesh: ObjectMesh) -> float:
    """Edges with more than two faces and faces without area, over all edges."""
    size = box_diagonal(mesh.vertices)
    flat = int((face_areas(mesh) <= 1e-12 * size * size).sum())
    return (int((edges.count > 2).sum()) + flat) / len(edges.ends)


def sliver_fraction(mesh: ObjectMesh) -> float:
    """Share of the faces whose longest edge is more than 10 times their height over it."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    longest = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).max(axis=1)
    height = 2 * face_areas(mesh) / np.maximum(longest, 1e-30)
    return float((longest > LONG * height).mean())
