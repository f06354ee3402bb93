"""How do floors, table tops and walls look? Photographed textures and drawn ones."""

from __future__ import annotations

import colorsys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scene.types import Float32, Uint8

SIDE = 256


def photographed(folder: Path) -> dict[str, Uint8]:
    """The textures of a folder at SIDE pixels, by name."""
    found = {}
    for file in sorted(folder.glob("*.png")):
        image = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        found[file.stem] = np.asarray(image)
    return found


def drawn(generator: np.random.Generator) -> Uint8:
    """A texture (SIDE, SIDE, 3) that repeats without a seam."""
    first, second = _pair_of_colours(generator)
    kind = generator.choice(["plain", "cloud", "wood", "tiles", "weave", "terrazzo", "stripes"])
    share = {
        "plain": _plain, "cloud": _cloud, "wood": _wood, "tiles": _tiles, "weave": _weave,
        "terrazzo": _terrazzo, "stripes": _stripes,
    }[str(kind)](generator)  # fmt: skip
    grain = 1 + generator.uniform(0, 0.06) * generator.normal(size=(SIDE, SIDE, 1))
    mixed = (first + (second - first) * share[..., None]) * grain
    return (255 * np.clip(mixed, 0, 1)).astype(np.uint8)


def _pair_of_colours(generator: np.random.Generator) -> tuple[Float32, Float32]:
    """Floors and walls are mostly pale or brown, seldom bright."""
    hue = generator.choice([0.07, 0.1, 0.12, generator.random()])
    value = generator.uniform(0.12, 0.95)
    first = np.array(colorsys.hsv_to_rgb(hue, generator.beta(1.2, 3), value), np.float32)
    if generator.random() < 0.6:
        second = np.clip(first * generator.uniform(0.55, 1.3), 0, 1)
    else:
        second = generator.uniform(0.05, 0.95, 3)
    return first, second.astype(np.float32)


def _noise(generator: np.random.Generator, smooth_x: float, smooth_y: float) -> Float32:
    """(SIDE, SIDE) in [0, 1], repeating, of features that many pixels wide."""
    white = generator.normal(size=(SIDE, SIDE)).astype(np.float32)
    pad = SIDE // 2
    wide = np.pad(white, pad, mode="wrap")
    blurred = cv2.GaussianBlur(wide, (0, 0), smooth_x, sigmaY=smooth_y)[pad:-pad, pad:-pad]
    return np.clip(0.5 + 0.25 * blurred / max(float(blurred.std()), 1e-6), 0, 1)


def _plain(generator: np.random.Generator) -> Float32:
    return 0.15 * _noise(generator, 30, 30)


def _cloud(generator: np.random.Generator) -> Float32:
    widths = generator.uniform(1.5, 30, 3)
    return np.mean([_noise(generator, w, w) for w in widths], axis=0)


def _wood(generator: np.random.Generator) -> Float32:
    along = _noise(generator, 40, generator.uniform(1, 4))
    rings = 0.5 + 0.5 * np.sin(along * generator.uniform(10, 60))
    planks = int(generator.integers(1, 7))
    row = np.arange(SIDE) * planks // SIDE
    tone = generator.uniform(0.6, 1.0, planks)[row][:, None]
    seam = (np.arange(SIDE) * planks % SIDE < planks)[:, None] & (planks > 1)
    return np.where(seam, 1.0, (0.6 * along + 0.4 * rings) * tone).astype(np.float32)


def _tiles(generator: np.random.Generator) -> Float32:
    count = int(generator.integers(1, 9))
    across = count * (1 if generator.random() < 0.6 else 2)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    x = x + 0.5 / across * (np.floor(y * count) % 2) * (generator.random() < 0.4)
    column, row = np.floor(x * across).astype(int) % across, np.floor(y * count).astype(int)
    joint = generator.uniform(0.01, 0.06)
    grout = (x * across % 1 < joint) | (y * count % 1 < joint)
    tone = generator.uniform(0, generator.choice([0.1, 0.9]), (count, across))
    if generator.random() < 0.25:
        tone = (np.add.outer(np.arange(count), np.arange(across)) % 2).astype(float)
    return np.where(grout, generator.uniform(0, 1), tone[row, column]).astype(np.float32)


def _weave(generator: np.random.Generator) -> Float32:
    threads = int(generator.integers(12, 64))
    y, x = np.mgrid[:SIDE, :SIDE] * (2 * np.pi * threads / SIDE)
    cloth = 0.5 + 0.25 * (np.sin(x) * np.cos(y) + np.sin(x + y))
    return (cloth * generator.uniform(0.2, 0.8) + 0.2 * _noise(generator, 8, 8)).astype(np.float32)


def _terrazzo(generator: np.random.Generator) -> Float32:
    width = generator.uniform(1.5, 8)
    return (_noise(generator, width, width) > generator.uniform(0.4, 0.75)).astype(np.float32)


def _stripes(generator: np.random.Generator) -> Float32:
    count = int(generator.integers(2, 16))
    wave = np.sin(2 * np.pi * count * np.arange(SIDE) / SIDE)
    line = (wave > generator.uniform(-0.6, 0.6)) if generator.random() < 0.6 else 0.5 + 0.5 * wave
    sheet = np.broadcast_to(np.asarray(line, np.float32), (SIDE, SIDE))
    return np.ascontiguousarray(sheet if generator.random() < 0.5 else sheet.T)
