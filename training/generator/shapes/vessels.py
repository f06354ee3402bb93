"""Families of vessels and of what lies on a table: mugs, bottles, bowls, plates, cartons, fruit."""

from __future__ import annotations

import math

import numpy as np

from training.generator.shapes.creatures import limb
from training.generator.shapes.parts import (
    BOX,
    CAPSULE,
    CONE,
    CYLINDER,
    LATHE,
    PROFILE_KNOTS,
    ROOF,
    SUPERQUADRIC,
    TORUS,
    Builder,
    Floats,
    about_x,
    about_y,
    about_z,
    knots,
)


def revolved(
    b: Builder, height: float, profile: Floats, wall: float = 0.0, colour: int = 0
) -> None:
    """A body of revolution, hollow and open above when it has a wall's thickness."""
    b.add(LATHE, [0, 0, height], profile=profile, colour=colour)
    if wall > 0:
        inner = np.maximum(profile - wall, 0.015)
        lining = colour + 1 if b.chance(0.4) else colour
        b.add(LATHE, [0, 0, height], (0, 1.5 * wall, 0), cut=True, profile=inner, colour=lining)


def handle(b: Builder, x: float, y: float, ring: float, tube: float, colour: int = 0) -> None:
    """A ring that stands upright beside a body."""
    b.add(TORUS, [ring, tube, 0], (x, y, 0), about_x(math.pi / 2), colour=colour, plain=True)


def mug(b: Builder) -> None:
    """Straight walls, one handle."""
    height, radius = b.between(0.45, 0.75), b.between(0.38, 0.55)
    upper = radius * b.between(0.8, 1.15)
    middle = (radius + upper) / 2
    profile = knots([0, 0.5, 1], [radius, middle * b.between(0.92, 1.08), upper])
    ring = height * b.between(0.4, 0.6)
    handle(
        b, middle + ring * 0.25, b.between(-0.1, 0.1), ring, b.between(0.05, 0.09), b.count(0, 1)
    )
    b.add(LATHE, [0, 0, height], profile=profile)
    wall = b.between(0.03, 0.08)
    lining = b.count(0, 1)
    b.add(LATHE, [0, 0, height], (0, 0.1, 0), cut=True, profile=profile - wall, colour=lining)


def bottle(b: Builder) -> None:
    """A body, shoulders, a neck; perhaps a cap and a label."""
    height, radius = b.between(0.8, 1.0), b.between(0.2, 0.4)
    neck, shoulder = radius * b.between(0.25, 0.5), b.between(0.5, 0.7)
    above = shoulder + b.between(0.08, 0.25)
    radii = [radius * 0.9, radius, radius * b.between(0.9, 1.05), neck, neck * b.between(0.9, 1.1)]
    revolved(b, height, knots([0, 0.03, shoulder, above, 1], radii))
    if b.chance(0.6):
        cap = [neck * 1.2, b.between(0.05, 0.12), 0, 0.01]
        b.add(CYLINDER, cap, (0, height + 0.03, 0), colour=1, plain=True)
    if b.chance(0.4):
        label = [radius * 1.02, b.between(0.12, 0.3), 0, 0]
        b.add(CYLINDER, label, (0, -height * 0.35, 0), colour=2)


def vase(b: Builder) -> None:
    """A smooth profile through a few radii; hollow as a rule, sometimes with two ears."""
    points = b.count(3, 5)
    degree = 3 if points > 3 else 2
    fit = np.polyfit(np.linspace(0, 1, points), b.generator.uniform(0.15, 0.6, points), degree)
    curve = np.asarray(np.polyval(fit, np.linspace(0, 1, PROFILE_KNOTS)), np.float64)
    profile = np.clip(curve, 0.1, 0.7)
    revolved(b, b.between(0.5, 0.95), profile, b.between(0.04, 0.07) if b.chance(0.7) else 0)
    if b.chance(0.3):
        for side in (-1, 1):
            handle(b, side * (float(profile.mean()) + 0.1), 0.2, 0.2, 0.045)


