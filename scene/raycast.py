"""First hits of rays with meshes (Embree), and pictures of placed meshes made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene.cameras import pixel_centres, unproject
from scene.types import Bool, Camera, Float64, ObjectMesh, Uint8

STEP = 1e-5  # of the distance, by which a ray that goes on leaves the surface behind


@dataclass(frozen=True, eq=False)
class Hits:
    """First hits of N rays: object and face index (-1 for none), barycentric (N, 3), distance.

    distance is in units of the ray's direction vector, NaN for none: hit = origin + distance * ray.
    """

    object: NDArray[np.int32]
    face: NDArray[np.int32]
    barycentric: Float64
    distance: Float64

    @property
    def hit(self) -> Bool:
        """(N,) whether the ray hit anything."""
        return self.face >= 0


def cast(
    meshes: Sequence[tuple[NDArray, NDArray[np.int32]]], origin: Float64, rays: Float64
) -> Hits:
    """Cast rays (N, 3) from one origin (3,) into meshes of (vertices, faces), all in one frame.

    Embree finds the triangle in float32; the hit itself is recomputed in float64, so depths are
    exact to rounding.
    """
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    triangles = [np.asarray(v, np.float64)[f] for v, f in meshes]
    corners = np.concatenate(triangles) if triangles else np.zeros((0, 3, 3))
    owner = np.repeat(np.arange(len(meshes), dtype=np.int32), [len(t) for t in triangles])
    first = np.cumsum([0, *(len(t) for t in triangles)])
    found = np.full(len(rays), -1, np.int64)
    if len(corners):
        scene = EmbreeScene()
        TriangleMesh(scene, corners.astype(np.float32))
        start = np.ascontiguousarray(np.broadcast_to(origin, rays.shape), np.float32)
        found = scene.run(start, np.ascontiguousarray(rays, np.float32)).astype(np.int64)
    hit = found >= 0
    object_index = np.full(len(rays), -1, np.int32)
    face = np.full(len(rays), -1, np.int32)
    object_index[hit] = owner[found[hit]]
    face[hit] = found[hit] - first[object_index[hit]]
    barycentric = np.zeros((len(rays), 3))
    distance = np.full(len(rays), np.nan)
    barycentric[hit], distance[hit] = _intersect(corners[found[hit]], origin, rays[hit])
    return Hits(object_index, face, barycentric, distance)


class Outline:
    """A mesh whose outline is asked for from many places: Embree is built once, the rays move."""

    def __init__(self, vertices: NDArray[np.floating], faces: NDArray[np.int32]) -> None:
        """vertices (N, 3), faces (M, 3): the frame in which the rays are given."""
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.asarray(vertices, np.float32)[faces])

    def hit_by(self, origin: Float64, rays: NDArray[np.floating]) -> Bool:
        """(N,) whether rays (N, 3) from one origin (3,) meet the mesh."""
        start = np.ascontiguousarray(np.broadcast_to(origin, rays.shape), np.float32)
        directions = np.ascontiguousarray(rays, np.float32)
        return self._scene.run(start, directions, query="OCCLUDED") >= 0


@dataclass(frozen=True, eq=False)
class Crossings:
    """All crossings of N rays with one closed mesh, nearest first: distance (N, L) in units of the
    ray, NaN after the last one; entering (N, L): whether the ray goes in there."""

    distance: Float64
    entering: Bool


def cast_through(
    vertices: Float64, faces: NDArray[np.int32], rays: Float64, max_crossings: int = 8
) -> Crossings:
    """Follow rays (N, 3) from the origin through a mesh (vertices (N, 3), same frame).

    At most `max_crossings` crossings are reported; surfaces closer behind each other than STEP are
    one.
    """
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    corners = np.asarray(vertices, np.float64)[faces]
    scene = EmbreeScene()
    TriangleMesh(scene, corners.astype(np.float32))
    distance = np.full((len(rays), max_crossings), np.nan)
    entering = np.zeros((len(rays), max_crossings), bool)
    alive, passed = np.arange(len(rays)), np.zeros(len(rays))
    for layer in range(max_crossings):
        start = (rays[alive] * passed[alive, None]).astype(np.float32)
        found = scene.run(start, np.ascontiguousarray(rays[alive], np.float32)).astype(np.int64)
        alive, found = alive[found >= 0], found[found >= 0]
        if len(alive) == 0:
            break
        hit = corners[found]
        distance[alive, layer] = _intersect(hit, np.zeros(3), rays[alive])[1]
        normal = np.cross(hit[:, 1] - hit[:, 0], hit[:, 2] - hit[:, 0])
        entering[alive, layer] = (normal * rays[alive]).sum(1) < 0
        passed[alive] = np.maximum(distance[alive, layer], passed[alive]) * (1 + STEP)
    return Crossings(distance, entering)


def _intersect(corners: Float64, origin: Float64, rays: Float64) -> tuple[Float64, Float64]:
    """Moeller-Trumbore in float64: barycentric (N, 3) and distance (N,) for rays that hit."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(rays, edge2)
    determinant = (edge1 * across).sum(1)
    determinant = np.where(np.abs(determinant) < 1e-300, 1e-300, determinant)
    offset = origin - corners[:, 0]
    u = (offset * across).sum(1) / determinant
    turned = np.cross(offset, edge1)
    v = (rays * turned).sum(1) / determinant
    distance = (edge2 * turned).sum(1) / determinant
    return np.stack([1 - u - v, u, v], 1), distance


def render(
    placed: list[tuple[ObjectMesh, Float64]],
    camera: Camera,
    view_from_scene: Float64 | None = None,
) -> tuple[Uint8, NDArray[np.int32], Float64]:
    """Draw meshes whose vertices (N, 3) are already in the scene's camera frame.

    view_from_scene (4, 4) moves the viewer; colours are the textures', without light.
    Returns rgba (H, W, 4) uint8, object index (H, W) or -1, and z-depth (H, W), NaN for none.
    """
    view = np.eye(4) if view_from_scene is None else view_from_scene
    meshes = [(v @ view[:3, :3].T + view[:3, 3], mesh.faces) for mesh, v in placed]
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    hits = cast(meshes, np.zeros(3), rays)
    rgba = np.zeros((len(rays), 4), np.uint8)
    for index, (mesh, _) in enumerate(placed):
        mine = hits.object == index
        colours = texture_colours(mesh, hits.face[mine], hits.barycentric[mine])
        rgba[mine, :3] = np.rint(colours).clip(0, 255)
        rgba[mine, 3] = 255
    shape = (camera.height, camera.width)
    return rgba.reshape(*shape, 4), hits.object.reshape(shape), hits.distance.reshape(shape)


def texture_colours(mesh: ObjectMesh, faces: NDArray, barycentric: Float64) -> Float64:
    """(N, 3) bilinear texture colours at hits of one mesh."""
    uv = (mesh.uv[mesh.faces[faces]] * barycentric[..., None]).sum(1)
    height, width = mesh.texture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip(uv[:, 1] * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    texture = mesh.texture.astype(np.float64)
    top = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    bottom = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return top * (1 - fy) + bottom * fy
