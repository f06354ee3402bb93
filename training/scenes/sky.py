"""What is around the scene: an environment map with the horizon at its middle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scene.types import Float32, Uint8

WIDTH, HEIGHT = 512, 256
BRIGHTEST = 12.0  # times the mean: brighter spots would leave single bright pixels


@dataclass(frozen=True, eq=False)
class Sky:
    """radiance (HEIGHT, WIDTH, 3) float32, linear, mean 1; the top row looks up."""

    name: str
    radiance: Float32


def read_sky(file: Path) -> Sky:
    """An equirectangular OpenEXR file."""
    import OpenEXR

    with OpenEXR.File(str(file)) as opened:
        channels: Any = opened.channels()
        if "RGB" in channels:
            pixels = channels["RGB"].pixels
        elif "RGBA" in channels:
            pixels = channels["RGBA"].pixels[..., :3]
        else:
            pixels = np.stack([channels[c].pixels for c in "RGB"], -1)
    small = cv2.resize(
        np.asarray(pixels, np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA
    )
    small = np.nan_to_num(np.asarray(small), nan=0, posinf=1e3).clip(0)
    small = np.minimum(small, BRIGHTEST * small.mean())
    return Sky(file.stem, (small / max(float(small.mean()), 1e-9)).astype(np.float32))


def glimpse(sky: Sky, generator: np.random.Generator, side: int = 256) -> Uint8:
    """A piece of a sky as a picture for a wall (side, side, 3)."""
    height = int(generator.integers(40, 110))
    width = int(height * generator.uniform(0.8, 1.6))
    row = int(generator.integers(50, HEIGHT - 40 - height))
    column = int(generator.integers(0, WIDTH - width))
    piece = sky.radiance[row : row + height, column : column + width]
    bright = np.clip(0.5 * piece / max(float(np.median(piece)), 1e-3), 0, 1) ** (1 / 2.2)
    return np.asarray(cv2.resize((255 * bright).astype(np.uint8), (side, side)), np.uint8)
