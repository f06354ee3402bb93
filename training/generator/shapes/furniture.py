"""Families of made things that are put together: furniture, vehicles, houses, screens, heaps."""

from __future__ import annotations

import math

from training.generator.shapes.parts import (
    BOX,
    CAPSULE,
    CONE,
    CYLINDER,
    ROOF,
    SUPERQUADRIC,
    TORUS,
    Builder,
    about_x,
    about_y,
    about_z,
    any_rotation,
)


def legs(
    b: Builder,
    place: tuple[float, float],
    span: tuple[float, float],
    thick: float,
    colour: int,
    square: bool = True,
    splay_rad: float = 0.0,
) -> None:
    """Four legs at (+-x, +-z), from height span[0] to span[1]."""
    half, middle = (span[1] - span[0]) / 2, (span[0] + span[1]) / 2
    for x in (-1, 1):
        for z in (-1, 1):
            rotation = about_z(-x * splay_rad) @ about_x(z * splay_rad)
            size = [thick, half, thick, 0.005] if square else [thick, half, 0, 0.005]
            at = (x * place[0], middle, z * place[1])
            b.add(BOX if square else CYLINDER, size, at, rotation, colour=colour, plain=True)


def table(b: Builder) -> None:
    """A round or square top on one foot or four legs; a shelf and things on it perhaps."""
    wide, deep, top = b.between(0.6, 0.95), b.between(0.4, 0.9), b.between(0.1, 0.6)
    thick, leg = b.between(0.03, 0.09), b.between(0.025, 0.08)
    is_round = b.chance(0.3)
    if is_round:
        b.add(CYLINDER, [wide, thick, 0, 0.02], (0, top, 0))
    else:
        b.add(BOX, [wide, thick, deep, 0.02], (0, top, 0))
    colour = b.count(0, 1)
    if is_round and b.chance(0.6) or b.chance(0.1):
        pole = [leg * 1.4, (top + 0.8) / 2, 0, 0]
        b.add(CYLINDER, pole, (0, (top - 0.8) / 2, 0), colour=colour)
        b.add(CYLINDER, [wide * 0.45, 0.05, 0, 0.02], (0, -0.8, 0), colour=colour)
    else:
        inset = 0.62 if is_round else 0.9
        place = (wide * inset, (wide if is_round else deep) * inset)
        splay = b.between(0, 0.12) if b.chance(0.3) else 0
        legs(b, place, (-0.8, top), leg, colour, b.chance(0.6), splay)
        if b.chance(0.3):
            shelf = [place[0], 0.03, place[1], 0.01]
            b.add(BOX, shelf, (0, b.between(-0.5, -0.2), 0), colour=colour)
    if b.chance(0.3):
        for _ in range(b.count(1, 2)):
            r = b.between(0.08, 0.16)
            z = b.between(-0.5, 0.5) * (wide if is_round else deep)
            at = (b.between(-0.5, 0.5) * wide, top + thick + r, z)
            b.add(CYLINDER if b.chance(0.5) else BOX, [r, r, r, 0.02], at, colour=2)


def chair(b: Builder) -> None:
    """Seat, back or slats, four legs or one, arms perhaps."""
    wide, deep = b.between(0.32, 0.5), b.between(0.32, 0.5)
    seat, leg = b.between(-0.2, 0.05), b.between(0.025, 0.06)
    colour = b.count(0, 1)
    b.add(BOX, [wide, b.between(0.03, 0.1), deep, 0.03], (0, seat, 0))
    _chair_back(b, wide, deep, seat, leg, colour)
    if b.chance(0.75):
        splay = b.between(0, 0.15) if b.chance(0.4) else 0
        place = (wide * 0.88, deep * 0.88)
        legs(b, place, (-0.9, seat), leg, colour, b.chance(0.5), splay)
    else:
        b.add(CYLINDER, [0.06, (seat + 0.85) / 2, 0, 0], (0, (seat - 0.85) / 2, 0), colour=1)
        b.add(CYLINDER, [wide * 0.8, 0.05, 0, 0.03], (0, -0.85, 0), colour=1)
    if b.chance(0.35):
        for x in (-1, 1):
            b.add(BOX, [0.05, 0.04, deep * 0.9, 0.02], (x * wide, seat + 0.3, 0), colour=colour)
            post = (x * wide, seat + 0.15, deep * 0.7)
            b.add(BOX, [0.04, 0.15, 0.04, 0.01], post, colour=colour)


def _chair_back(b: Builder, wide: float, deep: float, seat: float, leg: float, colour: int) -> None:
    half, lean = b.between(0.35, 0.55), b.between(0, 0.2)
    if b.chance(0.7):
        at = (0, seat + half, -deep - math.sin(lean) * half * 0.5)
        b.add(BOX, [wide, half, b.between(0.03, 0.08), 0.03], at, about_x(-lean))
        return
    for i in range(3):
        b.add(BOX, [wide, 0.06, 0.03, 0.02], (0, seat + half * (0.6 + 0.6 * i), -deep))
    for x in (-1, 1):
        b.add(BOX, [leg, half, leg, 0.01], (x * wide, seat + half, -deep), colour=colour)


