"""Which procedural object comes out of a seed? The families, their shares, and one draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.generator.shapes import creatures, furniture, vessels
from training.generator.shapes.parts import Builder, Paint, Solid


@dataclass(frozen=True)
class Family:
    """name; build adds the parts; share of all draws (not normalized); frontal: whether photos
    mostly show its front (+z); table: whether it is mostly seen from above."""

    name: str
    build: Callable[[Builder], None]
    share: float
    frontal: bool = False
    table: bool = False


# The twenty families of the feasibility study, with its shares: what the held-out shapes are from.
STUDY = (
    Family("mug", vessels.mug, 1.0),
    Family("bottle", vessels.bottle, 1.0),
    Family("vase", vessels.vase, 1.0),
    Family("bowl", vessels.bowl, 0.7),
    Family("lamp", vessels.lamp, 0.8),
    Family("table", furniture.table, 1.2, frontal=True),
    Family("chair", furniture.chair, 1.5, frontal=True),
    Family("sofa", furniture.sofa, 1.2, frontal=True),
    Family("cabinet", furniture.cabinet, 1.0, frontal=True),
    Family("animal", creatures.animal, 1.8, frontal=True),
    Family("person", creatures.person, 1.8, frontal=True),
    Family("car", furniture.car, 1.2, frontal=True),
    Family("house", furniture.house, 1.0, frontal=True),
    Family("tree", creatures.tree, 0.8),
    Family("monitor", furniture.monitor, 0.6, frontal=True),
    Family("boxes", furniture.boxes, 0.8),
    Family("mushroom", creatures.mushroom, 0.5),
    Family("teapot", vessels.teapot, 0.7),
    Family("heap", furniture.heap, 2.5),
    Family("stack", furniture.stack, 1.0),
)
# What photos of rooms and tables show besides.
MORE = (
    Family("plate", vessels.plate, 0.9, table=True),
    Family("bowl seen from above", vessels.bowl, 0.9, table=True),
    Family("pan", vessels.pan, 0.7, table=True),
    Family("carton", vessels.carton, 1.6, table=True),
    Family("fruit", vessels.fruit, 0.9, table=True),
    Family("basket", vessels.basket, 0.8, table=True),
    Family("head", creatures.head, 0.5, frontal=True),
    Family("shoe", creatures.shoe, 0.6),
    Family("bag", creatures.bag, 0.6, frontal=True),
    Family("appliance", furniture.appliance, 1.2, frontal=True),
)
# What stands on tables, closed or with thin walls: the last steps see more of it.
TABLE = (
    Family("plate", vessels.plate, 1.0, table=True),
    Family("dish", vessels.dish, 1.5, table=True),
    Family("pan", vessels.pan, 1.0, table=True),
    Family("basket", vessels.basket, 1.0, table=True),
    Family("mug", vessels.mug, 0.7, table=True),
    Family("carton", vessels.carton, 3.0, table=True),
    Family("tin", vessels.tin, 1.5, table=True),
    Family("bottle", vessels.bottle, 0.8, table=True),
    Family("fruit", vessels.fruit, 1.5, table=True),
)


def draw_object(
    generator: np.random.Generator, families: tuple[Family, ...] = STUDY + MORE
) -> tuple[Family, Solid, Paint]:
    """One object of a family drawn by share."""
    shares = np.array([f.share for f in families])
    family = families[int(generator.choice(len(families), p=shares / shares.sum()))]
    builder = Builder(generator)
    family.build(builder)
    return family, *builder.finish()
