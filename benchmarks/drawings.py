"""Drawn pictures of objects with thin parts, whose masks are known because they are drawn.

Each shape is a list of parts in a unit square, y down, with random proportions; a drawing turns,
mirrors and scales it, paints it flat or textured, and puts it on a ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from scene.types import Bool, Float32, Float64, Uint8

FINER = 4  # parts are drawn this many times finer, then averaged: antialiased outlines
MAX_ROTATION_DEG = 12.0
MIN_CONTRAST = 90.0  # of a colour against what it must stand out from, in sRGB levels
SHARED_PX = 2  # columns that touching objects share, so that no ground shows between them
GROUNDS = ("white", "grey", "textured")
PAINTS = ("flat", "textured")


@dataclass(frozen=True)
class Part:
    """A filled polygon (N, 2), or with a width a stroke along these points, unit square."""

    points: Float64
    width: float = 0.0


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture (H, W, 3) uint8 and the mask (H, W) bool of every object in it."""

    rgb: Uint8
    masks: tuple[Bool, ...]


Random = np.random.Generator
Shape = Callable[[Random], list[Part]]


def stroke(width: float, *points: tuple[float, float]) -> Part:
    """A line through points."""
    return Part(np.array(points), width)


def polygon(*points: tuple[float, float]) -> Part:
    """A filled outline."""
    return Part(np.array(points))


def ellipse(x: float, y: float, across: float, down: float, width: float = 0.0) -> Part:
    """An ellipse of half axes `across` and `down`, or with a width its line."""
    angle = np.linspace(0, 2 * np.pi, 49)
    return Part(np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], 1), width)


def curve(width: float, *points: tuple[float, float]) -> Part:
    """A line bent smoothly by its inner points (a Bezier curve)."""
    corners, t = np.array(points), np.linspace(0, 1, 33)[:, None, None]
    level = np.repeat(corners[None], 33, 0)
    while level.shape[1] > 1:
        level = (1 - t) * level[:, :-1] + t * level[:, 1:]
    return Part(level[:, 0], width)


def chair(random: Random) -> list[Part]:
    """Seat, four legs that lean, and a back of bars or a board."""
    leg, seat, lean = random.uniform(0.02, 0.045), random.uniform(0.48, 0.6), random.uniform(0, 0.1)
    left, right, top = 0.25, random.uniform(0.62, 0.75), random.uniform(0.02, 0.12)
    back = random.uniform(0.06, 0.12)
    parts = [
        polygon((left, seat), (right, seat), (right + 0.08, seat + 0.09),
                (left - 0.08, seat + 0.09)),
        stroke(leg, (left - 0.05, seat + 0.07), (left - 0.05 - lean, 0.98)),
        stroke(leg, (right + 0.05, seat + 0.07), (right + 0.05 + lean, 0.98)),
        stroke(leg, (left + 0.06, seat + 0.05), (left + 0.06, 0.9)),
        stroke(leg, (right - 0.06, seat + 0.05), (right - 0.06, 0.9)),
        stroke(leg, (left + 0.02, seat + 0.02), (left + 0.02, top)),
        stroke(leg, (right - 0.02, seat + 0.02), (right - 0.02, top)),
    ]  # fmt: skip
    if random.random() < 0.5:
        board = random.uniform(0.1, 0.25)
        parts.append(polygon((left, top), (right, top), (right, top + board), (left, top + board)))
    else:
        for y in np.arange(top + 0.03, seat - 0.08, back + leg):
            parts.append(stroke(leg, (left, y), (right, y)))
    return parts


def stool(random: Random) -> list[Part]:
    """A round seat on three or four legs with a rung."""
    leg, y = random.uniform(0.02, 0.05), random.uniform(0.15, 0.4)
    half, foot = random.uniform(0.18, 0.3), random.uniform(0.2, 0.4)
    feet = np.linspace(-1, 1, int(random.integers(3, 5)))
    parts = [ellipse(0.5, y, half, random.uniform(0.04, 0.09))]
    parts += [stroke(leg, (0.5 + 0.75 * half * f, y), (0.5 + foot * f, 0.96)) for f in feet]
    at = random.uniform(0.55, 0.8)
    wide = 0.75 * half + (foot - 0.75 * half) * (at - y) / (0.96 - y)
    return [*parts, stroke(0.8 * leg, (0.5 - wide, at), (0.5 + wide, at))]