def sofa(b: Builder) -> None:
    """Seat, back, arms, cushions."""
    wide, deep, soft = b.between(0.45, 0.95), b.between(0.35, 0.5), b.between(0.04, 0.12)
    b.add(BOX, [wide, 0.2, deep, soft], (0, -0.35, 0))
    b.add(BOX, [wide, b.between(0.3, 0.5), 0.14, soft], (0, -0.05, -deep), blend=0.03)
    for x in (-1, 1):
        arm = [b.between(0.1, 0.14), b.between(0.28, 0.4), deep, soft]
        b.add(BOX, arm, (x * wide, -0.3, 0), blend=0.02)
    seats = b.count(1, 3)
    for i in range(seats):
        at = ((i - (seats - 1) / 2) * 2 * wide / seats, -0.12, 0.05)
        b.add(BOX, [wide / seats * 0.95, 0.1, deep * 0.9, 0.06], at, colour=b.count(0, 1))
    if b.chance(0.6):
        legs(b, (wide * 0.9, deep * 0.8), (-0.7, -0.5), 0.04, 2)
    if b.chance(0.5):
        at = (b.between(-0.5, 0.5) * wide, 0.15, -deep * 0.3)
        b.add(BOX, [0.2, 0.2, 0.08, 0.07], at, about_x(-0.3), colour=2)


def cabinet(b: Builder) -> None:
    """A box with drawers or open shelves."""
    wide, high, deep = b.between(0.35, 0.9), b.between(0.4, 0.95), b.between(0.25, 0.5)
    b.add(BOX, [wide, high, deep, 0.01])
    columns, rows, is_shelf = b.count(1, 3), b.count(1, 4), b.chance(0.4)
    half_x, half_y = wide / columns - 0.03, high / rows - 0.03
    for i in range(columns):
        for j in range(rows):
            x = (i - (columns - 1) / 2) * 2 * wide / columns
            y = (j - (rows - 1) / 2) * 2 * high / rows
            if is_shelf:
                shelf = [half_x, half_y, deep, 0]
                b.add(BOX, shelf, (x, y, 0.06), cut=True, colour=1, plain=True)
                continue
            b.add(BOX, [half_x, half_y, 0.02, 0.005], (x, y, deep), colour=1)
            if b.chance(0.9):
                knob = [0.035, 0.035, 0.035, 2.0]
                b.add(SUPERQUADRIC, knob, (x, y, deep + 0.04), colour=2, plain=True)
    if b.chance(0.4):
        legs(b, (wide * 0.85, deep * 0.8), (-high - 0.2, -high), 0.04, 2)


def car(b: Builder) -> None:
    """A body, a cabin or a load, four wheels."""
    long, wide, high = b.between(0.7, 0.95), b.between(0.3, 0.42), b.between(0.12, 0.2)
    b.add(BOX, [wide, high, long, 0.08])
    cabin = b.between(0.3, 0.6)
    if b.chance(0.7):
        size = [wide * 0.9, b.between(0.14, 0.3), long * cabin, 0.1]
        at = (0, high + 0.12, b.between(-0.25, 0.1))
        b.add(BOX, size, at, blend=0.08, colour=b.count(0, 1))
    else:
        b.add(BOX, [wide, 0.35, long * 0.6, 0.03], (0, high + 0.3, -long * 0.35), colour=1)
        b.add(BOX, [wide * 0.95, 0.25, long * 0.22, 0.06], (0, high + 0.2, long * 0.6))
    radius, axle = b.between(0.14, 0.22), about_z(math.pi / 2)
    for x in (-1, 1):
        for z in (-1, 1):
            at = (x * wide, -high, z * long * 0.6)
            b.add(CYLINDER, [radius, 0.07, 0, 0.02], at, axle, colour=2, plain=True)


def house(b: Builder) -> None:
    """Walls, a roof, a chimney, a door and windows, a wing."""
    wide, high, deep = b.between(0.35, 0.7), b.between(0.25, 0.55), b.between(0.35, 0.8)
    b.add(BOX, [wide, high, deep, 0.0])
    rise, kind = b.between(0.12, 0.35), b.generator.random()
    if kind < 0.6:
        b.add(ROOF, [wide * 1.12, rise, deep * 1.12], (0, high + rise, 0), colour=1)
    elif kind < 0.8:
        b.add(CONE, [max(wide, deep) * 1.2, 0.02, rise], (0, high + rise, 0), colour=1)
    if b.chance(0.5):
        at = (wide * 0.5, high + rise, b.between(-0.3, 0.3) * deep)
        b.add(BOX, [0.07, 0.2, 0.07, 0], at, colour=2)
    if b.chance(0.7):
        door = (b.between(-0.4, 0.4) * wide, -high + 0.17, deep)
        b.add(BOX, [0.1, 0.17, 0.03, 0], door, colour=2, plain=True)
        for x in (-1, 1):
            b.add(BOX, [0.08, 0.08, 0.02, 0], (x * wide * 0.55, high * 0.3, deep), colour=2)
    if b.chance(0.3):
        wing = [wide * 0.5, high * 0.7, deep * 0.5, 0]
        b.add(BOX, wing, (wide * 1.2, -high * 0.3, b.between(-0.3, 0.3)))