def bowl(b: Builder) -> None:
    """Wide and hollow; sometimes with balls in it."""
    radius, up = b.between(0.6, 0.9), np.linspace(0, 1, PROFILE_KNOTS)
    height = b.between(0.18, 0.45)
    profile = radius * (b.between(0.35, 0.5) + 0.6 * up ** b.between(0.4, 0.8))
    revolved(b, height, profile, b.between(0.03, 0.08))
    if b.chance(0.3):
        for _ in range(b.count(1, 4)):
            ball = b.between(0.12, 0.22)
            at = (b.between(-0.3, 0.3), height * 0.4 + ball * 0.5, b.between(-0.3, 0.3))
            b.add(SUPERQUADRIC, [ball, ball, ball, 2.0], at, colour=b.count(1, 2))


def teapot(b: Builder) -> None:
    """A round body, a spout, a handle and a lid."""
    radius = b.between(0.4, 0.55)
    squash = b.between(0.7, 1)
    b.add(SUPERQUADRIC, [radius, radius * squash, radius, 2.0 + b.between(0, 1.5)])
    limb(b, (radius * 0.7, -0.1, 0), (radius + 0.4, 0.3, 0), 0.08, blend=0.1)
    handle(b, -radius - 0.05, 0, 0.28, 0.06, 1)
    b.add(CYLINDER, [radius * 0.5, 0.05, 0, 0.02], (0, radius * 0.8, 0), colour=1)
    b.add(SUPERQUADRIC, [0.08, 0.08, 0.08, 2.0], (0, radius * 0.8 + 0.1, 0), colour=2)


def plate(b: Builder) -> None:
    """Flat, with a rim; the floor of the dish is thin."""
    radius, height = b.between(0.7, 0.95), b.between(0.04, 0.12)
    floor = b.between(0.5, 0.75)
    revolved(b, height, knots([0, 0.15, 1], [radius * floor, radius * (floor + 0.1), radius]))
    dish = knots([0, 0.3, 1], [radius * floor * 0.95, radius * floor, radius * 0.97])
    b.add(LATHE, [0, 0, height], (0, b.between(0.02, 0.035), 0), cut=True, profile=dish)
    if b.chance(0.25):
        r = b.between(0.15, 0.3)
        b.add(SUPERQUADRIC, [r, r * 0.6, r, 2.2], (b.between(-0.2, 0.2), r * 0.4, 0), colour=2)


def pan(b: Builder) -> None:
    """A frying pan or pot: low wall, long handle or two ears."""
    radius, height = b.between(0.45, 0.65), b.between(0.08, 0.3)
    wall = b.between(0.025, 0.05)
    revolved(b, height, knots([0, 1], [radius * b.between(0.75, 1), radius]), wall)
    if b.chance(0.7):
        end = radius + b.between(0.4, 0.8)
        thick = b.between(0.03, 0.06)
        half = (end - radius) / 2
        lift = about_z(b.between(0, 0.3))
        b.add(BOX, [half + 0.05, thick * 0.6, thick, thick * 0.5], (radius + half, height * 0.6, 0),
              lift, colour=1, plain=True)  # fmt: skip
    else:
        for side in (-1, 1):
            b.add(TORUS, [0.1, 0.03, 0], (side * (radius + 0.05), height * 0.5, 0), colour=1)


def carton(b: Builder) -> None:
    """A box of cereal, a carton with a gable, a can, a loaf or a jar: what stands in a larder."""
    which = b.count(0, 4)
    w, h, d = b.between(0.25, 0.5), b.between(0.45, 0.9), b.between(0.12, 0.4)
    if which == 0:
        b.add(BOX, [w, h, d, b.between(0, 0.03)])
    elif which == 1:
        b.add(BOX, [w, h * 0.7, w, 0.01])
        b.add(ROOF, [w, h * 0.15, w], (0, h * 0.85, 0), colour=1)
        b.add(BOX, [w, 0.06, 0.02, 0], (0, h * 1.0, 0), about_y(math.pi / 2), colour=1)
    elif which == 2:
        b.add(CYLINDER, [w, h * 0.6, 0, 0.03])
        b.add(CYLINDER, [w * 0.88, h * 0.62, 0, 0.0], colour=1, plain=True)
    elif which == 3:
        b.add(SUPERQUADRIC, [w, d * 0.9, b.between(0.5, 0.8), b.between(2.2, 5)], blend=0.1)
    else:
        revolved(b, h * 0.7, knots([0, 0.06, 0.75, 0.85, 1], [w * 0.9, w, w, w * 0.85, w * 0.85]))
        b.add(CYLINDER, [w * 0.9, 0.08, 0, 0.02], (0, h * 0.7, 0), colour=1)


