"""Objects as bodies of a simulator: convex colliders and mass, in the frame of what is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photoscene.physics.colliders import Colliders, ConvexPart, convex_colliders, convex_hull
from photoscene.physics.mass import MassProperties, mass_properties
from scene.placed import PlacedMesh
from scene.types import Float64, Similarity

PHYSICS_EXTRA = "pip install -e '.[physics]'"
# Modules that colliders need, each with what brings it.
LIBRARIES: Mapping[str, str] = {"coacd": PHYSICS_EXTRA, "fast_simplification": PHYSICS_EXTRA}


@dataclass(frozen=True, eq=False)
class Body:
    """Convex parts, in the unit and about the position of an exported object, and its mass: kg,
    with the centre in metres and the inertia in kg m^2 about it; density: kg / m^3."""

    parts: tuple[ConvexPart, ...]
    mass: MassProperties
    density: float


def camera_colliders(placed: Sequence[PlacedMesh]) -> dict[str, Colliders]:
    """The convex parts of every object by id, in the camera frame: CoACD's, once for all files."""
    made = {}
    for o in placed:
        own = convex_colliders(o.mesh.vertices, o.mesh.faces)
        moved = tuple(
            ConvexPart(o.camera_from_object.apply(p.vertices), p.faces) for p in own.parts
        )
        made[o.id] = replace(own, parts=moved)
    return made


def body_of(
    vertices: NDArray[np.floating],
    faces: NDArray[np.int32],
    colliders: Colliders | None,
    file_from_camera: Similarity,
    position: Float64,
    metres: float,
    density: float,
) -> Body:
    """The body of an object whose vertices (N, 3) are about its position (3,), in a unit of so many
    metres; its one hull stands for colliders that are None."""
    parts = (
        (convex_hull(np.asarray(vertices, np.float64)),)
        if colliders is None
        else tuple(
            ConvexPart(file_from_camera.apply(p.vertices) - position, p.faces)
            for p in colliders.parts
        )
    )
    in_metres = [ConvexPart(p.vertices * metres, p.faces) for p in parts]
    return Body(parts, mass_properties(vertices * metres, faces, in_metres, density), density)
