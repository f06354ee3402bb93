"""What does a dense surface show in the texture of its light mesh: colours, PBR values, normals?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshes.nearest import SurfaceTree, at_nearest, nearest_points
from scene.material import alpha_without_noise
from scene.normals import smooth_normals, vertex_tangents
from scene.types import Float32, Float64, Material, ObjectMesh, Uint8
from stages.finish.asset.charts import Unwrapped
from stages.finish.asset.photo import PhotoView, photo_colours
from stages.finish.asset.source import Source
from stages.finish.asset.texels import Texels, covered_texels, spread

ROWS = 1 << 20  # texels at once


@dataclass(frozen=True, eq=False)
class _Baked:
    """Values of N texels: rgb and metallic, roughness, alpha (N, 6), tangent-space normals (N, 3),
    all 0 to 255."""

    values: Uint8
    normals: Uint8


def bake(
    vertices: Float32, faces: NDArray[np.int32], cut: Unwrapped, source: Source,
    tree: SurfaceTree, side_px: int, view: PhotoView | None,
) -> ObjectMesh:  # fmt: skip
    """The light mesh, vertices (V, 3) and faces (M, 3), cut into charts, with every map.

    Each texel takes what the source has at the point nearest to it; view: the photo, whose
    own pixels cover what they show.
    """
    normals = smooth_normals(vertices, faces)[cut.source]
    placed = vertices[cut.source]
    tangents = vertex_tangents(placed, cut.faces, cut.uv, normals)
    texels = covered_texels(cut.uv, cut.faces, side_px)
    parts = []
    for start in range(0, len(texels.flat), ROWS):
        rows = slice(start, start + ROWS)
        some = Texels(side_px, texels.flat[rows], texels.face[rows], texels.barycentric[rows])
        parts.append(_baked(some, placed, cut.faces, normals, tangents, source, tree, view))
    values = spread(texels, np.concatenate([part.values for part in parts]))
    bumps = spread(texels, np.concatenate([part.normals for part in parts]))
    material = Material(
        alpha_without_noise(values[..., 5]) if source.transparent else None,
        np.ascontiguousarray(values[..., 3:5]) if source.glossy else None,
        bumps,
    )
    texture = np.ascontiguousarray(values[..., :3])
    return ObjectMesh(placed, cut.faces, cut.uv, texture, (), material, normals)


def _baked(
    texels: Texels, vertices: Float32, faces: NDArray[np.int32], normals: Float32,
    tangents: Float32, source: Source, tree: SurfaceTree, view: PhotoView | None,
) -> _Baked:  # fmt: skip
    here = texels.at(faces, vertices)
    nearest = nearest_points(tree, here)
    upward = _unit(texels.at(faces, normals))
    fine = _unit(at_nearest(nearest, source.faces, source.normals))
    turned = (fine * upward).sum(1, keepdims=True) < 0  # of the far side of a sheet
    fine = np.where(turned, -fine, fine)
    values = source.attributes(nearest)
    if view is not None:
        values[:, :3] = photo_colours(view, here, fine, values[:, :3])
    bumps = _in_tangent_space(fine, upward, texels.at(faces, tangents))
    return _Baked(_as_bytes(values), _as_bytes(bumps * 127.5 + 127.5))


def _in_tangent_space(fine: Float64, upward: Float64, tangents: Float64) -> Float64:
    """Normals (N, 3) in the frames that glTF's viewers build of normal and tangent (N, 4)."""
    along = _unit(tangents[:, :3])
    across = _unit(np.cross(upward, along) * np.sign(tangents[:, 3:]))
    slant = (along * upward).sum(1)  # not quite 0: both are interpolated
    x, y, z = ((fine * axis).sum(1) for axis in (along, across, upward))
    square = np.maximum(1 - slant**2, 1e-6)
    return _unit(np.stack([(x - slant * z) / square, y, (z - slant * x) / square], 1))


def _as_bytes(values: Float64) -> Uint8:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _unit(vectors: Float64) -> Float64:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
