"""Draws placed meshes with their textures, light and the shadow on the ground, by casting rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photoscene.views.lighting import (
    EXPOSURE,
    OFFSET,
    GroundShadow,
    Lamps,
    ground_shadow,
    light_on,
    sky_lamps,
)
from photoscene.views.viewpoints import Viewpoint, facing
from scene.normals import smooth_normals
from scene.types import Float32, Float64, ObjectMesh, Similarity, Uint8

SAMPLES = 4  # rays of a pixel along each side, where it needs several
BAND_RAYS = 400_000  # of the rays at once: what memory is used for
MAX_LAYERS = 6  # see-through surfaces behind each other
LEAVE = 1e-5  # of the distance, by which a ray goes on behind a see-through surface
MAX_EDGE = 1 / 16  # of the objects' radius: light is computed at vertices, so long edges are split
MAX_SPLITS = 6
SHADOW_STRENGTH = 0.85
BRIGHTEST = 1.05  # of a white surface in full light: a little more than white
EVEN = 6  # sRGB levels by which neighbouring pixels may differ and be drawn by one ray each
LINEAR_STEPS = 4096


@dataclass(frozen=True, eq=False)
class Ground:
    """The plane below the objects: up (3,), unit, and the height of the frame's origin above it."""

    up: Float64
    origin_height: float


@dataclass(frozen=True, eq=False)
class _Textures:
    """All textures with their halvings in one array: texels (T, 4) uint8 RGBA; of each object and
    level the first texel (O, L), and the size (O, L, 2), width and height."""

    texels: Uint8
    first: NDArray[np.int64]
    size: NDArray[np.int32]


