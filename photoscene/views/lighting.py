"""How light falls on meshes and on the ground: a small sky of our own, and a soft lamp in it.

The sky is grey, so that colours are those of the textures. Light is computed at vertices and on a
grid of the ground, once for all views. Directions are in a frame with x right, y down, z ahead of
the viewer of azimuth 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from scene.types import Float32, Float64

ZENITH, HORIZON, GROUND = 1.0, 0.75, 0.4  # radiance of the sky and of what lies below it
LAMP_FRACTION = 0.45  # of the light on open, level ground
LAMP_AZIMUTH_DEG, LAMP_ELEVATION_DEG = -40.0, 52.0  # from the left, behind the photo's camera
LAMP_RADIUS_DEG = 11.0  # large: soft edges of shadows
SKY_SAMPLES, LAMP_SAMPLES = 96, 24
FEWER_SKY_SAMPLES, FEWER_LAMP_SAMPLES = 32, 6  # for images too small to show the difference
EXPOSURE = 1.15  # of open, level ground: textures already have the photo's own shade
OFFSET = 2e-3  # of the objects' radius, by which a ray starts off its surface
GROUND_CELLS, GROUND_RADII = 120, 2.2  # the grid, and how far it reaches in radii of the objects


@dataclass(frozen=True, eq=False)
class Lamps:
    """Distant lamps: directions (K, 3) towards them, unit, and what each gives a surface that
    faces it, (K,)."""

    directions: Float64
    strength: Float64


@dataclass(frozen=True, eq=False)
class GroundShadow:
    """How much darker the ground is than open ground: darkness (G, G) in [0, 1] of the points
    centre + (i, j) of x and z, reach from the centre, at height y; all in the level frame."""

    darkness: Float32
    centre: Float64
    reach: float
    y: float

    def at(self, x: Float32, z: Float32) -> Float32:
        """(N,) darkness at places of the ground, bilinear; 0 beyond the grid."""
        cells = len(self.darkness) - 1
        column = ((x - np.float32(self.centre[0])) / np.float32(2 * self.reach) + 0.5) * cells
        row = ((z - np.float32(self.centre[1])) / np.float32(2 * self.reach) + 0.5) * cells
        inside = (column >= 0) & (row >= 0) & (column < cells) & (row < cells)
        out = np.zeros(len(x), np.float32)
        column, row = column[inside], row[inside]
        c, r = column.astype(np.int32), row.astype(np.int32)
        fc, fr = column - c, row - r
        near_row = self.darkness[r, c] * (1 - fc) + self.darkness[r, c + 1] * fc
        far_row = self.darkness[r + 1, c] * (1 - fc) + self.darkness[r + 1, c + 1] * fc
        out[inside] = near_row * (1 - fr) + far_row * fr
        return out


def sky_lamps(sky_samples: int = SKY_SAMPLES, lamp_samples: int = LAMP_SAMPLES) -> Lamps:
    """The sky as lamps spread evenly over the sphere, and the lamp as some within its disc; open
    level ground receives 1."""
    sky = _spiral(sky_samples, 1.0, -1.0)
    height = -sky[:, 1]
    radiance = np.where(height > 0, HORIZON + (ZENITH - HORIZON) * height, GROUND)
    sky_strength = radiance * (1 - LAMP_FRACTION) / (radiance * np.maximum(height, 0)).sum()
    disc = _spiral(lamp_samples, 1.0, math.cos(math.radians(LAMP_RADIUS_DEG)))
    lamp = disc @ _onto(_lamp_direction()).T
    lamp_strength = np.full(len(lamp), LAMP_FRACTION / -lamp[:, 1].sum())
    return Lamps(np.concatenate([sky, lamp]), np.concatenate([sky_strength, lamp_strength]))


def light_on(
    traced: Any, points: Float64, normals: Float64, lamps: Lamps, offset: float
) -> Float32:
    """(N,) light on surface points (N, 3) with unit normals (N, 3), 1 on open level ground.

    traced: the Embree scene of what gives shadow, in the frame of the points and lamps.
    """
    starts = (points + normals * offset).astype(np.float32)
    light = np.zeros(len(points))
    for direction, strength in zip(lamps.directions, lamps.strength, strict=True):
        facing = normals @ direction
        lit = np.flatnonzero(facing > 0)
        rays = np.broadcast_to(direction.astype(np.float32), (len(lit), 3))
        blocked = traced.run(starts[lit], np.ascontiguousarray(rays), query="OCCLUDED") >= 0
        light[lit] += np.where(blocked, 0.0, strength * facing[lit])
    return light.astype(np.float32)


def ground_shadow(traced: Any, points: Float64, y: float, lamps: Lamps) -> GroundShadow:
    """The shadow of objects with points (N, 3) on the plane at height y of the level frame."""
    low, high = points.min(0), points.max(0)
    centre = ((low + high) / 2)[[0, 2]]
    radius = float(np.linalg.norm(high - low)) / 2 or 1.0
    reach = GROUND_RADII * radius
    steps = np.linspace(-reach, reach, GROUND_CELLS)
    x, z = np.meshgrid(centre[0] + steps, centre[1] + steps)
    places = np.stack([x, np.full_like(x, y), z], -1).reshape(-1, 3)
    upward = np.broadcast_to([0.0, -1.0, 0.0], places.shape)
    light = light_on(traced, places, upward, lamps, OFFSET * radius)
    distance = np.hypot(x - centre[0], z - centre[1]) / reach
    fading = np.clip((1 - distance) / 0.4, 0, 1)  # to nothing at the rim, where the grid ends
    darkness = np.clip(1 - light.reshape(x.shape), 0, 1) * fading
    darkness = cv2.GaussianBlur(darkness, (0, 0), 1.0)  # the lamps are few
    return GroundShadow(darkness.astype(np.float32), centre, reach, y)


def _lamp_direction() -> Float64:
    azimuth, elevation = math.radians(LAMP_AZIMUTH_DEG), math.radians(LAMP_ELEVATION_DEG)
    level = math.cos(elevation)
    return np.array([math.sin(azimuth) * level, -math.sin(elevation), -math.cos(azimuth) * level])


def _spiral(count: int, top: float, bottom: float) -> Float64:
    """(count, 3) unit vectors spread evenly over the zone of a sphere between two heights about
    -y: a Fibonacci spiral."""
    number = np.arange(count) + 0.5
    height = top + (bottom - top) * number / count
    angle = np.pi * (1 + 5**0.5) * number
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(angle), -height, level * np.sin(angle)], 1)


def _onto(direction: Float64) -> Float64:
    """(3, 3) a rotation that takes -y to a direction (3,)."""
    side = np.cross(direction, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    return np.stack([side, -direction, np.cross(side, -direction)], 1)