def lamp(random: Random) -> list[Part]:
    """A shade on a thin stem, straight or bent, and a foot."""
    stem, top, shade = random.uniform(0.015, 0.035), random.uniform(0.03, 0.1), 0.22
    x, low, high = (
        0.5 + random.uniform(-0.2, 0.2),
        random.uniform(0.15, 0.3),
        random.uniform(0.06, 0.16),
    )
    bottom = top + random.uniform(0.18, 0.28)
    foot = random.uniform(0.12, 0.22)
    return [
        polygon((x - high, top), (x + high, top), (x + low, bottom), (x - low, bottom)),
        curve(stem, (x, bottom - 0.02), (x, shade + 0.3), (0.5, 0.6), (0.5, 0.95)),
        ellipse(0.5, 0.94, foot, random.uniform(0.02, 0.05)),
    ]  # fmt: skip


def goblet(random: Random) -> list[Part]:
    """A bowl on a thin stem with a foot."""
    stem, half = random.uniform(0.02, 0.045), random.uniform(0.16, 0.28)
    rim, low = random.uniform(0.03, 0.12), random.uniform(0.38, 0.52)
    angle = np.linspace(0, np.pi, 25)
    bowl = np.stack([0.5 + half * np.cos(angle), rim + (low - rim) * np.sin(angle) ** 0.8], 1)
    foot = random.uniform(0.13, 0.24)
    return [Part(bowl), stroke(stem, (0.5, low - 0.03), (0.5, 0.93)),
            ellipse(0.5, 0.94, foot, random.uniform(0.02, 0.04))]  # fmt: skip


def bicycle(random: Random) -> list[Part]:
    """Two wheels with or without spokes, a frame, saddle and handlebar."""
    tyre, tube = random.uniform(0.018, 0.035), random.uniform(0.018, 0.032)
    radius = random.uniform(0.19, 0.23)
    back, front, y = (0.23, 0.68), (0.77, 0.68), 0.68
    crank, saddle = (0.46, 0.7), (0.4, random.uniform(0.36, 0.42))
    head = (0.68, random.uniform(0.36, 0.42))
    parts = [ellipse(x, y, radius, radius, tyre) for x, _ in (back, front)]
    if random.random() < 0.5:
        for x, _ in (back, front):
            for a in np.arange(0, np.pi, np.pi / int(random.integers(2, 5))):
                dx, dy = radius * np.cos(a), radius * np.sin(a)
                parts.append(stroke(0.5 * tyre, (x - dx, y - dy), (x + dx, y + dy)))
    parts += [stroke(tube, *line) for line in (
        (back, crank, head, saddle, back), (saddle, crank),
        (front, head, (0.66, 0.3), (0.74, 0.27)),
        ((0.33, saddle[1] - 0.03), (0.46, saddle[1] - 0.03)), (saddle, (0.395, saddle[1] - 0.03)),
    )]  # fmt: skip
    return parts


def dog(random: Random) -> list[Part]:
    """A body on four legs, head, ear, snout and a tail."""
    leg, y = random.uniform(0.035, 0.06), random.uniform(0.42, 0.5)
    back, front = random.uniform(0.22, 0.28), random.uniform(0.66, 0.72)
    thick = random.uniform(0.09, 0.14)
    parts = [ellipse((back + front) / 2, y, (front - back) / 2 + 0.06, thick)]
    for x in (back, back + 0.09, front - 0.08, front):
        parts.append(stroke(leg, (x, y), (x + random.uniform(-0.05, 0.05), 0.92)))
    head = (front + 0.13, y - random.uniform(0.15, 0.24))
    return [*parts,
        ellipse(*head, 0.08, 0.07), stroke(0.06, head, (head[0] + 0.11, head[1] + 0.03)),
        stroke(1.6 * leg, (front, y - 0.03), head),
        stroke(0.035, head, (head[0] - 0.06, head[1] + 0.09)),
        curve(0.6 * leg, (back - 0.02, y), (back - 0.15, y - 0.02), (back - 0.16, y - 0.22)),
    ]  # fmt: skip


