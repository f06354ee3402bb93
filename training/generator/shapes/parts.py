"""What is a procedural object made of? Parts with a place, a size, a role and paint."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOX, CYLINDER, CONE, TORUS, CAPSULE, SUPERQUADRIC, LATHE, ROOF = range(8)
UNION, CUT = 0, 1
PROFILE_KNOTS = 16
PLAIN, STRIPES, CHECKS, MARBLE, FADE = range(5)
REACH_SLACK = 1.02  # bounding spheres are a little larger than the parts


class Solid(NamedTuple):
    """P parts as arrays, object frame, y up.

    kind, operation (P,) int64; size (P, 4): what the kind's signed distance says; reach (P,):
    radius of a bounding sphere; part_from_object (P, 3, 3) rotations; centre (P, 3); profile (P,
    16): radii of a lathe from bottom to top; blend (P,): width of a smooth union, 0 for a sharp
    one.
    """

    kind: NDArray[np.int64]
    operation: NDArray[np.int64]
    size: Floats
    reach: Floats
    part_from_object: Floats
    centre: Floats
    profile: Floats
    blend: Floats


class Paint(NamedTuple):
    """The parts' colours: two per part (P, 3) in [0, 1], pattern (P,), frequency (P,), axis (P,
    3)."""

    colour: Floats
    other: Floats
    pattern: NDArray[np.int64]
    frequency: Floats
    axis: Floats


def about_x(angle_rad: float) -> Floats:
    """(3, 3) rotation about x."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle_rad: float) -> Floats:
    """(3, 3) rotation about y."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle_rad: float) -> Floats:
    """(3, 3) rotation about z."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def any_rotation(generator: np.random.Generator) -> Floats:
    """(3, 3) uniformly random rotation, from a random unit quaternion."""
    w, x, y, z = (q := generator.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_of_y_to(direction: Floats) -> Floats:
    """(3, 3) rotation that turns the y axis into a unit direction (3,)."""
    axis = np.cross([0.0, 1.0, 0.0], direction)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-5:
        return np.eye(3)
    x, y, z = axis / sine
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + sine * cross + (1 - direction[1]) * cross @ cross


def knots(heights: Sequence[float], radii: Sequence[float]) -> Floats:
    """(16,) radii of a lathe by linear interpolation; heights in [0, 1] from the bottom."""
    return np.interp(np.linspace(0, 1, PROFILE_KNOTS), heights, radii)


class Builder:
    """Collects the parts of one object; all chances come from its generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.palette = [self.any_colour() for _ in range(3)]
        self.patterned = generator.random() < 0.5
        self._parts: list[tuple] = []

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.generator.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Whether a coin of that probability falls right."""
        return bool(self.generator.random() < probability)

    def count(self, low: int, high: int) -> int:
        """A uniform whole number, both ends included."""
        return int(self.generator.integers(low, high + 1))

    def any_colour(self) -> Floats:
        """(3,): mostly coloured, sometimes grey."""
        g = self.generator
        if g.random() < 0.3:
            return np.clip(g.uniform(0.08, 0.95) + g.normal(0, 0.03, 3), 0.03, 0.98)
        return np.array(
            colorsys.hsv_to_rgb(g.random(), g.uniform(0.15, 0.95), g.uniform(0.2, 0.98))
        )

    def add(
        self,
        kind: int,
        size: Sequence[float],
        centre: Sequence[float] | Floats = (0.0, 0.0, 0.0),
        rotation: Floats | None = None,
        *,
        cut: bool = False,
        blend: float = 0.0,
        colour: int = 0,
        profile: Floats | None = None,
        plain: bool = False,
    ) -> None:
        """One more part; rotation is object_from_part, colour an index of the palette."""
        sizes = np.zeros(4)
        sizes[: len(size)] = size
        radii = np.zeros(PROFILE_KNOTS) if profile is None else profile
        object_from_part = np.eye(3) if rotation is None else rotation
        tint = np.clip(self.palette[colour % 3] + self.generator.normal(0, 0.03, 3), 0, 1)
        self._parts.append(
            (kind, CUT if cut else UNION, sizes, _reach(kind, sizes, radii), object_from_part.T,
             np.asarray(centre, np.float64), radii, blend, tint, self.any_colour(),
             *self._pattern(plain))
        )  # fmt: skip

    def _pattern(self, plain: bool) -> tuple[int, float, Floats]:
        if plain or not self.patterned or not self.chance(0.6):
            return PLAIN, 0.0, np.zeros(3)
        axis = self.generator.normal(size=3)
        return self.count(STRIPES, FADE), self.between(6, 26), axis / np.linalg.norm(axis)

    def finish(self) -> tuple[Solid, Paint]:
        """The arrays of all parts."""
        columns: list[Any] = [np.array(column) for column in zip(*self._parts, strict=True)]
        whole = (0, 1, 10)  # kind, operation and pattern are numbers of things
        kinds = [np.int64 if i in whole else np.float64 for i in range(len(columns))]
        columns = [c.astype(kind) for c, kind in zip(columns, kinds, strict=True)]
        return Solid(*columns[:8]), Paint(*columns[8:])


def _reach(kind: int, size: Floats, profile: Floats) -> float:
    """Radius of a sphere about the part's centre that holds it."""
    a, b, c, exponent = size
    if kind == CYLINDER:
        radius = math.hypot(a, b)
    elif kind == CONE:
        radius = math.hypot(max(a, b), c)
    elif kind == TORUS:
        radius = a + b + c
    elif kind == CAPSULE:
        radius = a + b
    elif kind == SUPERQUADRIC and exponent == 2.0:
        radius = max(a, b, c)
    elif kind == LATHE:
        radius = math.hypot(float(profile.max()), c)
    else:
        radius = math.sqrt(a * a + b * b + c * c) * (1.01 if kind == ROOF else 1.0)
    return radius * REACH_SLACK
