"""A scene as triangles that rays can be cast at: bodies put in their places, with materials.

The world is in metres, y up, the ground at y = 0. Face k belongs to `owner[k]`: 0 is what
surrounds the objects, 1, 2, ... are the objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float32, Float64, Uint8
from training.generator.shapes.parts import Paint
from training.scenes.bodies import Body

Vector = Sequence[float] | NDArray[np.floating]
PAINT_SCALE = 2.0  # the grammar's patterns are made for bodies of side 2
SURROUNDINGS = 0


class Materials(NamedTuple):
    """M materials, as arrays that compiled functions read.

    width, height (M,): of the texture, 0 for paint; start (M,): its first pixel in pixels (T, 3)
    uint8; tint (M, 3); gloss (M,): share of a mirror at normal incidence; colour, other (M, 3),
    pattern (M,), frequency (M,), axis (M, 3): the paint.
    """

    width: NDArray[np.int64]
    height: NDArray[np.int64]
    start: NDArray[np.int64]
    pixels: Uint8
    tint: Float64
    gloss: Float64
    colour: Float64
    other: Float64
    pattern: NDArray[np.int64]
    frequency: Float64
    axis: Float64


@dataclass(frozen=True, eq=False)
class Placed:
    """A body in the world: world = scale * rotation @ body + position; gloss and tint (3,) of its
    surface; paint in place of its own colours, one per material; owner as in `World`."""

    body: Body
    owner: int
    scale: float = 1.0
    rotation: Float64 | None = None
    position: Vector = (0.0, 0.0, 0.0)
    gloss: float = 0.0
    tint: Vector = (1.0, 1.0, 1.0)
    paint: Paint | None = None

    def points(self, corners: NDArray[np.floating]) -> Float32:
        """Body points (..., 3) in the world."""
        turned = corners if self.rotation is None else corners @ self.rotation.T
        return (self.scale * turned + np.asarray(self.position)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class World:
    """Faces F: corners in the world, local (body coordinates), normals (F, 3, 3) float32, uv (F,
    3, 2), material and owner (F,)."""

    corners: Float32
    local: Float32
    normals: Float32
    uv: Float32
    material: NDArray[np.int64]
    owner: NDArray[np.int64]
    materials: Materials

    def only(self, keep: Bool) -> World:
        """The faces (F,) that are kept."""
        names = ("corners", "local", "normals", "uv", "material", "owner")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    def with_object(self, number: int) -> World:
        """The surroundings and one object."""
        return self.only((self.owner == SURROUNDINGS) | (self.owner == number))


def assemble(placed: Sequence[Placed]) -> World:
    """The world of bodies in their places."""
    columns: list[tuple] = []
    faces: list[NDArray[np.int64]] = []
    textures: list[Uint8] = []
    first = 0
    for p in placed:
        rows = _materials_of(p, textures)
        columns += rows
        faces.append(first + np.minimum(p.body.material.astype(np.int64), len(rows) - 1))
        first += len(rows)
    normals = [
        p.body.normals if p.rotation is None else (p.body.normals @ p.rotation.T) for p in placed
    ]
    owner = np.repeat([p.owner for p in placed], [len(p.body.corners) for p in placed])
    return World(
        np.concatenate([p.points(p.body.corners) for p in placed]),
        np.concatenate([PAINT_SCALE * p.body.corners for p in placed]).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate([p.body.uv for p in placed]),
        np.concatenate(faces),
        owner.astype(np.int64),
        _packed(columns, textures),
    )


def _materials_of(placed: Placed, textures: list[Uint8]) -> list[tuple]:
    """A row (texture, tint, gloss, colour, other, pattern, frequency, axis) per material of a body;
    its textures are appended to `textures`."""
    paint = placed.paint or placed.body.paint
    tint = np.asarray(placed.tint, np.float64)
    if paint is not None:
        return [
            (-1, tint, placed.gloss, paint.colour[i], paint.other[i], paint.pattern[i],
             paint.frequency[i], paint.axis[i])
            for i in range(len(paint.pattern))
        ]  # fmt: skip
    nothing = np.zeros(3)
    rows = []
    for texture in placed.body.textures:
        rows.append((len(textures), tint, placed.gloss, nothing, nothing, 0, 0.0, nothing))
        textures.append(texture)
    return rows


def _packed(rows: list[tuple], textures: list[Uint8]) -> Materials:
    which, tint, gloss, colour, other, pattern, frequency, axis = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    heights = np.array([t.shape[0] for t in textures] + [0])
    widths = np.array([t.shape[1] for t in textures] + [0])
    starts = np.concatenate([[0], np.cumsum(heights * widths)[:-1]]) if textures else np.zeros(1)
    pixels = [np.ascontiguousarray(t[..., :3]).reshape(-1, 3) for t in textures]
    return Materials(
        widths[which].astype(np.int64),
        heights[which].astype(np.int64),
        starts[which].astype(np.int64),
        np.concatenate([*pixels, np.zeros((1, 3), np.uint8)]),
        tint.astype(np.float64),
        gloss.astype(np.float64),
        colour.astype(np.float64),
        other.astype(np.float64),
        pattern.astype(np.int64),
        frequency.astype(np.float64),
        axis.astype(np.float64),
    )


def rectangle(texture: Uint8, corner: Vector, along: Vector,
              across: Vector, tile: float) -> Body:  # fmt: skip
    """A textured parallelogram in the world; its texture repeats every `tile` metres."""
    origin, a, b = (np.asarray(v, np.float64) for v in (corner, along, across))
    points = np.array([origin, origin + a, origin + a + b, origin + b])
    length = np.linalg.norm(a) / tile, np.linalg.norm(b) / tile
    uv = np.array([[0, 0], [length[0], 0], length, [0, length[1]]], np.float32)
    return _sheet(texture, points, uv)


def framed_image(texture: Uint8, corner: Vector, along: Vector,
            across: Vector) -> Body:  # fmt: skip
    """A parallelogram that shows its texture once."""
    origin, a, b = (np.asarray(v, np.float64) for v in (corner, along, across))
    points = np.array([origin, origin + a, origin + a + b, origin + b])
    return _sheet(texture, points, np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32) * 0.999)


def _sheet(texture: Uint8, points: Float64, uv: Float32) -> Body:
    index = np.array([[0, 1, 2], [0, 2, 3]])
    corners = points[index].astype(np.float32)
    normal = np.cross(points[1] - points[0], points[3] - points[0])
    normals = np.broadcast_to(normal / np.linalg.norm(normal), (2, 3, 3)).astype(np.float32)
    return Body("sheet", "surroundings", corners, normals, uv[index], np.zeros(2, np.int32),
                (texture,))  # fmt: skip


def block(texture: Uint8, low: Vector, high: Vector, tile: float) -> Body:
    """A box with a texture on every side."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    w, h, d = x1 - x0, y1 - y0, z1 - z0
    sides = [
        rectangle(texture, (x0, y1, z1), (w, 0, 0), (0, 0, -d), tile),
        rectangle(texture, (x0, y0, z0), (w, 0, 0), (0, 0, d), tile),
        rectangle(texture, (x0, y0, z1), (w, 0, 0), (0, h, 0), tile),
        rectangle(texture, (x1, y0, z0), (-w, 0, 0), (0, h, 0), tile),
        rectangle(texture, (x0, y0, z0), (0, 0, d), (0, h, 0), tile),
        rectangle(texture, (x1, y0, z1), (0, 0, -d), (0, h, 0), tile),
    ]
    return Body(
        "block",
        "surroundings",
        np.concatenate([s.corners for s in sides]),
        np.concatenate([s.normals for s in sides]),
        np.concatenate([s.uv for s in sides]),
        np.zeros(12, np.int32),
        (texture,),
    )
