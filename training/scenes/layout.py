"""Which scene comes out of a seed? Table tops, rooms and streets, the camera and the light.

The share of each kind, the camera's height, pitch, roll and field of view are those of photos that
people take of things, wider than they are: from straight down to eye level, wide to tele.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scene.types import Float64, Uint8
from training.scenes.bodies import Body
from training.scenes.footprints import Standing, place_bodies
from training.scenes.library import ROOM, SIZES_M, STREET, TABLE_SIZE_M, TOYS, Library
from training.scenes.render import Lighting, View
from training.scenes.sky import glimpse
from training.scenes.world import (
    SURROUNDINGS,
    Placed,
    Vector,
    World,
    assemble,
    block,
    framed_image,
    rectangle,
)

KINDS = {"table": 0.56, "above": 0.14, "room": 0.2, "street": 0.1}
# Sizes of pictures (width, height): their longer side is the same.
FORMATS = ((320, 240), (320, 192), (288, 288), (240, 320), (192, 320))
FORMAT_PROBABILITIES = (0.4, 0.15, 0.25, 0.15, 0.05)
LONG_FOV_DEG = (18.0, 90.0)
FLOOR_REACH_M = 60.0
NEAREST_M = 0.1


@dataclass(frozen=True, eq=False)
class Drawn:
    """A scene: its kind, world, camera, light and the names of objects 1, 2, ..."""

    kind: str
    world: World
    view: View
    lighting: Lighting
    names: tuple[str, ...]


def draw_scene(
    library: Library,
    seed: int,
    kind: str | None = None,
    size: tuple[int, int] | None = None,
    objects: Sequence[Body] = (),
) -> Drawn | None:
    """The scene of a seed, of a kind and size (drawn if None); its objects from `objects` if there
    are any; None where no camera sees it well."""
    generator = np.random.default_rng(seed)
    kind = kind or str(generator.choice(list(KINDS), p=list(KINDS.values())))
    drawn_size = FORMATS[int(generator.choice(len(FORMATS), p=FORMAT_PROBABILITIES))]
    maker = Maker(library, generator, tuple(objects))
    if kind == "room":
        surroundings, standing, indoors = maker.room()
    elif kind == "street":
        surroundings, standing, indoors = maker.street()
    else:
        surroundings, standing, indoors = maker.table(from_above=kind == "above")
    if not standing:
        return None
    view = maker.camera(kind, standing, size or drawn_size)
    if view is None:
        return None
    world = assemble([*surroundings, *(s.placed for s in standing)])
    lighting = maker.light(view, standing, indoors)
    return Drawn(kind, world, view, lighting, tuple(s.placed.body.name for s in standing))


class Maker:
    """Draws the parts of a scene; all chances come from its generator."""

    def __init__(
        self, library: Library, generator: np.random.Generator, objects: tuple[Body, ...]
    ) -> None:
        self.library, self.generator, self.objects = library, generator, objects
        self.textures = list(library.textures.values())
        everything = library.bodies
        self.small = tuple(b for b in everything if b.kind not in TOYS)

    def chance(self, probability: float) -> bool:
        """Whether a coin of that probability falls right."""
        return bool(self.generator.random() < probability)

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.generator.uniform(low, high))

    def texture(self) -> Uint8:
        """Any texture, seldom recoloured."""
        found = self.textures[int(self.generator.integers(len(self.textures)))]
        if self.chance(0.3):
            tint = self.generator.uniform(0.5, 1.0, 3)
            found = (found * tint).astype(np.uint8)
        return found

    def table(self, from_above: bool) -> tuple[list[Placed], list[Standing], bool]:
        """Objects on a table or on the floor, mostly with a wall behind them."""
        g = self.generator
        count = int(g.integers(1, 8))
        standing = place_bodies(g, self._table_bodies(count), 0.42)
        reach = max((math.hypot(*s.centre) + s.reach for s in standing), default=0.3)
        surroundings = []
        on_table = self.chance(0.55)
        wall = reach + self.between(0.15, 1.2)
        tile = self.between(0.3, 1.5)
        gloss = self.between(0.03, 0.18) if self.chance(0.3) else 0.0
        if on_table:
            half = reach + self.between(0.1, 0.8)
            low = (-half, -0.035, -wall + 0.02)
            high = (half, 0.0, reach + self.between(0.2, 0.7))
            surroundings.append(Placed(block(self.texture(), low, high, tile), 0, gloss=gloss))
            ground = -self.between(0.5, 0.8)
        else:
            ground = 0.0
        walls = self.chance(0.75)
        far = -wall if walls else -FLOOR_REACH_M
        floor = rectangle(
            self.texture(), (-8, ground, 8), (16, 0, 0), (0, 0, far - 8), tile
            if not on_table else self.between(0.4, 1.5),
        )  # fmt: skip
        surroundings.append(Placed(floor, 0, gloss=0.0 if on_table else gloss))
        if walls:
            surroundings += self._wall((-8, ground, -wall), (16, 0, 0), 3.2, reach)
        if walls and self.chance(0.25):
            side = -1 if self.chance(0.5) else 1
            x = side * (reach + self.between(0.2, 1.5))
            surroundings += self._wall((x, ground, 8), (0, 0, -wall - 8), 3.2, reach)
        return surroundings, standing, walls and self.chance(0.3)

    def _table_bodies(self, count: int) -> list[tuple[Body, float]]:
        """Bodies and the lengths of their longest sides."""
        g = self.generator
        if self.objects:
            pool: tuple[Body, ...] = self.objects
        else:
            toys = self.chance(0.25) and self.library.kinds(TOYS)
            pool = toys or self.small
        usual = math.exp(g.normal(math.log(0.16), 0.3))
        chosen = []
        for _ in range(count):
            length = float(np.clip(usual * math.exp(g.normal(0, 0.35)), *TABLE_SIZE_M))
            chosen.append((pool[int(g.integers(len(pool)))], length))
        return chosen

    def room(self) -> tuple[list[Placed], list[Standing], bool]:
        """Furniture in a room with three walls, things on its tables."""
        g = self.generator
        width, depth = self.between(2.6, 6.5), self.between(2.6, 6.5)
        height = self.between(2.3, 3.1)
        pool = self.library.kinds(ROOM)
        count = int(g.integers(1, 9))
        chosen = []
        for _ in range(count):
            body = pool[int(g.integers(len(pool)))]
            chosen.append((body, self.between(*SIZES_M[body.kind])))
        standing = place_bodies(g, chosen, min(width, depth) / 2 - 0.1, gap_m=0.15)
        low_x, high_x, far = -width / 2 - 0.3, width / 2 + 0.3, -depth / 2 - 0.3
        near = depth / 2 + 4.0
        gloss = self.between(0.02, 0.12) if self.chance(0.3) else 0.0
        floor = rectangle(
            self.texture(), (low_x, 0, near), (high_x - low_x, 0, 0), (0, 0, far - near),
            self.between(0.4, 2.5),
        )  # fmt: skip
        surroundings = [Placed(floor, 0, gloss=gloss)]
        if self.chance(0.35):
            rug = (-self.between(0.5, 1.2), 0.004, self.between(0.4, 1.0))
            along, across = (self.between(1, 2.4), 0, 0), (0, 0, -self.between(0.8, 2))
            surroundings.append(Placed(framed_image(self.texture(), rug, along, across), 0))
        surroundings += self._wall((low_x, 0, far), (high_x - low_x, 0, 0), height, 1.0)
        if self.chance(0.8):
            surroundings += self._wall((low_x, 0, near), (0, 0, far - near), height, 1.0)
        if self.chance(0.8):
            surroundings += self._wall((high_x, 0, far), (0, 0, near - far), height, 1.0)
        indoors = self.chance(0.7)
        if indoors:
            ceiling = rectangle(
                self.texture() // 3 + 160, (low_x, height, near), (high_x - low_x, 0, 0),
                (0, 0, far - near), 1.0,
            )  # fmt: skip
            surroundings.append(Placed(ceiling, 0))
        return surroundings, standing, indoors

    def street(self) -> tuple[list[Placed], list[Standing], bool]:
        """Cars, people, trees, animals and houses on open ground under a sky."""
        g = self.generator
        pool = self.library.kinds(STREET)
        count = int(g.integers(1, 7))
        chosen = []
        for _ in range(count):
            body = pool[int(g.integers(len(pool)))]
            chosen.append((body, self.between(*SIZES_M[body.kind])))
        widest = max(length for _, length in chosen)
        standing = place_bodies(g, chosen, 1.2 * widest * math.sqrt(count), gap_m=0.5)
        reach = FLOOR_REACH_M
        ground = rectangle(
            self.texture(), (-reach, 0, reach), (2 * reach, 0, 0), (0, 0, -2 * reach),
            self.between(0.6, 6),
        )  # fmt: skip
        return [Placed(ground, 0)], standing, False

    def _wall(self, corner: Vector, along: Vector, height: float, reach: float) -> list[Placed]:
        """An upright wall from a corner at the floor, sometimes with pictures on it."""
        start, step = np.asarray(corner, float), np.asarray(along, float)
        sheet = rectangle(self.texture(), start, along, (0, height, 0), self.between(0.5, 2.5))
        found = [Placed(sheet, SURROUNDINGS)]
        if self.chance(0.35):
            length = float(np.linalg.norm(step))
            ahead = np.cross(step / length, [0, 1.0, 0])
            for _ in range(int(self.generator.integers(1, 4))):
                width = self.between(0.25, 0.9)
                offset = length / 2 + self.between(-1, 1) * (reach + 0.6) - width / 2
                sky = self.library.skies[int(self.generator.integers(len(self.library.skies)))]
                image = glimpse(sky, self.generator) if self.chance(0.7) else self.texture()
                up = self.between(0.1, 1.3)
                place = start + step / length * offset + ahead * 0.01 + [0, up, 0]
                side = step / length * width
                tall = width * self.between(0.7, 1.4)
                found.append(Placed(framed_image(image, place, side, (0, tall, 0)), SURROUNDINGS))
        return found

    def camera(self, kind: str, standing: list[Standing], size: tuple[int, int]) -> View | None:
        """A camera that sees the objects, most of them whole."""
        g = self.generator
        width, height = size
        long_fov = math.radians(
            float(np.clip(math.exp(g.normal(math.log(52), 0.35)), *LONG_FOV_DEG))
        )
        focal = max(width, height) / 2 / math.tan(long_fov / 2)
        target, span = self._target(standing)
        roll = math.radians(float(np.clip(g.normal(0, 2.0 if self.chance(0.8) else 6.0), -10, 10)))
        for _ in range(30):
            elevation = math.radians(self._elevation_deg(kind))
            azimuth = math.radians(g.normal(0, 25) if kind != "above" else g.uniform(-180, 180))
            back = np.array(
                [math.sin(azimuth) * math.cos(elevation), math.sin(elevation),
                 math.cos(azimuth) * math.cos(elevation)]
            )  # fmt: skip
            fill = self.between(0.5, 1.5)
            distance = span / (2 * math.tan(long_fov / 2) * fill)
            position = target + back * max(distance, NEAREST_M)
            if kind in ("room", "street"):
                position[1] = max(position[1], 0.25)
            elif position[1] < 0.03:
                continue
            rotation = looking(position, target + g.normal(0, 0.07, 3) * span, roll)
            view = View(width, height, focal, rotation, position)
            if self._in_view(view, standing):
                return view
        return None

    def _elevation_deg(self, kind: str) -> float:
        if kind == "above":
            return self.between(55, 90)
        if kind == "table":
            return self.between(2, 14) if self.chance(0.15) else self.between(10, 58)
        return self.between(-3, 12) if self.chance(0.45) else self.between(5, 35)

    def _target(self, standing: list[Standing]) -> tuple[Float64, float]:
        """The middle of all objects, or sometimes of one, and how much is to be in the picture."""
        chosen = standing
        if self.chance(0.3):
            chosen = [standing[int(self.generator.integers(len(standing)))]]
        low = np.min([[s.centre[0] - s.reach, s.bottom, s.centre[1] - s.reach] for s in chosen], 0)
        high = np.max([[s.centre[0] + s.reach, s.top, s.centre[1] + s.reach] for s in chosen], 0)
        return (low + high) / 2, float(np.linalg.norm(high - low))

    def _in_view(self, view: View, standing: list[Standing]) -> bool:
        middles = np.array([[s.centre[0], (s.bottom + s.top) / 2, s.centre[1]] for s in standing])
        reach = np.array([max(s.reach, (s.top - s.bottom) / 2) for s in standing])
        p = (middles - view.position) @ view.camera_from_world.T
        if (np.linalg.norm(middles - view.position, axis=1) < 1.05 * reach + 0.02).any():
            return False
        seen = p[:, 2] > 1e-3
        uv = p[:, :2] / np.maximum(p[:, 2:], 1e-3) * view.focal_px
        seen &= (np.abs(uv[:, 0]) < view.width / 2) & (np.abs(uv[:, 1]) < view.height / 2)
        return seen.mean() >= 0.5

    def light(self, view: View, standing: list[Standing], indoors: bool) -> Lighting:
        """A lamp above, a sky, and what is between them everywhere."""
        g = self.generator
        target, span = self._target(standing)
        direction = g.normal(size=3)
        direction[1] = abs(direction[1]) + 0.4
        direction /= np.linalg.norm(direction)
        distance = self.between(0.8, 2.5) * max(span, 0.5)
        lamp = target + direction * distance
        if indoors:
            lamp[1] = min(lamp[1], 2.2)
        power = distance**2 * math.exp(g.normal(0, 0.5)) * (1 + g.normal(0, 0.1, 3))
        sky = self.library.skies[int(g.integers(len(self.library.skies)))]
        strength = math.exp(g.normal(math.log(0.8), 0.6))
        ambient = np.full(3, (0.25 if indoors else 0.1) + 0.25 * strength)
        return Lighting(
            lamp, self.between(0.01, 0.2) * distance, power, sky, strength,
            g.uniform(-math.pi, math.pi), ambient,
        )  # fmt: skip


def looking(position: Float64, target: Float64, roll_rad: float) -> Float64:
    """(3, 3) camera_from_world of a camera at `position` that looks at `target`, turned by a roll
    about its axis."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    if np.linalg.norm(right) < 1e-3:
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    return np.stack([c * right + s * down, -s * right + c * down, forward])
