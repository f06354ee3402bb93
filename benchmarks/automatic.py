"""Measures automatic segmentation of drawings and writes its section of docs/benchmarks.md.

    python -m benchmarks.automatic

Three questions to `grabcut`: is a drawn object with thin parts found as one; do two that touch stay
two; and what do 40 objects cost against 20. What is found in photos is measured by
`python -m benchmarks.lite --part segment`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drawings import GROUNDS, PAINTS, SHAPES, Drawing, one_object, two_touching
from benchmarks.found_objects import overlap
from benchmarks.report import replace_section
from scene.types import Bool, Float32, Photo, Uint8
from stages.segment import grabcut
from stages.segment.shared.saliency import load_saliency

DOCUMENT = Path("docs/benchmarks.md")
IMAGES_PER_GROUND = 60  # of single objects on each ground
PAIRS = 24
FOUND = 0.8  # IoU with the drawn mask
COLUMNS, ROWS = 8, 5  # cells of the crowd that is timed
CROWD_PX = (1280, 960)


@dataclass(frozen=True)
class Outcome:
    """What was found in a drawing: how many objects too many (negative: too few), and for each
    drawn one the best IoU."""

    surplus: int
    ious: tuple[float, ...]

    @property
    def right(self) -> bool:
        """Every object found once and whole."""
        return self.surplus == 0 and min(self.ious) >= FOUND


def main() -> None:
    """Measure all three and rewrite the document's section."""
    backend = grabcut.load(grabcut.Settings(), "cpu")
    text = "\n\n".join((shapes_table(backend), pairs_line(backend), growth_line()))
    replace_section(DOCUMENT, "Automatic masks", text)
    print(text)


def drawings(ground: str, count: int, seed: int = 0) -> list[tuple[str, Drawing]]:
    """`count` drawings of single objects on a ground, with the shape's name, all shapes in turn."""
    random = np.random.default_rng([seed, GROUNDS.index(ground)])
    names = [list(SHAPES)[k % len(SHAPES)] for k in range(count)]
    paints = [PAINTS[(k // len(SHAPES)) % len(PAINTS)] for k in range(count)]
    return [
        (name, one_object(SHAPES[name], ground, paint, random))
        for name, paint in zip(names, paints, strict=True)
    ]


def pairs(count: int, seed: int = 0) -> list[Drawing]:
    """`count` drawings of two touching objects, on all grounds and in all paints in turn."""
    random = np.random.default_rng([seed, len(GROUNDS)])
    return [
        two_touching(
            [SHAPES[name] for name in random.choice(list(SHAPES), 2, replace=False)],
            GROUNDS[k % len(GROUNDS)], PAINTS[(k // len(GROUNDS)) % len(PAINTS)], random,
        )
        for k in range(count)
    ]  # fmt: skip


def outcome(backend: grabcut.GrabCut, drawing: Drawing) -> Outcome:
    """Segment a drawing without prompts."""
    found = [mask.pixels for mask in backend.segment(Photo(drawing.rgb), (), ())]
    return Outcome(len(found) - len(drawing.masks), best_ious(found, drawing.masks))


def best_ious(found: list[Bool], truths: tuple[Bool, ...]) -> tuple[float, ...]:
    """For each true mask the best IoU of a found one."""
    return tuple(max((overlap(f, t) for f in found), default=0.0) for t in truths)


def shapes_table(backend: grabcut.GrabCut) -> str:
    """Share of drawings with exactly one object and a good outline, per shape and ground."""
    right = {
        ground: [
            (name, outcome(backend, d).right) for name, d in drawings(ground, IMAGES_PER_GROUND)
        ]
        for ground in GROUNDS
    }
    lines = [f"| exactly one object, IoU >= {FOUND} | {' | '.join(GROUNDS)} |", "|---|---|---|---|"]
    for shape in SHAPES:
        own = ([good for name, good in right[ground] if name == shape] for ground in GROUNDS)
        lines.append(f"| {shape} | {' | '.join(f'{sum(o)}/{len(o)}' for o in own)} |")
    means = (float(np.mean([good for _, good in right[ground]])) for ground in GROUNDS)
    lines.append(
        f"| **all, {IMAGES_PER_GROUND} a ground** | {' | '.join(f'{m:.0%}' for m in means)} |"
    )
    return "\n".join(lines)


def pairs_line(backend: grabcut.GrabCut) -> str:
    """How many of the touching pairs stay two."""
    outcomes = [outcome(backend, d) for d in pairs(PAIRS)]
    two, whole = sum(o.surplus == 0 for o in outcomes), sum(o.right for o in outcomes)
    return (f"Two touching objects of different colours: {two} of {PAIRS} pairs stay two, "
            f"{whole} with IoU >= {FOUND} for both.")  # fmt: skip


def growth_line() -> str:
    """CPU seconds of 20 and 40 objects of one size in one run, and their ratio."""
    few, many = (crowd_seconds(count) for count in (20, 40))
    return (f"40 objects cost {many:.1f} CPU s, 20 of the same size {few:.1f}: "
            f"{many / few:.2f} times as much.")  # fmt: skip


def crowd_seconds(count: int) -> float:
    """CPU seconds to segment a photo of `count` objects, all of which are found.

    The network sees few of so many: it is asked, for what it costs, and the drawing answers.
    """
    network = load_saliency()
    rgb, ground = crowd(count)

    def saliency_of(part: Uint8) -> Float32:
        network(part)
        return (np.abs(part.astype(np.int16) - ground).max(2) > 30).astype(np.float32)

    settings = grabcut.Settings(min_area_share=0.0005, max_objects=1000)
    started = time.process_time()
    found = grabcut.GrabCut(settings, saliency_of).segment(Photo(rgb), (), ())
    seconds = time.process_time() - started
    if len(found) != count:
        raise RuntimeError(f"expected {count} objects in the crowd, found {len(found)}")
    return seconds


def crowd(count: int) -> tuple[Uint8, int]:
    """(H, W, 3) uint8 of discs and boxes in rows, and the grey level of their ground."""
    random = np.random.default_rng(0)
    width, height = CROWD_PX
    ground, cell = 230, min(width / COLUMNS, height / ROWS)
    rgb = random.normal(ground, 3, (height, width, 3))
    for place in random.permutation(COLUMNS * ROWS)[:count]:
        x = int((place % COLUMNS + 0.5) * width / COLUMNS)
        y = int((place // COLUMNS + 0.5) * height / ROWS)
        half, drawn = int(cell * random.uniform(0.25, 0.36)), np.zeros((height, width), np.uint8)
        if random.random() < 0.5:
            cv2.circle(drawn, (x, y), half, 1, -1)
        else:
            cv2.rectangle(drawn, (x - half, y - half), (x + half, y + half), 1, -1)
        rgb[drawn > 0] = random.uniform(20, 150, 3)
    smooth = cv2.GaussianBlur(rgb, (0, 0), 0.7)
    return np.clip(smooth, 0, 255).astype(np.uint8), ground


if __name__ == "__main__":
    main()
