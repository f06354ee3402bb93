"""Mass, centre of mass and inertia of a body of one density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photoscene.physics.colliders import ConvexPart
from scene.seams import is_closed
from scene.types import Float64

DENSITY = 1000.0  # kg / m^3, of water and MuJoCo's own default: what a photo does not tell
MIN_MASS_KG = 1e-6  # MuJoCo and PhysX take no body without mass


@dataclass(frozen=True, eq=False)
class MassProperties:
    """Of one body: mass, centre (3,) in the frame of its vertices, and inertia (3, 3), kg m^2,
    about the centre; from_colliders: the mesh is open, so its parts stand for its volume."""

    mass_kg: float
    centre: Float64
    inertia: Float64
    from_colliders: bool


def mass_properties(
    vertices: NDArray[np.floating],
    faces: NDArray[np.int32],
    parts: Sequence[ConvexPart],
    density: float = DENSITY,
) -> MassProperties:
    """A body in metres of so many kg / m^3; parts: convex ones, for an open or inside-out mesh."""
    from trimesh.triangles import mass_properties as integrals

    triangles = vertices.astype(np.float64)[faces]
    volume = np.einsum("ij,ij->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
    from_colliders = volume <= 0 or not is_closed(vertices, faces)
    if from_colliders:
        triangles = np.concatenate([p.vertices[p.faces] for p in parts])
    made = integrals(triangles, density=density)
    mass = max(float(made.mass), MIN_MASS_KG)
    inertia = np.asarray(made.inertia, np.float64) * (mass / float(made.mass))
    return MassProperties(mass, np.asarray(made.center_mass), inertia, from_colliders)
