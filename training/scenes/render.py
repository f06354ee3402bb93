"""What does a camera see of a world? Rays with one bounce, and the exact depth and labels.

Colours are the albedo, averaged over samples, times the light, averaged and smoothed within
surfaces (the rays of a few samples are noisy), plus what glossy surfaces reflect. Depth, labels and
normals are those at pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scene.types import Bool, Float32, Float64, Uint8
from training.generator.shapes.fields import compiled
from training.generator.shapes.tracing import albedo_at
from training.scenes.sky import HEIGHT, WIDTH, Sky
from training.scenes.world import SURROUNDINGS, Materials, World

EPSILON = 1e-3  # metres by which secondary rays start off their surface
SMOOTHING = ((1, 2), (2, 2), (4, 2))  # step and radius of each pass over the light


@dataclass(frozen=True, eq=False)
class View:
    """A pinhole camera with a centred axis: its focal length in pixels, camera_from_world (3, 3)
    with OpenCV axes, and where it stands (3,)."""

    width: int
    height: int
    focal_px: float
    camera_from_world: Float64
    position: Float64

    @property
    def up(self) -> Float64:
        """(3,) the direction against gravity in the camera's frame."""
        return self.camera_from_world[:, 1].copy()

    def directions(self, jitter: Float64 | None = None) -> Float32:
        """(H*W, 3) rays in the world through the pixels' centres, with depth 1; jitter (H*W, 2):
        pixels off the centre."""
        y, x = np.mgrid[: self.height, : self.width].reshape(2, -1) + 0.5
        if jitter is not None:
            x, y = x + jitter[:, 0], y + jitter[:, 1]
        rays = np.stack(
            [(x - self.width / 2) / self.focal_px, (y - self.height / 2) / self.focal_px,
             np.ones_like(x)], -1,
        )  # fmt: skip
        return np.ascontiguousarray(rays @ self.camera_from_world, np.float32)


@dataclass(frozen=True, eq=False)
class Lighting:
    """A lamp (position (3,), radius in metres, power (3,) as the radiance of a white surface that
    faces it a metre away), a sky (its strength and its turn about the vertical), and what comes
    from everywhere (3,)."""

    lamp: Float64
    lamp_radius: float
    lamp_power: Float64
    sky: Sky
    sky_strength: float
    sky_yaw_rad: float
    ambient: Float64


@dataclass(frozen=True, eq=False)
class Render:
    """rgb (H, W, 3) uint8 sRGB; depth (H, W) float32, inf where nothing is hit; labels (H, W)
    uint8, the owner of the pixel's centre; normals (H, W, 3) float32, camera frame, 0 where
    nothing is hit."""

    rgb: Uint8
    depth: Float32
    labels: Uint8
    normals: Float32


class Caster:
    """Casts rays at a world's triangles."""

    def __init__(self, world: World) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(world.corners, np.float32))

    def hits(self, origins: Float32, directions: Float32) -> dict:
        """primID (-1 for none), u, v and tfar of each ray."""
        return self._scene.run(origins, directions, output=1)

    def blocked(self, origins: Float32, directions: Float32) -> Bool:
        """Whether something lies between the origin and the origin plus the direction."""
        found = self._scene.run(
            origins, directions, dists=np.ones(len(origins), np.float32), query="OCCLUDED"
        )
        return np.asarray(found) != -1


def render(world: World, view: View, lighting: Lighting, samples: int, seed: int) -> Render:
    """The picture and what is known of it; `samples` rays per pixel."""
    generator = np.random.default_rng(seed)
    caster = Caster(world)
    count = view.width * view.height
    albedo, light, extra = (np.zeros((count, 3), np.float32) for _ in range(3))
    hit, parts = _sampled(world, caster, view, lighting, None, generator)
    shape = (view.height, view.width)
    there = hit["primID"] >= 0
    depth = np.where(there, hit["tfar"], np.inf).reshape(shape)
    owner = np.where(there, world.owner[hit["primID"]], SURROUNDINGS).reshape(shape)
    normals = (parts[3] @ view.camera_from_world.T.astype(np.float32)).reshape(*shape, 3)
    for sample in range(samples):
        if sample:
            jitter = generator.uniform(-0.5, 0.5, (count, 2))
            _, parts = _sampled(world, caster, view, lighting, jitter, generator)
        albedo += parts[0] / samples
        light += parts[1] / samples
        extra += parts[2] / samples
    light = light.reshape(*shape, 3)
    for step, radius in SMOOTHING:
        light = _smoothed(light, depth.astype(np.float32), normals, owner, step, radius)
    linear = albedo.reshape(*shape, 3) * light + extra.reshape(*shape, 3)
    rgb = developed(linear, generator)
    return Render(rgb, depth.astype(np.float32), owner.astype(np.uint8), normals)


