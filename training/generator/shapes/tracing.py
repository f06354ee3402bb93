"""What does a camera see of a procedural object, and what lies behind it? Compiled by numba.

Everything happens in the object cube of `scene.types.ObjectMesh`: x right, y down, z forward, the
camera at (0, 0, -distance); the ray of a pixel passes (u, v, 0), u and v in [-0.5, 0.5]. Along a
ray the depth z itself is the parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Uint8
from training.generator.shapes.fields import compiled, signed_distance
from training.generator.shapes.parts import Paint, Solid

RAY_START, RAY_END = -0.8, 0.8  # depths between which a ray is followed
HIT = 8e-4  # closer than this to the surface is on it
CAREFUL = 0.8  # smooth unions and superquadrics overstate distances a little
MIN_STEP = 4e-3  # on the way through a wall
MIN_GAP = 0.02  # thinner gaps between two walls are not learned
MAX_STEPS = 80


class View(NamedTuple):
    """Where the object is: cube = scale * (rotation @ object - centre); distance of the camera."""

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: float
    distance: float


class Light(NamedTuple):
    """direction (3,), object frame, unit; sky, ground (3,): ambient light from above and below;
    diffuse, specular: strengths; shadows; gamma of the picture."""

    direction: NDArray[np.float64]
    sky: NDArray[np.float64]
    ground: NDArray[np.float64]
    diffuse: float
    specular: float
    shadows: bool
    gamma: float


Scene = tuple[Solid, Paint, View, Light]
TracedImage = tuple[Uint8, Float32, Uint8, Uint8]  # what `trace` returns


@compiled
def _to_object(x, y, z, view):
    a, b, c = (x / view.scale + view.centre[0], y / view.scale + view.centre[1],
               z / view.scale + view.centre[2])  # fmt: skip
    r = view.rotation
    return (r[0, 0] * a + r[1, 0] * b + r[2, 0] * c, r[0, 1] * a + r[1, 1] * b + r[2, 1] * c,
            r[0, 2] * a + r[1, 2] * b + r[2, 2] * c)  # fmt: skip


@compiled
def _distance_at(u, v, z, solid, view):
    """Signed distance, in cube units, at depth z on the ray of (u, v)."""
    k = (view.distance + z) / view.distance
    x, y, w = _to_object(u * k, v * k, z, view)
    return signed_distance(x, y, w, solid)[0] * view.scale


@compiled
def _first_hit(u, v, start, end, solid, view):
    """Depth where a ray that starts outside meets the surface, or a value beyond `end`."""
    forward = 1.0 if end > start else -1.0
    slant = view.distance / math.sqrt(u * u + v * v + view.distance * view.distance)
    z = start
    for _ in range(MAX_STEPS):
        distance = _distance_at(u, v, z, solid, view)
        if distance < HIT:
            return z
        z += forward * distance * CAREFUL * slant
        if (z - end) * forward > 0:
            break
    return end + forward


@compiled
def _largest_gap(u, v, front, back, solid, view):
    """The longest empty stretch (near, far) between first and last surface; (0, 0) for none."""
    slant = view.distance / math.sqrt(u * u + v * v + view.distance * view.distance)
    z, entered, best_near, best_far = front + 2 * MIN_STEP, -9.0, 0.0, 0.0
    while z < back:
        distance = _distance_at(u, v, z, solid, view)
        if distance > HIT and entered < -8:
            entered = z
        elif distance <= HIT and entered > -8:
            if z - entered > max(best_far - best_near, MIN_GAP):
                best_near, best_far = entered, z
            entered = -9.0
        z += max(abs(distance) * CAREFUL * slant, MIN_STEP)
    if entered > -8 and back - entered > max(best_far - best_near, MIN_GAP):
        best_near, best_far = entered, back
    return best_near, best_far


@compiled
def albedo_at(part, x, y, z, paint, channel):
    """One channel of the paint of a part at a point of the object frame."""
    kind, f, share = paint.pattern[part], paint.frequency[part], 0.0
    if kind == 1:
        axis = paint.axis[part]
        share = 1.0 if math.sin(f * (axis[0] * x + axis[1] * y + axis[2] * z)) > 0 else 0.0
    elif kind == 2:
        share = 1.0 if math.sin(f * x) * math.sin(f * y) * math.sin(f * z) > 0 else 0.0
    elif kind == 3:
        waves = math.sin(f * x + 2 * math.sin(f * 0.7 * y + 1))
        share = 0.5 + 0.25 * (waves + math.sin(f * z + 2 * math.sin(f * 0.6 * x + 3)))
    elif kind == 4:
        share = min(max(y * 0.5 + 0.5, 0.0), 1.0)
    one = paint.colour[part, channel]
    return one + (paint.other[part, channel] - one) * share


@compiled
def _normal(x, y, z, step, solid):
    d1 = signed_distance(x + step, y - step, z - step, solid)[0]
    d2 = signed_distance(x - step, y - step, z + step, solid)[0]
    d3 = signed_distance(x - step, y + step, z - step, solid)[0]
    d4 = signed_distance(x + step, y + step, z + step, solid)[0]
    nx, ny, nz = d1 - d2 - d3 + d4, -d1 - d2 + d3 + d4, -d1 + d2 - d3 + d4
    length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    return nx / length, ny / length, nz / length


@compiled
def _shadow(x, y, z, scale, solid, light):
    """1 in the light, 0.15 in a cast shadow."""
    along = 0.05 / scale
    for _ in range(24):
        distance = signed_distance(
            x + light.direction[0] * along, y + light.direction[1] * along,
            z + light.direction[2] * along, solid,
        )[0]  # fmt: skip
        if distance < 0.002 / scale:
            return 0.15
        along += max(distance, 0.02 / scale)
        if along > 1.5 / scale:
            break
    return 1.0


@compiled
def _shade(u, v, z, solid, paint, view, light, lit_directly, out):
    """Write the colour (3,) of the surface at depth z; what is not seen gets no lamp of its own."""
    k = (view.distance + z) / view.distance
    x, y, w = _to_object(u * k, v * k, z, view)
    part = signed_distance(x, y, w, solid)[1]
    s = view.scale
    nx, ny, nz = _normal(x, y, w, 2e-3 / s, solid)
    a1 = signed_distance(x + nx * 0.05 / s, y + ny * 0.05 / s, w + nz * 0.05 / s, solid)[0] * s
    a2 = signed_distance(x + nx * 0.15 / s, y + ny * 0.15 / s, w + nz * 0.15 / s, solid)[0] * s
    open_share = min(max(0.35 + 0.35 * a1 / 0.05 + 0.3 * a2 / 0.15, 0.3), 1.0)
    lamp = max(nx * light.direction[0] + ny * light.direction[1] + nz * light.direction[2], 0.0)
    shine = 0.0
    if not lit_directly:
        lamp = 0.25 + 0.25 * lamp  # how its lamp stands to the back cannot be known
    elif lamp > 0:
        if light.shadows:
            lamp *= _shadow(
                x + nx * 0.02 / s, y + ny * 0.02 / s, w + nz * 0.02 / s, s, solid, light
            )
        shine = light.specular * _highlight(u, v, nx, ny, nz, view, light)
    up = 0.5 + 0.5 * ny
    for c in range(3):
        ambient = open_share * (light.ground[c] + (light.sky[c] - light.ground[c]) * up)
        level = albedo_at(part, x, y, w, paint, c) * (ambient + light.diffuse * lamp) + shine
        out[c] = int(255 * min(max(level, 0.0), 1.0) ** light.gamma)


@compiled
def _highlight(u, v, nx, ny, nz, view, light):
    """Blinn's lobe; the direction to the viewer is that of the ray, turned into the object
    frame."""
    length = math.sqrt(u * u + v * v + view.distance * view.distance)
    a, b, c = -u / length, -v / length, -view.distance / length
    r = view.rotation
    hx = r[0, 0] * a + r[1, 0] * b + r[2, 0] * c + light.direction[0]
    hy = r[0, 1] * a + r[1, 1] * b + r[2, 1] * c + light.direction[1]
    hz = r[0, 2] * a + r[1, 2] * b + r[2, 2] * c + light.direction[2]
    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
    return max((nx * hx + ny * hy + nz * hz) / length, 0.0) ** 32


@compiled
def trace_pixel(
    row: int, column: int, size: int, solid: Solid, paint: Paint, view: View, light: Light,
    rgb: Uint8, layers: Float32, back_rgb: Uint8, inner_rgb: Uint8,
) -> None:  # fmt: skip
    """Write what `trace` returns, at one pixel; where the ray misses nothing is written."""
    u, v = (column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5
    front = _first_hit(u, v, RAY_START, RAY_END, solid, view)
    if front > RAY_END:
        return
    back = max(_first_hit(u, v, RAY_END, RAY_START, solid, view), front)
    near, far = _largest_gap(u, v, front, back, solid, view)
    layers[row, column, 0], layers[row, column, 3] = front, back
    layers[row, column, 1], layers[row, column, 2] = near, far
    _shade(u, v, front, solid, paint, view, light, True, rgb[row, column])
    _shade(u, v, back, solid, paint, view, light, False, back_rgb[row, column])
    if far > near:
        _shade(u, v, far, solid, paint, view, light, False, inner_rgb[row, column])


@compiled
def trace(
    size: int, solid: Solid, paint: Paint, view: View, light: Light
) -> tuple[Uint8, Float32, Uint8, Uint8]:
    """Picture and layers of one object.

    Returns rgb (S, S, 3) uint8 (0 outside), layers (S, S, 4) float32: depths of the first surface,
    of the largest gap's near and far end (0, 0 for no gap) and of the last surface, NaN outside;
    back, inner (S, S, 3) uint8: colours of the last surface and of the gap's far end.
    """
    rgb = np.zeros((size, size, 3), np.uint8)
    back_rgb = np.zeros((size, size, 3), np.uint8)
    inner_rgb = np.zeros((size, size, 3), np.uint8)
    layers = np.full((size, size, 4), np.float32(np.nan))
    for row in range(size):
        for column in range(size):
            trace_pixel(
                row, column, size, solid, paint, view, light, rgb, layers, back_rgb, inner_rgb
            )
    return rgb, layers, back_rgb, inner_rgb


def trace_each(size: int, scenes: Sequence[Scene]) -> list[TracedImage]:
    """The pictures and layers of objects, one after the other."""
    return [trace(size, *scene) for scene in scenes]


@compiled
def inside_points(
    count: int, reach: float, solid: Solid, rotation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 3) nodes of a count^3 grid over [-reach, reach]^3 that lie inside, turned by rotation."""
    out = np.zeros((count**3, 3))
    found = 0
    for i in range(count):
        x = -reach + 2 * reach * i / (count - 1)
        for j in range(count):
            y = -reach + 2 * reach * j / (count - 1)
            for k in range(count):
                z = -reach + 2 * reach * k / (count - 1)
                if signed_distance(x, y, z, solid)[0] < reach / count:
                    for a in range(3):
                        r = rotation[a]
                        out[found, a] = r[0] * x + r[1] * y + r[2] * z
                    found += 1
    return out[:found]


@compiled
def occupied(size: int, solid: Solid, view: View) -> Bool:
    """(S, S, S) bool: slices (z from -0.5, rows, columns) of the frustum's cells that are
    inside."""
    out = np.zeros((size, size, size), np.bool_)
    for k in range(size):
        for row in range(size):
            for column in range(size):
                u, v = (column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5
                out[k, row, column] = _distance_at(u, v, (k + 0.5) / size - 0.5, solid, view) < 0
    return out