class Studio:
    """Meshes that are ready to be drawn from any side: one search tree, and the light on them."""

    def __init__(
        self,
        placed: Sequence[tuple[ObjectMesh, Similarity]],
        up: Float64 | None = None,
        toward_viewer: Float64 | None = None,
        ground: float | None = None,
        shadow: bool = True,
        lamps: Lamps | None = None,
    ) -> None:
        """placed: meshes, each with its place in the scene's frame; up (3,) there, None for -y.

        toward_viewer (3,): the side of azimuth 0, from where the lamp shines, by default to the
        frame's origin; ground: how high that origin is above the ground along up, by default the
        ground is where the lowest vertex is; shadow: whether there is any ground;
        lamps: the light, by default all of the sky's.
        """
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        if not placed:
            raise ValueError("no objects to draw")
        world = np.concatenate([place.apply(mesh.vertices) for mesh, place in placed])
        middle = (world.min(0) + world.max(0)) / 2
        self._level = facing(up, -middle if toward_viewer is None else toward_viewer)
        parts = [_Part.of(mesh, place, self._level, i) for i, (mesh, place) in enumerate(placed)]
        points = np.concatenate([p.vertices for p in parts])
        radius = float(np.linalg.norm(np.ptp(points, axis=0))) / 2 or 1.0
        parts = [p.split(MAX_EDGE * radius) for p in parts]
        corners = np.concatenate([p.vertices[p.faces] for p in parts])
        self._tree = EmbreeScene()
        TriangleMesh(self._tree, corners.astype(np.float32))
        lamps = lamps or sky_lamps()
        lights = [
            light_on(self._tree, p.vertices, p.normals, lamps, OFFSET * radius) for p in parts
        ]
        self._light = np.concatenate([v[p.faces] for v, p in zip(lights, parts, strict=True)])
        self._uv = np.concatenate([p.uv[p.faces] for p in parts]).astype(np.float32)
        self._owner = np.concatenate([np.full(len(p.faces), p.index, np.int32) for p in parts])
        self._textures = _textures([mesh for mesh, _ in placed])
        self._density = _texel_density(corners, self._uv, self._textures.size[self._owner, 0])
        y = points[:, 1].max() if ground is None else ground
        self._shadow = ground_shadow(self._tree, points, float(y), lamps) if shadow else None

    def draw(self, viewpoint: Viewpoint, samples: int = SAMPLES) -> Uint8:
        """(H, W, 4) sRGB with straight alpha; shadows are black and see-through.

        A pixel has one ray, those that differ from a neighbour have `samples` along each side.
        """
        width, height = viewpoint.camera.width, viewpoint.camera.height
        drawn = self._pixels(viewpoint, np.arange(width * height), 1)
        edges = _uneven(_encoded(drawn).reshape(height, width, 4))
        drawn[edges] = self._pixels(viewpoint, edges, samples)
        return _encoded(drawn).reshape(height, width, 4)

    def _pixels(self, viewpoint: Viewpoint, index: NDArray[np.intp], samples: int) -> Float32:
        """(N, 4) linear light, multiplied with alpha, of pixels (N,) counted row by row."""
        camera = viewpoint.camera
        level_from_view = self._level @ viewpoint.view_from_scene[:3, :3].T
        origin = (-level_from_view @ viewpoint.view_from_scene[:3, 3]).astype(np.float32)
        steps = (np.arange(samples) + 0.5) / samples
        spacing = 1 / (samples * max(camera.fx_px, camera.fy_px))
        out, rays_of_pixel = np.zeros((len(index), 4), np.float32), samples**2
        for first in range(0, len(index), BAND_RAYS // rays_of_pixel):
            row, column = np.divmod(index[first : first + BAND_RAYS // rays_of_pixel], camera.width)
            rays = np.ones((len(row), samples, samples, 3), np.float32)
            across = (column[:, None] + steps - camera.cx_px) / camera.fx_px
            rays[..., 0] = across[:, None, :]
            rays[..., 1] = ((row[:, None] + steps - camera.cy_px) / camera.fy_px)[:, :, None]
            directions = rays.reshape(-1, 3) @ level_from_view.T.astype(np.float32)
            traced = self._traced(origin, directions, spacing)
            out[first : first + len(row)] = traced.reshape(len(row), rays_of_pixel, 4).mean(1)
        return out

    def _traced(self, origin: Float32, rays: Float32, spacing: float) -> Float32:
        """(N, 4) linear light of rays (N, 3), multiplied with alpha. spacing: between rays, at
        distance 1."""
        out = np.zeros((len(rays), 4), np.float32)
        alive, passed = np.arange(len(rays)), np.zeros(len(rays), np.float32)
        for _ in range(MAX_LAYERS):
            directions = np.ascontiguousarray(rays[alive])
            starts = origin + directions * passed[alive, None]
            hits = self._tree.run(np.ascontiguousarray(starts), directions, output=True)
            hit = hits["primID"] >= 0
            alive, face = alive[hit], hits["primID"][hit]
            distance = passed[alive] + hits["tfar"][hit]
            colour = self._surface(face, hits["u"][hit], hits["v"][hit], distance * spacing)
            out[alive] += colour * (1 - out[alive, 3:])
            passed[alive] = distance * (1 + LEAVE)
            alive = alive[out[alive, 3] < 0.99]
            if not len(alive):
                break
        if self._shadow is not None:
            out[:, 3] += (1 - out[:, 3]) * self._darkness(origin, rays, self._shadow)
        return out

    def _surface(
        self, face: NDArray[np.int32], u: Float32, v: Float32, footprint: Float32
    ) -> Float32:
        """(N, 4) lit colours at hits, linear, multiplied with alpha. footprint (N,): the distance
        between neighbouring rays there."""
        light = _interpolated(self._light, face, u, v) * EXPOSURE
        light /= (1 + (light / BRIGHTEST) ** 4) ** 0.25  # white stays below its limit
        uv = np.stack([_interpolated(self._uv[..., i], face, u, v) for i in (0, 1)], 1)
        texels = np.maximum(footprint * self._density[face], 1e-6)
        colour = _sampled(self._textures, self._owner[face], uv, texels)
        alpha = colour[:, 3:]
        lit = np.concatenate([colour[:, :3] * light[:, None] * alpha, alpha], 1)
        return lit.astype(np.float32, copy=False)

    def _darkness(self, origin: Float32, rays: Float32, shadow: GroundShadow) -> Float32:
        """(N,) darkness of the ground that rays (N, 3) meet; 0 for those that go up."""
        drop = np.float32(shadow.y) - origin[1]
        down = (rays[:, 1] > 1e-6) & (drop > 0)
        distance = np.where(down, drop / np.where(down, rays[:, 1], 1), 0).astype(np.float32)
        x, z = origin[0] + distance * rays[:, 0], origin[2] + distance * rays[:, 2]
        darkness = np.where(down, shadow.at(x.astype(np.float32), z.astype(np.float32)), 0)
        return (darkness * SHADOW_STRENGTH).astype(np.float32)


def _interpolated(corners: Float32, face: NDArray[np.int32], u: Float32, v: Float32) -> Float32:
    """(N,) values at hits, of those at the faces' corners (M, 3)."""
    at = corners.take(face, axis=0)
    value = at[:, 0] * (1 - u - v) + at[:, 1] * u + at[:, 2] * v
    return value.astype(np.float32, copy=False)


def _uneven(image: Uint8) -> NDArray[np.intp]:
    """The pixels of (H, W, 4), counted row by row, that differ from one of their neighbours."""
    uneven = np.zeros(image.shape[:2], bool)
    levels = image.astype(np.int16)
    levels[..., :3] = levels[..., :3] * levels[..., 3:] // 255
    for axis in (0, 1):
        differs = (np.abs(np.diff(levels, axis=axis)) > EVEN).any(2)
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        uneven[tuple(first)] |= differs
        uneven[tuple(second)] |= differs
    return np.flatnonzero(uneven)


def over(rgba: Uint8, background: tuple[int, int, int]) -> Uint8:
    """(H, W, 3): an image with straight alpha before a colour."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Part:
    """A mesh in the level frame: vertices (N, 3), unit normals (N, 3), uv (N, 2), faces (M, 3)."""

    index: int
    vertices: Float64
    normals: Float64
    uv: Float64
    faces: NDArray[np.int32]

    @classmethod
    def of(cls, mesh: ObjectMesh, place: Similarity, level: Float64, index: int) -> _Part:
        """A mesh at its place, turned upright."""
        normals = mesh.normals
        if normals is None:
            normals = smooth_normals(mesh.vertices, mesh.faces)
        return cls(
            index, place.apply(mesh.vertices) @ level.T,
            np.asarray(normals, np.float64) @ (level @ place.rotation).T,
            np.asarray(mesh.uv, np.float64), mesh.faces,
        )  # fmt: skip

    def split(self, max_edge: float) -> _Part:
        """The same surface with faces of longer edges cut in four, again and again."""
        part = self
        for _ in range(MAX_SPLITS):
            corners = part.vertices[part.faces]
            edges = np.linalg.norm(np.roll(corners, -1, 1) - corners, axis=2).max(1)
            if not (edges > max_edge).any():
                break
            part = part._cut(edges > max_edge)
        return part

    def _cut(self, chosen: NDArray[np.bool_]) -> _Part:
        faces = self.faces[chosen].astype(np.int64)
        ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2), 1)
        edges, edge_of = np.unique(ends, axis=0, return_inverse=True)
        middle = (len(self.vertices) + edge_of.reshape(-1, 3)).astype(np.int32)
        (a, b, c), (ab, bc, ca) = self.faces[chosen].T, middle.T
        quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        cut = np.concatenate([np.stack(q, 1) for q in quarters])
        normals = _with_middles(self.normals, edges)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return _Part(
            self.index, _with_middles(self.vertices, edges),
            np.divide(normals, length, out=np.zeros_like(normals), where=length > 1e-9),
            _with_middles(self.uv, edges), np.concatenate([self.faces[~chosen], cut]),
        )  # fmt: skip


def _with_middles(values: Float64, edges: NDArray[np.int64]) -> Float64:
    return np.concatenate([values, values[edges].mean(1)])


def _textures(meshes: Sequence[ObjectMesh]) -> _Textures:
    pyramids = [_halvings(mesh) for mesh in meshes]
    levels = max(len(p) for p in pyramids)
    # The coarsest level stands in for those that a small texture does not have.
    padded = [p + [p[-1]] * (levels - len(p)) for p in pyramids]
    sizes = np.array([[image.shape[1::-1] for image in p] for p in padded], np.int32)
    texels = np.concatenate([image.reshape(-1, 4) for p in padded for image in p])
    counts = sizes.prod(2, dtype=np.int64).ravel()
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).reshape(sizes.shape[:2])
    return _Textures(texels, first, sizes)


def _halvings(mesh: ObjectMesh) -> list[Uint8]:
    """A texture (H, W, 4) and its halvings down to a few texels."""
    alpha = mesh.material.alpha
    if alpha is None:
        alpha = np.full(mesh.texture.shape[:2], 255, np.uint8)
    images = [np.dstack([mesh.texture, alpha])]
    while min(images[-1].shape[:2]) >= 16:
        height, width = images[-1].shape[:2]
        half = cv2.resize(images[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        images.append(np.asarray(half, np.uint8))
    return images


def _texel_density(corners: Float64, uv: Float32, size: NDArray[np.int32]) -> Float32:
    """(M,) texels along a unit of length on each face, in the full texture."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(first, second), axis=1)
    (du1, dv1), (du2, dv2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    texels = np.abs(du1 * dv2 - du2 * dv1) * size.prod(1, dtype=np.int64)
    return np.sqrt(texels / np.maximum(area, 1e-20)).astype(np.float32)


def _sampled(
    textures: _Textures, owner: NDArray[np.int32], uv: Float32, texels: Float32
) -> Float32:
    """(N, 4) linear colours and alpha at uv (N, 2), bilinear, of the level whose texels are no
    smaller than the distance between rays. texels (N,): that distance in full texels."""
    level = np.clip(np.log2(texels), 0, textures.size.shape[1] - 1).astype(np.int32)
    width, height = textures.size[owner, level].T
    first = textures.first[owner, level]
    x = np.clip(uv[:, 0] * width - np.float32(0.5), 0, width - 1).astype(np.float32)
    y = np.clip(uv[:, 1] * height - np.float32(0.5), 0, height - 1).astype(np.float32)
    x0, y0 = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    right = np.minimum(x0 + 1, width - 1) - x0
    down = (np.minimum(y0 + 1, height - 1) - y0) * width
    at = first + y0 * width + x0

    def linear(index: NDArray[np.int64]) -> Float32:
        return _LINEAR[textures.texels[index], _CHANNELS]

    upper = linear(at) * (1 - fx) + linear(at + right) * fx
    lower = linear(at + down) * (1 - fx) + linear(at + down + right) * fx
    return upper * (1 - fy) + lower * fy


def _encoded(premultiplied: Float32) -> Uint8:
    """(..., 4) linear light times alpha -> sRGB with straight alpha."""
    alpha = premultiplied[..., 3:]
    linear = np.clip(premultiplied[..., :3] / np.maximum(alpha, 1e-6), 0, 1)
    rgb = _SRGB[np.rint(linear * (LINEAR_STEPS - 1)).astype(np.int32)]
    return np.concatenate([rgb, np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)], -1)


def _linear_of(srgb: Float64) -> Float64:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _srgb_of(linear: Float64) -> Float64:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


_CHANNELS = np.array([0, 0, 0, 1])
# Of a byte: the linear value of a colour, and that of alpha, which is linear as it is.
_LINEAR = np.stack(
    [_linear_of(np.arange(256) / 255), np.arange(256) / 255], 1
).astype(np.float32)  # fmt: skip
_SRGB = np.rint(_srgb_of(np.linspace(0, 1, LINEAR_STEPS)) * 255).astype(np.uint8)