def giraffe(random: Random) -> list[Part]:
    """A short body on long thin legs, a long neck and a small head."""
    leg, y = random.uniform(0.02, 0.04), random.uniform(0.48, 0.56)
    back, front = random.uniform(0.28, 0.34), random.uniform(0.58, 0.66)
    parts = [ellipse((back + front) / 2, y, (front - back) / 2 + 0.05, random.uniform(0.07, 0.1))]
    for x in (back, back + 0.07, front - 0.06, front):
        parts.append(stroke(leg, (x, y), (x + random.uniform(-0.04, 0.04), 0.97)))
    head = (front + random.uniform(0.06, 0.16), random.uniform(0.06, 0.14))
    return [*parts, stroke(random.uniform(0.04, 0.07), (front, y - 0.02), head),
        stroke(0.05, head, (head[0] + 0.09, head[1] + 0.04)),
        stroke(0.014, head, (head[0] - 0.01, head[1] - 0.06)),
        curve(0.5 * leg, (back - 0.03, y - 0.02), (back - 0.1, y), (back - 0.08, y + 0.17)),
    ]  # fmt: skip


def glasses(random: Random) -> list[Part]:
    """Two rims, a bridge and two temples."""
    rim, y = random.uniform(0.018, 0.04), 0.5
    across, down = random.uniform(0.14, 0.18), random.uniform(0.1, 0.17)
    left, right = 0.5 - across - 0.05, 0.5 + across + 0.05
    parts = [ellipse(left, y, across, down, rim), ellipse(right, y, across, down, rim)]
    parts.append(curve(rim, (left + across, y - 0.02), (0.5, y - 0.1), (right - across, y - 0.02)))
    for x, out in ((left - across, -1), (right + across, 1)):
        parts.append(
            curve(0.9 * rim, (x, y - 0.02), (x + 0.05 * out, y - 0.25), (x + 0.1 * out, y - 0.2))
        )
    return parts


SHAPES: dict[str, Shape] = {
    "chair": chair, "stool": stool, "lamp": lamp, "goblet": goblet, "bicycle": bicycle,
    "dog": dog, "giraffe": giraffe, "glasses": glasses,
}  # fmt: skip


def one_object(shape: Shape, ground: str, paint: str, random: Random) -> Drawing:
    """A single object on a ground; size, pose and colours from `random`."""
    height, width = (int(random.integers(420, 900)) for _ in range(2))
    size = random.uniform(0.55, 0.9) * min(height, width)
    middle = (random.uniform(0.45, 0.55) * width, random.uniform(0.45, 0.55) * height)
    drawn = covered(posed(shape(random), size, random), middle, height, width)
    return finished([drawn], ground, paint, random)


def two_touching(shapes: Sequence[Shape], ground: str, paint: str, random: Random) -> Drawing:
    """Two objects in different colours, the right one as far left as it touches the left one."""
    height = int(random.integers(420, 800))
    width, size = 2 * height, random.uniform(0.65, 0.85) * height
    left, right = (posed(s(random), size, random) for s in shapes)
    first = covered(left, (0.3 * width, 0.5 * height), height, width)
    second = covered(right, (0.7 * width, 0.5 * height), height, width)
    ends = np.where((first > 0.5).any(1), width - np.argmax(first[:, ::-1] > 0.5, 1), 0)
    starts = np.where((second > 0.5).any(1), np.argmax(second > 0.5, 1), 2 * width)
    gap = int((starts - ends).min()) + SHARED_PX
    second = covered(right, (0.7 * width - gap, 0.5 * height), height, width)
    return finished([first, second], ground, paint, random)


def posed(parts: Sequence[Part], size_px: float, random: Random) -> list[Part]:
    """The parts turned a little, perhaps mirrored, `size_px` large, about the origin."""
    angle = np.radians(random.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = np.array([random.choice([-1, 1]) * random.uniform(0.8, 1.1), 1])
    return [replace(part, points=((part.points - 0.5) * flip) @ turn.T * size_px,
                    width=part.width * size_px) for part in parts]  # fmt: skip


def covered(parts: Sequence[Part], middle: tuple[float, float], height: int,
            width: int) -> Float32:  # fmt: skip
    """(H, W) float32: the share of each pixel that the parts cover."""
    fine = np.zeros((height * FINER, width * FINER), np.uint8)
    for part in parts:
        points = np.rint((part.points + middle) * FINER).astype(np.int32)
        if part.width:
            cv2.polylines(fine, [points], False, 255, max(1, round(part.width * FINER)))
        else:
            cv2.fillPoly(fine, [points], 255)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def finished(drawn: Sequence[Float32], ground: str, paint: str, random: Random) -> Drawing:
    """Ground, shadows and painted objects, blurred as by a lens, some with noise of JPEG."""
    picture, colours = ground_of(ground, drawn[0].shape, random)
    for share in drawn:
        if random.random() < 0.5:
            picture = picture * (1 - shadow_under(share > 0.5, random)[..., None])
    for share in drawn:
        colour = colour_unlike(colours, random)
        colours.append(colour)
        object_rgb = painted(colour, paint, share.shape, random)
        picture = picture + share[..., None] * (object_rgb - picture)
    picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 0.9))
    rgb = np.rint(picture).clip(0, 255).astype(np.uint8)
    if random.random() < 0.5:
        quality = int(random.integers(50, 96))
        _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        rgb = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1].copy()
    above = [np.any([later > 0.5 for later in drawn[i + 1 :]], 0) for i in range(len(drawn))]
    return Drawing(rgb, tuple((s > 0.5) & ~hidden for s, hidden in zip(drawn, above, strict=True)))


