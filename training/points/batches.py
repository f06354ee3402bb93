"""Which scenes at which step, and how are they changed?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene.types import Uint8
from stages.map_points.lite.network import (
    Frame,
    frame_of,
    log_ground_depth,
    network_grid,
    network_image,
)
from training.common import task
from training.scenes.make_data import NAMES

CHECKED = 4  # shards, the last ones, which only the learning curve sees
FARTHEST = 3.4  # of log depth over its median: what is farther is not learned
MAX_OBJECTS = 9
UP_ERROR, FOCAL_ERROR = 0.09, 0.15  # radians, share: of the camera that the ground is drawn by


@dataclass(frozen=True)
class Recipe(task.Recipe):
    """count: scenes in a step; known: share of them whose focal length the network is given;
    cropped: how much of a picture is cut off at most, on all sides alike."""

    steps: int = 2400
    # The first part's process also makes the update, so it gets fewer samples.
    parts: tuple[float, ...] = (0.4375, 0.5625)
    count: int = 16
    known: float = 0.35
    cropped: float = 0.3
    rate: float = 6e-4
    adam_rate: float = 3e-4


class PartBatch(NamedTuple):
    """image, grid, ground: what the network gets; log_depth (B, h, w), valid (B, h, w): 1 where
    there is depth; inside (B, h, w): of the photo; labels (B, h, w) int64; up (B, 3); log_focal
    (B,)."""

    image: Tensor
    grid: Tensor
    ground: Tensor
    log_depth: Tensor
    valid: Tensor
    inside: Tensor
    labels: Tensor
    up: Tensor
    log_focal: Tensor


Shard = dict[str, NDArray]


def open_shards(folder: Path) -> list[Shard]:
    """The arrays of every shard, on disk.

    Raises ValueError when there are too few.
    """
    found = sorted(f for f in folder.glob("*") if f.name.isdigit()) if folder.is_dir() else []
    if len(found) <= CHECKED:
        raise ValueError(f"{folder}: too few scenes; run `python -m training.scenes.make_data`")
    return [{n: np.load(f / f"{n}.npy", mmap_mode="r") for n in NAMES} for f in found]


def open_batches(recipe: Recipe, folder: Path) -> Callable[[int, int], PartBatch]:
    """What draws a part's samples of a step: scenes of one shard, so of one size."""
    shards = open_shards(folder)[:-CHECKED]

    def draw(step: int, part: int) -> PartBatch:
        generator = np.random.default_rng((recipe.seed, step, part))
        shard = shards[int(generator.integers(len(shards)))]
        count = round(recipe.count * recipe.parts[part])
        rows = generator.choice(len(shard["rgb"]), min(count, len(shard["rgb"])), replace=False)
        crop = 1 - recipe.cropped * generator.random()
        samples = [drawn(shard, int(row), crop, recipe.known, generator) for row in rows]
        return PartBatch(*(torch.stack(column) for column in zip(*samples, strict=True)))

    return draw


def drawn(
    shard: Shard, row: int, crop: float, known: float, generator: np.random.Generator
) -> tuple[Tensor, ...]:
    """One scene, cropped about its middle, mirrored, with other colours."""
    rgb, depth, labels, up, log_focal = (np.array(shard[name][row]) for name in NAMES)
    height, width = rgb.shape[:2]
    high, wide = round(height * crop), round(width * crop)
    top, left = (height - high) // 2, (width - wide) // 2
    window = np.s_[top : top + high, left : left + wide]
    rgb, depth, labels = rgb[window], depth[window], labels[window]
    focal = float(np.exp(log_focal)) * max(width, height) / max(wide, high)
    if generator.random() < 0.5:
        rgb, depth, labels = rgb[:, ::-1], depth[:, ::-1], labels[:, ::-1]
        up = up * np.array([-1, 1, 1], np.float32)
    rgb = recoloured(np.ascontiguousarray(rgb), generator)
    known_focal = focal if generator.random() < known else None
    believed = believed_camera(up, focal, known_focal, generator)
    return sample_of(rgb, depth, labels, up, focal, known_focal, believed)