def hidden_mask(world: World, view: View, number: int) -> Bool:
    """(H, W): the pixels that an object would cover if nothing stood before it."""
    caster = Caster(world.only(world.owner == number))
    directions = view.directions()
    origins = np.broadcast_to(view.position.astype(np.float32), directions.shape)
    hit = caster.hits(np.ascontiguousarray(origins), directions)
    return (hit["primID"] >= 0).reshape(view.height, view.width)


def developed(linear: Float32, generator: np.random.Generator) -> Uint8:
    """A photo of linear colours: exposed for the middle, a soft shoulder, sRGB, and noise."""
    level = linear.mean(-1)
    exposure = min(
        generator.uniform(0.1, 0.3) / max(float(np.median(level)), 1e-4),
        0.95 / max(float(np.percentile(level, 97)), 1e-4),
    )
    balance = 1 + generator.normal(0, 0.05, 3)
    x = np.maximum(linear * exposure * balance, 0)
    x = np.where(x < 0.7, x, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)))
    srgb = np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-8) ** (1 / 2.4) - 0.055)
    noise = generator.normal(0, generator.uniform(0, 0.012), linear.shape)
    return (255 * np.clip(srgb + noise, 0, 1) + 0.5).astype(np.uint8)


def _sampled(
    world: World,
    caster: Caster,
    view: View,
    lighting: Lighting,
    jitter: Float64 | None,
    generator: np.random.Generator,
) -> tuple[dict, tuple[Float32, Float32, Float32, Float32]]:
    """One ray per pixel: albedo, light, what is added to their product, and normals (H*W, 3)."""
    directions = view.directions(jitter)
    origins = np.ascontiguousarray(
        np.broadcast_to(view.position.astype(np.float32), directions.shape)
    )
    hit = caster.hits(origins, directions)
    count = len(directions)
    found = np.nonzero(hit["primID"] >= 0)[0]
    missed = np.nonzero(hit["primID"] < 0)[0]
    albedo, light, extra, normals = (np.zeros((count, 3), np.float32) for _ in range(4))
    sky = (lighting.sky.radiance, lighting.sky_strength, lighting.sky_yaw_rad)
    extra[missed] = _sky_radiance(directions[missed], *sky)
    prim, toward = hit["primID"][found], directions[found]
    colour, normal, gloss = _surfaces(
        prim, hit["u"][found], hit["v"][found], toward, *_arrays(world)
    )
    point = origins[found] + hit["tfar"][found, None] * toward + EPSILON * normal
    albedo[found], normals[found] = colour, normal
    lamp = lighting.lamp + lighting.lamp_radius * _in_sphere(generator, len(found))
    to_lamp = (lamp - point).astype(np.float32)
    direct = _lamp_light(to_lamp, normal, lighting)
    direct[caster.blocked(point, to_lamp)] = 0
    bounced = _about_normals(normal, generator)
    light[found] = direct + _arriving(world, caster, point, bounced, lighting)
    shiny = np.nonzero(gloss > 0)[0]
    if len(shiny):
        rays, n = toward[shiny], normal[shiny]
        rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        cosine = np.clip(-(rays * n).sum(1), 0, 1)
        mirror = rays + 2 * cosine[:, None] * n
        share = gloss[shiny] + (1 - gloss[shiny]) * (1 - cosine) ** 5 * 0.7
        seen = _arriving(world, caster, point[shiny], mirror.astype(np.float32), lighting)
        extra[found[shiny]] += share[:, None] * seen
        albedo[found[shiny]] *= (1 - share)[:, None]
    return hit, (albedo, light, extra, normals)


def _arriving(
    world: World, caster: Caster, points: Float32, directions: Float32, lighting: Lighting
) -> Float32:
    """(N, 3) radiance that comes to points from directions; what lies there is lit by the lamp
    without shadows and by the ambient light."""
    hit = caster.hits(points, directions)
    found, missed = hit["primID"] >= 0, hit["primID"] < 0
    out = np.zeros((len(points), 3), np.float32)
    sky = (lighting.sky.radiance, lighting.sky_strength, lighting.sky_yaw_rad)
    out[missed] = _sky_radiance(directions[missed], *sky)
    colour, normal, _ = _surfaces(
        hit["primID"][found], hit["u"][found], hit["v"][found], directions[found], *_arrays(world)
    )
    there = points[found] + hit["tfar"][found, None] * directions[found]
    lamp = _lamp_light((lighting.lamp - there).astype(np.float32), normal, lighting)
    out[found] = colour * (0.7 * lamp + lighting.ambient)
    return out


def _arrays(world: World) -> tuple:
    return world.local, world.normals, world.uv, world.material, world.materials


def _lamp_light(to_lamp: Float32, normals: Float32, lighting: Lighting) -> Float32:
    """(N, 3) radiance of a white surface under the lamp."""
    square = np.maximum((to_lamp**2).sum(1), 0.01)
    cosine = np.maximum((to_lamp * normals).sum(1), 0) / np.sqrt(square)
    return ((cosine / square)[:, None] * lighting.lamp_power).astype(np.float32)


