"""A drawn photo of many objects with their masks and depth, for tests and measurements of size."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from scene.types import Bool, Float64

WIDTH, HEIGHT = 1280, 960
FOV_X_DEG = 55.0
NEAREST, FARTHEST = 2.0, 5.0  # distances in metres of the first and last row
BULGE_M = 0.12
GROUND_ROW_PX, GROUND_SCALE = 150, 900.0  # a floor whose z falls with the row in the picture


def many_objects(folder: Path, count: int) -> list[str]:
    """Write a photo, `count` masks and a depth map into a folder; returns options of `run`.

    The objects stand in rows, nearer rows lower down, and hide a part of what stands behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = np.arange(HEIGHT, dtype=np.float64)[:, None]
    floor = np.clip(GROUND_SCALE / np.maximum(rows - GROUND_ROW_PX, 1), 1.2, FARTHEST + 1)
    depth = np.repeat(floor, WIDTH, 1)
    rgb = random.normal(176, 7, (HEIGHT, WIDTH, 3))
    owner = np.full((HEIGHT, WIDTH), -1)
    for index, (mask, distance) in enumerate(_back_to_front(count)):
        inner = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        bulge = np.sqrt(inner / max(float(inner.max()), 1.0))
        depth[mask] = (distance - BULGE_M * bulge)[mask]
        rgb[mask] = _painted(index, random)[mask]
        owner[mask] = index
    options = [str(folder / "photo.png")]
    cv2.imwrite(options[0], np.rint(rgb).clip(0, 255).astype(np.uint8)[..., ::-1])
    for index in range(count):
        path = folder / f"thing_{index + 1:02d}.png"
        cv2.imwrite(str(path), (owner == index).astype(np.uint8) * 255)
        options += ["--mask", str(path)]
    np.save(folder / "depth.npy", depth.astype(np.float32))
    return [*options, "--pointmap", str(folder / "depth.npy"), "--fov", f"{FOV_X_DEG:g}"]


def _back_to_front(count: int) -> list[tuple[Bool, float]]:
    """Each object's whole outline (H, W) and its distance, the far ones first."""
    columns = math.ceil(math.sqrt(count * WIDTH / HEIGHT))
    lines = math.ceil(count / columns)
    wide, high = WIDTH / columns, (HEIGHT - GROUND_ROW_PX) / lines
    objects = []
    for index in range(count):
        line, column = divmod(index, columns)
        x = (column + 0.5 + 0.2 * (line % 2) - 0.1) * wide
        y = GROUND_ROW_PX + (line + 0.45) * high
        distance = FARTHEST + (NEAREST - FARTHEST) * line / max(lines - 1, 1)
        objects.append((_outline(index, x, y, 0.36 * wide, 0.56 * high), distance))
    return objects


def _outline(index: int, x: float, y: float, half_width: float, half_height: float) -> Bool:
    """An ellipse, a box or a lens-shaped outline in turn."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    centre, axes = (round(x), round(y)), (round(half_width), round(half_height))
    if index % 3 == 0:
        cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
    elif index % 3 == 1:
        low = (centre[0] - axes[0], centre[1] - axes[1])
        cv2.rectangle(canvas, low, (centre[0] + axes[0], centre[1] + axes[1]), 1, -1)
    else:
        turns = np.linspace(0, 2 * math.pi, 7)[:6] + 0.3
        corners = np.stack([np.cos(turns), np.sin(turns)], 1) * axes + centre
        cv2.fillConvexPoly(canvas, np.rint(corners).astype(np.int32), 1)
    return canvas > 0


def _painted(index: int, random: np.random.Generator) -> Float64:
    """(H, W, 3): a colour with stripes and grain, so that textures do not compress away."""
    hue = np.array([[[index * 67 % 180, 170, 205]]], np.uint8)
    colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)
    stripes = 22 * np.sin(np.arange(WIDTH) / (5 + index % 7))[None, :, None]
    return colour + stripes + random.normal(0, 9, (HEIGHT, WIDTH, 3))