def monitor(b: Builder) -> None:
    """A flat screen on a stand."""
    wide = b.between(0.6, 0.95)
    high = wide * b.between(0.5, 0.7)
    b.add(BOX, [wide, high, 0.05, 0.02], (0, 0.2, 0), plain=True)
    b.add(BOX, [wide * 0.93, high * 0.9, 0.02, 0], (0, 0.2, 0.045), colour=1)
    b.add(BOX, [0.06, 0.25, 0.04, 0.01], (0, 0.1 - high, -0.05), colour=2, plain=True)
    b.add(BOX, [wide * 0.4, 0.03, 0.2, 0.01], (0, -0.1 - high, 0), colour=2, plain=True)


def boxes(b: Builder) -> None:
    """Boxes or books on each other."""
    number, y = b.count(1, 3), -0.3
    for i in range(number):
        half = b.between(0.06, 0.5) / number**0.5
        at = (b.between(-0.1, 0.1) * i, y + half, b.between(-0.1, 0.1) * i)
        size = [b.between(0.3, 0.8), half, b.between(0.25, 0.6), b.between(0, 0.05)]
        b.add(BOX, size, at, about_y(b.between(-0.4, 0.4)), colour=i)
        y += 2 * half


def heap(b: Builder) -> None:
    """A few random primitives, joined or cut out of each other."""
    for i in range(b.count(1, 5)):
        kind = int(b.generator.choice([BOX, CYLINDER, CONE, TORUS, CAPSULE, SUPERQUADRIC, 5]))
        x, y, z = b.between(0.15, 0.6), b.between(0.15, 0.6), b.between(0.15, 0.6)
        size = {
            BOX: [x, y, z, min(x, y, z) * b.between(0, 0.6)],
            CYLINDER: [x, y, 0, min(x, y) * b.between(0, 0.5)],
            CONE: [x, z * b.between(0, 1), y],
            TORUS: [max(x, 0.25), b.between(0.07, 0.2), 0],
            CAPSULE: [x * 0.6, y],
            SUPERQUADRIC: [x, y, z, 2.0 if b.chance(0.5) else b.between(2, 6)],
        }[kind]
        at = b.generator.uniform(-0.4, 0.4, 3) * (i > 0)
        rotation = any_rotation(b.generator) if b.chance(0.6) else None
        cut = i > 0 and b.chance(0.18)
        blend = b.between(0.02, 0.2) if b.chance(0.4) else 0
        b.add(kind, size, at, rotation, cut=cut, blend=blend, colour=i)


def stack(b: Builder) -> None:
    """Round and square pieces on each other."""
    y = -0.9
    for i in range(b.count(2, 4)):
        half, radius = b.between(0.1, 0.3), b.between(0.15, 0.5)
        kind = int(b.generator.choice([BOX, CYLINDER, CONE, SUPERQUADRIC, TORUS]))
        half = min(half, 0.15) if kind == TORUS else half
        size = {
            BOX: [radius, half, radius * b.between(0.6, 1.2), 0.03],
            CYLINDER: [radius, half, 0, 0.02],
            CONE: [radius, radius * b.between(0.2, 1), half],
            SUPERQUADRIC: [radius, half, radius, b.between(2, 4)],
            TORUS: [radius, half, 0],
        }[kind]
        b.add(kind, size, (0, y + half, 0), about_y(b.between(0, 3)), colour=i)
        y += 2 * half


def appliance(b: Builder) -> None:
    """A toaster, radio or speaker: a soft box with slots, knobs and feet."""
    w, h, d = b.between(0.5, 0.85), b.between(0.3, 0.55), b.between(0.2, 0.45)
    if b.chance(0.5):
        b.add(BOX, [w, h, d, b.between(0.02, 0.18)])
    else:
        b.add(SUPERQUADRIC, [w, h, d, b.between(3, 7)])
    if b.chance(0.5):
        for z in (-0.35, 0.35):
            slot = [w * 0.75, 0.2, 0.06, 0.01]
            b.add(BOX, slot, (0, h, z * d), cut=True, colour=1, plain=True)
    for _ in range(b.count(0, 3)):
        r = b.between(0.05, 0.16)
        at = (b.between(-0.7, 0.7) * w, b.between(-0.5, 0.5) * h, d)
        b.add(CYLINDER, [r, 0.05, 0, 0.01], at, about_x(math.pi / 2), colour=2, plain=True)
    if b.chance(0.4):
        b.add(BOX, [w * 0.6, h * 0.5, 0.03, 0.01], (0, 0, d), colour=1)
    if b.chance(0.4):
        legs(b, (w * 0.8, d * 0.7), (-h - 0.08, -h), 0.05, 2, square=False)
    if b.chance(0.3):
        b.add(TORUS, [w * 0.6, 0.04, 0], (0, h * 0.8, 0), about_x(math.pi / 2), colour=2)
