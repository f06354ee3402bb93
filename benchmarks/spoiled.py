"""What is done to the good scene of `rubric_scenes.py` so that one row of the rubric has to show
it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from photoscene.quality.rubric import CHECK, FAIL
from scene.placed import PlacedMesh
from scene.types import Float64, ObjectMesh, Similarity


def moved(mesh: ObjectMesh, change: Callable[[Float64], Float64]) -> ObjectMesh:
    return replace(mesh, vertices=change(mesh.vertices.astype(np.float64)).astype(np.float32))


def opened(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=mesh.faces[6:])


def inside_out(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=mesh.faces[:, ::-1])


def with_floater(mesh: ObjectMesh) -> ObjectMesh:
    """A second, smaller one inside the outline, behind the object."""
    small = mesh.vertices * np.float32(0.2) + np.array([0, 0, 0.6], np.float32)
    return replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, small]),
        faces=np.concatenate([mesh.faces, mesh.faces + len(mesh.vertices)]).astype(np.int32),
        uv=np.tile(mesh.uv, (2, 1)),
    )


def in_pieces(mesh: ObjectMesh) -> ObjectMesh:
    """Every face by itself, a hair apart."""
    corners = mesh.vertices[mesh.faces]
    apart = corners + 1e-4 * (corners - corners.mean(1, keepdims=True))
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    uv = mesh.uv[mesh.faces].reshape(-1, 2)
    return replace(mesh, vertices=apart.reshape(-1, 3).astype(np.float32), faces=faces, uv=uv)


def doubled_faces(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, faces=np.concatenate([mesh.faces, mesh.faces[:20]]))


def stacked_islands(mesh: ObjectMesh) -> ObjectMesh:
    """All sides at one place of the texture."""
    return replace(mesh, uv=(mesh.uv * [3, 2] % 1 / [3, 2]).astype(np.float32))


def beyond_texture(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, uv=mesh.uv * np.float32(1.4))


def squeezed(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, uv=mesh.uv * np.array([1, 0.02], np.float32))


def small_texture(mesh: ObjectMesh) -> ObjectMesh:
    return replace(mesh, texture=np.ascontiguousarray(mesh.texture[:3, :3]))


def loud_islands(mesh: ObjectMesh) -> ObjectMesh:
    texture = mesh.texture.copy()
    texture[:, : texture.shape[1] // 3] = 0
    texture[: texture.shape[0] // 2, -texture.shape[1] // 3 :] = 255
    return replace(mesh, texture=texture)


def flattened_faces(mesh: ObjectMesh) -> ObjectMesh:
    """Slivers: the grid of each side drawn together along one axis, so its faces are long."""
    return moved(mesh, lambda v: np.where(np.abs(v) < 0.39, v * [1, 0.02, 1], v))


def own_uv_each(mesh: ObjectMesh) -> ObjectMesh:
    """Each face an island of its own, its corners still at their places."""
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    flat = mesh.faces.reshape(-1)
    return replace(mesh, vertices=mesh.vertices[flat], uv=mesh.uv[flat], faces=faces)


def scaled_by_ten(o: PlacedMesh) -> PlacedMesh:
    """About the camera: the outline stays."""
    place = o.camera_from_object
    return replace(
        o, camera_from_object=Similarity(place.scale * 10, np.eye(3), place.translation * 10)
    )


def shifted(o: PlacedMesh) -> PlacedMesh:
    place = o.camera_from_object
    return replace(
        o, camera_from_object=replace(place, translation=place.translation + [0.5, 0, 0])
    )


# What is done to the first object's mesh, and which rows have to show it, from which verdict on.
SPOILED_MESHES: tuple[tuple[Callable[[ObjectMesh], ObjectMesh], dict[str, str]], ...] = (
    (opened, {"closed": FAIL}),
    (inside_out, {"normals": FAIL}),
    (with_floater, {"floaters": FAIL}),
    (in_pieces, {"pieces": FAIL, "closed": FAIL}),
    (doubled_faces, {"non-manifold": FAIL}),
    (stacked_islands, {"UV overlap": FAIL}),
    (beyond_texture, {"UV overlap": FAIL}),
    (squeezed, {"UV stretch": FAIL}),
    (small_texture, {"resolution": FAIL, "maps": CHECK}),
    (loud_islands, {"seams": FAIL}),
    (flattened_faces, {"slivers": CHECK}),
    (own_uv_each, {"UV islands": FAIL}),
)

SPOILED_PLACES: tuple[tuple[Callable[[PlacedMesh], PlacedMesh], dict[str, str]], ...] = (
    (scaled_by_ten, {"depth": FAIL}),
    (shifted, {"outline": FAIL, "boundary": FAIL}),
)