def dish(b: Builder) -> None:
    """A bowl of china or metal: thinner than `bowl`, on a foot perhaps."""
    radius, up = b.between(0.55, 0.95), np.linspace(0, 1, PROFILE_KNOTS)
    height, base = b.between(0.12, 0.5), b.between(0.35, 0.75)
    profile = radius * (base + (1 - base) * up ** b.between(0.35, 1.1))
    revolved(b, height, profile, b.between(0.02, 0.045))
    if b.chance(0.4):
        foot = b.between(0.02, 0.06)
        b.add(CYLINDER, [radius * base * 0.9, foot, 0, 0], (0, -height - foot * 0.8, 0))


def tin(b: Builder) -> None:
    """A closed tin or tub, whose lid lies a little below the rim; a label perhaps."""
    radius, height = b.between(0.3, 0.6), b.between(0.2, 0.8)
    b.add(CYLINDER, [radius, height, 0, b.between(0, 0.02)])
    lid, rim = radius * b.between(0.85, 0.96), b.between(0.01, 0.05)
    b.add(CYLINDER, [lid, rim, 0, 0], (0, height, 0), cut=True, colour=1)
    if b.chance(0.5):
        label = height * b.between(0.7, 0.9)
        b.add(CYLINDER, [radius * 1.01, label, 0, 0], colour=2)


def fruit(b: Builder) -> None:
    """A round thing, dented or drawn out, with a stalk perhaps; a few of them sometimes."""
    for i in range(1 if b.chance(0.7) else b.count(2, 4)):
        r = b.between(0.3, 0.5)
        at = np.array([0.0, 0, 0]) if i == 0 else b.generator.uniform(-0.6, 0.6, 3) * [1, 0.1, 1]
        lie = about_z(b.between(-0.3, 0.3)) if b.chance(0.7) else about_x(b.between(0, 1.6))
        stretch = b.between(0.75, 1.6)
        b.add(SUPERQUADRIC, [r, r * stretch, r, b.between(1.8, 2.3)], at, lie, blend=0.03, colour=i)
        if b.chance(0.5):
            b.add(SUPERQUADRIC, [r * 0.3, r * 0.2, r * 0.3, 2.0], at + lie[:, 1] * r * stretch,
                  lie, cut=True, colour=i)  # fmt: skip
        if b.chance(0.6):
            tip = at + lie[:, 1] * r * stretch
            b.add(CAPSULE, [0.03, 0.1], tip, lie, colour=1, plain=True)


def basket(b: Builder) -> None:
    """A box or tub with thin walls, open above, with a hoop perhaps."""
    w, h, d = b.between(0.4, 0.8), b.between(0.2, 0.5), b.between(0.3, 0.6)
    wall = b.between(0.025, 0.06)
    if b.chance(0.35):
        b.add(TORUS, [w * 0.75, 0.03, 0.02], (0, h, 0), about_x(math.pi / 2), colour=2, plain=True)
        b.add(BOX, [w, h, d, 0], cut=True)  # the hoop's lower half is not there
    if b.chance(0.6):
        b.add(BOX, [w, h, d, 0.02])
        hollow = [w - wall, h, d - wall, b.between(0, 0.05)]
        b.add(BOX, hollow, (0, wall * 1.5, 0), cut=True, colour=b.count(0, 1))
    else:
        revolved(b, h, knots([0, 1], [w * b.between(0.65, 0.8), w * 0.8]), wall)


def lamp(b: Builder) -> None:
    """Foot, pole, shade."""
    b.add(CYLINDER, [b.between(0.2, 0.4), 0.05, 0, 0.02], (0, -0.9, 0))
    b.add(CYLINDER, [b.between(0.03, 0.07), 0.7, 0, 0], (0, -0.3, 0), colour=1, plain=True)
    if b.chance(0.3):
        b.add(SUPERQUADRIC, [0.22, 0.3, 0.22, 2.0], (0, -0.5, 0), colour=1)
    below = b.between(0.35, 0.6)
    shade = [below, below * b.between(0.4, 1.0), b.between(0.2, 0.35)]
    b.add(CONE, shade, (0, 0.55, 0), colour=2)
