"""Where do the objects of a scene stand? Side by side, and sometimes on one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from scene.types import Float64, Uint8
from training.generator.shapes.parts import BOX, Builder, Paint, about_x, about_y, about_z
from training.scenes.bodies import Body
from training.scenes.library import SIZES_M
from training.scenes.world import Placed

GRID = 96  # cells along the side of the raster of footprints
CLEARANCE_M = 1e-4  # by which bodies float, so that no face lies in another
FLAT_TOPS = ("carton", "boxes", "table", "cabinet", "tin", "appliance", "furniture/household")


@dataclass(frozen=True, eq=False)
class Standing:
    """A placed object: its footprint's centre (x, z), reach (m) and the height of its top."""

    placed: Placed
    centre: tuple[float, float]
    reach: float
    bottom: float
    top: float


def chance(generator: np.random.Generator, probability: float) -> bool:
    """Whether a coin of that probability falls right."""
    return bool(generator.random() < probability)


def place_bodies(
    generator: np.random.Generator,
    bodies: Sequence[tuple[Body, float]],
    room_m: float,
    gap_m: float = 0.004,
) -> list[Standing]:
    """Bodies, each with the length of its longest side (m), side by side on a floor that reaches
    room_m to all sides: their footprints do not overlap; some stand on others."""
    taken = np.zeros((GRID, GRID), np.uint8)
    cell = 2 * room_m / GRID
    standing: list[Standing] = []
    for body, length in bodies:
        rotation = _resting(generator, body)
        points = length * (body.corners.reshape(-1, 3) @ rotation.T)
        if len(points) > 6000:
            points = points[:: len(points) // 3000]
        low, high = points.min(0), points.max(0)
        foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        points = points - foot
        hull = cv2.convexHull(np.ascontiguousarray(points[:, [0, 2]], np.float32))[:, 0]
        place = _free_place(generator, hull, taken, cell, standing, gap_m)
        if place is None:
            continue
        x, z, carrier = place
        bottom = 0.0 if carrier is None else carrier.top
        position = np.array([x, bottom + CLEARANCE_M, z]) - foot
        placed = Placed(
            body, len(standing) + 1, length, rotation, position,
            gloss=generator.uniform(0.02, 0.12) if chance(generator, 0.35) else 0.0,
            tint=generator.uniform(0.75, 1.1, 3) if chance(generator, 0.4) else (1, 1, 1),
            paint=_paint(generator, body),
        )  # fmt: skip
        reach = float(np.linalg.norm(hull, axis=1).max())
        top = bottom + float(high[1] - low[1])
        standing.append(Standing(placed, (x, z), reach, bottom, top))
        if carrier is None:
            outline = np.rint((hull * (1 + gap_m / reach) + [x, z]) / cell + GRID / 2)
            cv2.fillConvexPoly(taken, outline.astype(np.int32), 1)
    return standing


def _free_place(
    generator: np.random.Generator,
    hull: np.ndarray,
    taken: Uint8,
    cell: float,
    standing: list[Standing],
    gap_m: float,
) -> tuple[float, float, Standing | None] | None:
    """Where a footprint (N, 2) fits: x, z and what carries it (None for the ground)."""
    reach = float(np.linalg.norm(hull, axis=1).max())
    if standing and chance(generator, 0.15):
        below = standing[int(generator.integers(len(standing)))]
        if below.placed.body.kind in FLAT_TOPS and below.reach > 1.1 * reach:
            slack = below.reach * 0.6 - reach * 0.6
            x, z = np.asarray(below.centre) + generator.uniform(-1, 1, 2) * slack * 0.5
            return float(x), float(z), below
    for _ in range(40):
        if not standing:
            x, z = generator.uniform(-0.3, 0.3, 2) * cell * GRID / 2
        else:
            beside = standing[int(generator.integers(len(standing)))]
            angle = generator.uniform(0, 2 * math.pi)
            away = (beside.reach + reach) * generator.uniform(0.6, 1.3) + gap_m
            x = beside.centre[0] + away * math.cos(angle)
            z = beside.centre[1] + away * math.sin(angle)
        outline = np.rint((hull * (1 + gap_m / reach) + [x, z]) / cell + GRID / 2)
        if outline.min() < 0 or outline.max() >= GRID:
            continue
        here = np.zeros_like(taken)
        cv2.fillConvexPoly(here, outline.astype(np.int32), 1)
        if not (here & taken).any():
            return float(x), float(z), None
    return None


def _resting(generator: np.random.Generator, body: Body) -> Float64:
    """Upright, turned about the vertical; things of a table sometimes lie on another side."""
    yaw = about_y(generator.uniform(-math.pi, math.pi))
    if body.kind in SIZES_M or not chance(generator, 0.15):
        return yaw
    sides = (
        about_x(math.pi / 2),
        about_x(-math.pi / 2),
        about_z(math.pi / 2),
        about_x(math.pi),
    )
    return yaw @ sides[int(generator.integers(len(sides)))]


def _paint(generator: np.random.Generator, body: Body) -> Paint | None:
    """Mostly the body's own colours, sometimes new ones."""
    if not chance(generator, 0.5 if body.paint is not None else 0.2):
        return None
    builder = Builder(generator)
    count = len(body.paint.pattern) if body.paint is not None else len(body.textures)
    for i in range(max(count, 1)):
        builder.add(BOX, [1, 1, 1], colour=i)
    return builder.finish()[1]