def _in_sphere(generator: np.random.Generator, count: int) -> Float32:
    points = generator.standard_normal((count, 3), np.float32)
    points *= generator.random((count, 1), np.float32) ** (1 / 3) / _lengths(points)
    return points


def _about_normals(normals: Float32, generator: np.random.Generator) -> Float32:
    """(N, 3) unit directions about normals, as many as the cosine says."""
    points = generator.standard_normal(normals.shape, np.float32)
    mixed = (normals + 0.999 * points / _lengths(points)).astype(np.float32)
    return np.asarray(mixed / _lengths(mixed), np.float32)


def _lengths(vectors: Float32) -> Float32:
    return np.sqrt((vectors * vectors).sum(1, keepdims=True))


@compiled
def _sky_radiance(directions, radiance, strength, yaw_rad):
    """(N, 3) of an environment map in directions (N, 3)."""
    out = np.zeros((len(directions), 3), np.float32)
    for i in range(len(directions)):
        x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
        across = (math.atan2(x, z) + yaw_rad) / (2 * math.pi) + 0.5
        down = math.acos(min(max(y / math.sqrt(x * x + y * y + z * z), -1.0), 1.0)) / math.pi
        column = across * WIDTH - 0.5
        row = min(max(down * HEIGHT - 0.5, 0.0), HEIGHT - 1.001)
        r, c = int(row), int(math.floor(column))
        fr, fc = row - r, column - c
        for k in range(3):
            top = radiance[r, c % WIDTH, k] * (1 - fc) + radiance[r, (c + 1) % WIDTH, k] * fc
            low = radiance[r + 1, c % WIDTH, k] * (1 - fc)
            low += radiance[r + 1, (c + 1) % WIDTH, k] * fc
            out[i, k] = strength * (top * (1 - fr) + low * fr)
    return out


@compiled
def _surfaces(prim, u, v, toward, local, normals, uv, material, materials: Materials):
    """Linear albedo (N, 3), normals toward the viewer (N, 3) and gloss (N,) where rays hit."""
    count = len(prim)
    colour = np.zeros((count, 3), np.float32)
    normal = np.zeros((count, 3), np.float32)
    gloss = np.zeros(count, np.float32)
    for i in range(count):
        f = prim[i]
        b, c = u[i], v[i]
        a = 1 - b - c
        m = material[f]
        gloss[i] = materials.gloss[m]
        length, ahead = 1e-12, 0.0
        for k in range(3):
            n = a * normals[f, 0, k] + b * normals[f, 1, k] + c * normals[f, 2, k]
            normal[i, k] = n
            length += n * n
            ahead += n * toward[i, k]
        scale = (-1.0 if ahead > 0 else 1.0) / math.sqrt(length)
        for k in range(3):
            normal[i, k] *= scale
        if materials.width[m] > 0:
            w, h = materials.width[m], materials.height[m]
            x = (a * uv[f, 0, 0] + b * uv[f, 1, 0] + c * uv[f, 2, 0]) * w
            y = (a * uv[f, 0, 1] + b * uv[f, 1, 1] + c * uv[f, 2, 1]) * h
            pixel = materials.start[m] + (int(math.floor(y)) % h) * w + int(math.floor(x)) % w
            for k in range(3):
                colour[i, k] = (materials.pixels[pixel, k] / 255.0) ** 2.2
        else:
            x = a * local[f, 0, 0] + b * local[f, 1, 0] + c * local[f, 2, 0]
            y = a * local[f, 0, 1] + b * local[f, 1, 1] + c * local[f, 2, 1]
            z = a * local[f, 0, 2] + b * local[f, 1, 2] + c * local[f, 2, 2]
            for k in range(3):
                colour[i, k] = max(albedo_at(m, x, y, z, materials, k), 0.0) ** 2.2
        for k in range(3):
            colour[i, k] = 0.9 * min(colour[i, k] * materials.tint[m, k], 1.0)
    return colour, normal, gloss


@compiled
def _smoothed(light, depth, normals, owner, step, radius):
    """Light (H, W, 3) averaged with that of pixels on the same smooth surface."""
    height, width = depth.shape
    out = np.zeros_like(light)
    for row in range(height):
        for column in range(width):
            total, weights = np.zeros(3), 1e-9
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    r, c = row + dy * step, column + dx * step
                    if r < 0 or r >= height or c < 0 or c >= width:
                        continue
                    if owner[r, c] != owner[row, column]:
                        continue
                    if abs(depth[r, c] - depth[row, column]) > 0.04 * depth[row, column]:
                        continue
                    alike = 0.0
                    for k in range(3):
                        alike += normals[r, c, k] * normals[row, column, k]
                    if alike < 0.85:
                        continue
                    w = math.exp(-0.5 * (dx * dx + dy * dy) / (radius * radius * 0.5))
                    weights += w
                    for k in range(3):
                        total[k] += w * light[r, c, k]
            for k in range(3):
                out[row, column, k] = total[k] / weights
    return out