def clean(shard: Shard, row: int, known: bool = False) -> tuple[Tensor, ...]:
    """One scene as it is."""
    rgb, depth, labels, up, log_focal = (np.array(shard[name][row]) for name in NAMES)
    focal = float(np.exp(log_focal))
    return sample_of(rgb, depth, labels, up, focal, focal if known else None, (up, focal))


def sample_of(
    rgb: Uint8,
    depth: NDArray,
    labels: NDArray,
    up: NDArray,
    focal: float,
    known_focal: float | None,
    believed: tuple[NDArray, float],
) -> tuple[Tensor, ...]:
    """The fields of a PartBatch for one scene; believed: up and focal length of its ground."""
    frame = frame_of(rgb.shape[1], rgb.shape[0])
    grid = network_grid(frame, known_focal)
    log_depth = at_centres(depth.astype(np.float32), frame, np.inf)
    inside = grid[2]
    known = np.isfinite(log_depth) & (inside > 0)
    middle = float(np.median(log_depth[known])) if known.any() else 0.0
    near = known & (log_depth < middle + FARTHEST)
    arrays = (
        network_image(rgb, frame),
        grid,
        log_ground_depth(*believed, grid[0], grid[1])[None],
        np.where(near, log_depth, 0),
        near,
        inside,
    )
    tensors = [torch.from_numpy(np.asarray(a, np.float32)) for a in arrays]
    numbers = at_centres(labels, frame, 0).astype(np.int64)
    return (
        *tensors,
        torch.from_numpy(np.minimum(numbers, MAX_OBJECTS)),
        torch.from_numpy(np.asarray(up, np.float32)),
        torch.tensor(np.log(focal), dtype=torch.float32),
    )


def believed_camera(
    up: NDArray, focal: float, known_focal: float | None, generator: np.random.Generator
) -> tuple[NDArray, float]:
    """Up and focal length, as wrong as they are when they were read off a photo."""
    wrong = generator.normal(0, UP_ERROR * generator.random(), 3)
    tilted = (up + wrong) / np.linalg.norm(up + wrong)
    factor = 1.0 if known_focal is not None else np.exp(generator.normal(0, FOCAL_ERROR))
    return tilted, focal * float(factor)


def at_centres(values: NDArray, frame: Frame, beyond: float) -> NDArray:
    """Values (H, W) of a photo at the centres of the network's cells; `beyond` outside of it."""
    x, y = frame.centres()
    longer = max(frame.width, frame.height)
    column = np.floor(x * longer + frame.width / 2).astype(int)
    row = np.floor(y * longer + frame.height / 2).astype(int)
    there = (row < frame.height) & (column < frame.width)
    found = values[row.clip(0, frame.height - 1), column.clip(0, frame.width - 1)]
    return np.where(there, found, beyond)


def recoloured(rgb: Uint8, generator: np.random.Generator) -> Uint8:
    """Other exposure, contrast, balance and saturation; blur, noise, JPEG."""
    g = generator
    x = rgb.astype(np.float32) / 255
    if g.random() < 0.15:
        x = x[..., g.permutation(3)]
    x = np.clip(x * g.uniform(0.75, 1.25) * (1 + g.normal(0, 0.06, 3).astype(np.float32)), 0, 1)
    x = x ** np.float32(np.exp(g.normal(0, 0.25)))
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * np.float32(g.uniform(0, 1.4) if g.random() < 0.5 else 1)
    if g.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), g.uniform(0.3, 1.4))
    if g.random() < 0.4:
        x = x + g.normal(0, g.uniform(0.005, 0.05), x.shape).astype(np.float32)
    out = (255 * np.clip(x, 0, 1)).astype(np.uint8)
    if g.random() < 0.3:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(g.integers(30, 95))])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out
