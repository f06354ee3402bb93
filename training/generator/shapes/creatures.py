"""Families of living things and what they wear: animals, people, heads, trees, shoes, bags."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from training.generator.shapes.parts import (
    BOX,
    CAPSULE,
    CONE,
    CYLINDER,
    SUPERQUADRIC,
    TORUS,
    Builder,
    Floats,
    about_x,
    about_y,
    about_z,
    rotation_of_y_to,
)


def limb(
    b: Builder,
    start: Sequence[float] | Floats,
    end: Sequence[float] | Floats,
    radius: float,
    colour: int = 0,
    blend: float = 0.06,
) -> None:
    """A capsule between two points."""
    first, last = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = float(np.linalg.norm(last - first))
    rotation = rotation_of_y_to((last - first) / max(length, 1e-9))
    b.add(CAPSULE, [radius, length / 2], (first + last) / 2, rotation, colour=colour, blend=blend)


def animal(b: Builder) -> None:
    """Four legs, neck, head, ears, perhaps a tail."""
    long, high = b.between(0.35, 0.6), b.between(0.2, 0.34)
    wide, leg = high * b.between(0.7, 1.0), b.between(0.25, 0.6)
    thick = b.between(0.05, 0.11)
    exponent = 2.0 + b.between(0, 1.0) if b.chance(0.3) else 2.0
    b.add(SUPERQUADRIC, [wide, high, long, exponent])
    for x in (-1, 1):
        for z in (-1, 1):
            step = b.between(-0.12, 0.12)
            top = (x * wide * 0.6, -high * 0.3, z * long * 0.65)
            foot = (x * wide * 0.65, -high * 0.5 - leg, z * long * 0.65 + step)
            limb(b, top, foot, thick)
    _head_and_tail(b, long, high)


def _head_and_tail(b: Builder, long: float, high: float) -> None:
    neck, size = b.between(0.1, 0.6), b.between(0.15, 0.3)
    head = np.array([b.between(-0.1, 0.1), high * 0.6 + neck * 0.7, long + neck * 0.4 + 0.05])
    limb(b, (0, high * 0.3, long * 0.7), head, b.between(0.08, 0.16), blend=0.1)
    rotation = about_y(b.between(-0.5, 0.5))
    b.add(SUPERQUADRIC, [size * 0.8, size * 0.8, size, 2.0], head, rotation, blend=0.05)
    snout = [size * 0.45, size * 0.4, size * 0.5, 2.0]
    at = head + [0, -size * 0.2, size]
    b.add(SUPERQUADRIC, snout, at, blend=0.05, colour=b.count(0, 1))
    ear = b.between(0.08, 0.3)
    for x in (-1, 1):
        at = head + [x * size * 0.55, size * 0.6 + ear * 0.5, -0.05]
        tilt = about_z(-x * b.between(0, 0.8))
        b.add(SUPERQUADRIC, [0.07, ear, 0.05, 2.0], at, tilt, colour=1, blend=0.03)
    if b.chance(0.8):
        end = (b.between(-0.2, 0.2), b.between(-0.1, 0.6), -long - b.between(0.15, 0.4))
        limb(b, (0, high * 0.4, -long * 0.9), end, b.between(0.04, 0.1))


def person(b: Builder) -> None:
    """A standing figure; arms anywhere, hair perhaps."""
    shoulder, trunk = b.between(0.18, 0.3), b.between(0.25, 0.4)
    deep, head = b.between(0.11, 0.24), b.between(0.13, 0.3)
    b.add(SUPERQUADRIC, [shoulder, trunk, deep, 2.0 + b.between(0, 2.0)], (0, 0.1, 0))
    at = (0, 0.1 + trunk + head * 0.9, 0)
    b.add(SUPERQUADRIC, [head * 0.85, head, head * 0.9, 2.0], at, colour=1, blend=0.05)
    if b.chance(0.6):
        hair = [head * 0.95, head * 0.75, head, 2.0]
        b.add(SUPERQUADRIC, hair, (0, 0.1 + trunk + head * 1.2, -0.05), colour=2)
    for x in (-1, 1):
        lift = b.between(-0.3, 1.6) if b.chance(0.5) else b.between(-0.1, 0.4)
        forward, reach = b.between(-0.5, 0.8), b.between(0.4, 0.6)
        top = np.array([x * shoulder * 0.9, 0.1 + trunk * 0.7, 0])
        hand = np.array(
            [
                x * (shoulder + reach * math.sin(lift) * 0.8),
                top[1] - reach * math.cos(lift) * math.cos(forward),
                reach * math.sin(forward) * 0.8,
            ]
        )
        limb(b, top, hand, b.between(0.06, 0.1), b.count(0, 1), 0.03)
        foot = (x * (shoulder * 0.6 + b.between(0, 0.15)), -0.9, b.between(-0.25, 0.25))
        hip = (x * shoulder * 0.5, 0.1 - trunk * 0.7, 0)
        limb(b, hip, foot, b.between(0.08, 0.13), 2, 0.03)
        b.add(
            BOX, [0.08, 0.05, 0.14, 0.04], (x * shoulder * 0.7, -0.92, 0.06), colour=1, blend=0.03
        )


def head(b: Builder) -> None:
    """A bust: skull, face, nose, neck, shoulders or a base."""
    wide, high, deep = b.between(0.34, 0.44), b.between(0.45, 0.58), b.between(0.4, 0.52)
    b.add(SUPERQUADRIC, [wide, high, deep, b.between(2, 2.6)], (0, 0.2, 0))
    b.add(SUPERQUADRIC, [wide * 0.75, high * 0.5, deep * 0.6, 2.4], (0, -0.1, 0.12), blend=0.15)
    nose = [0.07, b.between(0.08, 0.15), 0.12, 2.0]
    b.add(SUPERQUADRIC, nose, (0, 0.08, deep * 0.95), about_x(-0.3), blend=0.08)
    for x in (-1, 1):
        b.add(SUPERQUADRIC, [0.05, 0.12, 0.08, 2.0], (x * wide, 0.12, -0.02), blend=0.03)
        b.add(SUPERQUADRIC, [0.07, 0.04, 0.05, 2.0], (x * 0.15, 0.2, deep * 0.93), colour=2)
    if b.chance(0.5):
        hair = [wide * 1.06, high * 0.8, deep * 1.02, 2.2]
        b.add(SUPERQUADRIC, hair, (0, 0.32, -0.1), colour=1, blend=0.03)
    b.add(CYLINDER, [b.between(0.16, 0.24), 0.3, 0, 0.02], (0, -0.5, -0.05), blend=0.1)
    if b.chance(0.5):
        b.add(SUPERQUADRIC, [0.75, 0.2, 0.32, 2.5], (0, -0.85, -0.05), colour=1, blend=0.1)


def tree(b: Builder) -> None:
    """A trunk under cones or balls of leaves, in a pot perhaps."""
    b.add(CYLINDER, [b.between(0.06, 0.12), 0.4, 0, 0], (0, -0.55, 0), colour=1)
    if b.chance(0.4):
        for i in range(3):
            b.add(CONE, [0.5 - 0.12 * i, 0.02, 0.28], (0, -0.1 + 0.33 * i, 0))
    else:
        for _ in range(b.count(2, 5)):
            r = b.between(0.2, 0.42)
            at = (b.between(-0.3, 0.3), b.between(0, 0.5), b.between(-0.3, 0.3))
            b.add(SUPERQUADRIC, [r, r * b.between(0.7, 1), r, 2.0], at, blend=0.08)
    if b.chance(0.4):
        b.add(CONE, [0.18, 0.25, 0.16], (0, -0.9, 0), colour=2)


def mushroom(b: Builder) -> None:
    """A stalk under a cap that is flat below."""
    b.add(CONE, [b.between(0.15, 0.3), b.between(0.12, 0.25), 0.4], (0, -0.4, 0))
    r = b.between(0.4, 0.75)
    b.add(SUPERQUADRIC, [r, b.between(0.25, 0.5), r, 2.0], (0, 0.05, 0), colour=1)
    b.add(BOX, [1, 0.3, 1, 0], (0, -0.35, 0), cut=True, colour=1, plain=True)
    b.add(CONE, [b.between(0.15, 0.3), b.between(0.12, 0.25), 0.4], (0, -0.35, 0))


def shoe(b: Builder) -> None:
    """A sole, a toe, an opening above the heel."""
    long, wide = b.between(0.7, 0.9), b.between(0.22, 0.32)
    high = b.between(0.25, 0.5)
    b.add(BOX, [wide, 0.07, long, 0.06], (0, -0.3, 0), colour=1, plain=True)
    toe = [wide * 0.95, b.between(0.2, 0.28), long * 0.55, 2.5]
    b.add(SUPERQUADRIC, toe, (0, -0.18, long * 0.4), blend=0.1)
    b.add(SUPERQUADRIC, [wide * 0.9, high, long * 0.5, 3.0], (0, -0.1, -long * 0.48), blend=0.15)
    mouth = [wide * 0.65, high, long * 0.36, 2.5]
    b.add(SUPERQUADRIC, mouth, (0, high * 0.65, -long * 0.5), cut=True, colour=2)


def bag(b: Builder) -> None:
    """A soft box with one or two loops above."""
    w, h, d = b.between(0.45, 0.75), b.between(0.35, 0.6), b.between(0.12, 0.35)
    b.add(SUPERQUADRIC, [w, h, d, b.between(3, 6)], (0, -0.2, 0))
    if b.chance(0.5):
        b.add(BOX, [w * 0.95, h * 0.4, d * 1.05, 0.05], (0, 0.0, 0.02), colour=1, blend=0.03)
    ring, tube = w * b.between(0.4, 0.7), b.between(0.03, 0.05)
    for z in (-0.5, 0.5) if b.chance(0.5) else (0.0,):
        at = (0, h - 0.25, z * d)
        b.add(TORUS, [ring, tube, 0], at, about_x(math.pi / 2), colour=2, plain=True)