def ground_of(kind: str, shape: tuple[int, ...],
              random: Random) -> tuple[Float64, list[Float64]]:  # fmt: skip
    """(H, W, 3) sRGB levels of a ground, and its main colours."""
    if kind == "white":
        colour = np.full(3, random.uniform(244, 255))
    elif kind == "grey":
        colour = np.full(3, random.uniform(90, 215)) + random.uniform(-6, 6, 3)
    else:
        colour = random.uniform(60, 215, 3)
    picture = np.ones((*shape, 3)) * colour
    if kind == "textured":
        picture = textured(colour, shape, random.uniform(8, 26), random)
    if kind != "white" and random.random() < 0.5:
        first, last = random.uniform(0.8, 1.1, 2).tolist()
        slope = np.linspace(first, last, shape[0])[:, None, None]
        picture = picture * slope
    return picture, [colour]


def painted(colour: Float64, paint: str, shape: tuple[int, ...], random: Random) -> Float64:
    """(H, W, 3) sRGB levels of an object's surface."""
    if paint == "flat":
        return np.ones((*shape, 3)) * colour
    return textured(colour, shape, random.uniform(12, 40), random)


def textured(colour: Float64, shape: tuple[int, ...], depth: float,
             random: Random) -> Float64:  # fmt: skip
    """(H, W, 3) of a colour with grain, stripes, checks, cloud or dots of `depth` levels."""
    y, x = np.indices(shape, np.float64)
    angle, step = random.uniform(0, np.pi), random.uniform(8, 40)
    u, v = (
        (np.cos(angle) * x + np.sin(angle) * y) / step,
        (np.cos(angle) * y - np.sin(angle) * x) / step,
    )
    kind = random.choice(["grain", "stripes", "checks", "cloud", "dots"])
    if kind == "grain":
        pattern = random.normal(0, 0.7, shape)
    elif kind == "stripes":
        pattern = np.sin(2 * np.pi * u + 2 * np.sin(0.5 * v))
    elif kind == "checks":
        pattern = np.sign(np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v))
    elif kind == "cloud":
        pattern = cv2.GaussianBlur(random.normal(0, 1, shape), (0, 0), step / 4)
        pattern = pattern / pattern.std()
    else:
        pattern = 2.0 * (((u % 1) - 0.5) ** 2 + ((v % 1) - 0.5) ** 2 < 0.09) - 1
    grain = random.normal(0, 3, shape)
    return colour + (depth * pattern + grain)[..., None]


def shadow_under(mask: Bool, random: Random) -> Float64:
    """(H, W) in [0, 1): how much a soft shadow at an object's foot darkens the ground."""
    rows, columns = np.nonzero(mask)
    middle = (int(columns.mean()), int(rows.max()))
    half = (max(1, int(0.45 * np.ptp(columns))), max(1, int(0.06 * np.ptp(rows))))
    drawn = cv2.ellipse(np.zeros(mask.shape), middle, half, 0, 0, 360, 1.0, -1)
    return random.uniform(0.1, 0.3) * cv2.GaussianBlur(drawn, (0, 0), max(2.0, 0.5 * half[1]))


def colour_unlike(others: Sequence[Float64], random: Random) -> Float64:
    """(3,) a colour that stands out from the others."""
    while True:
        colour = random.uniform(15, 240, 3)
        if min(float(np.linalg.norm(colour - other)) for other in others) > MIN_CONTRAST:
            return colour
