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

from stages.map_points.lite.network import (
    Frame,
    frame_of,
    log_ground_depth,
    network_grid,
    network_image,
)
from stages.map_points.lite.objects import object_cells
from training.common import task
from training.points.augmentation import View, mirrored, recoloured, rotated_view
from training.scenes.make_data import NAMES

CHECKED = 4  # shards, the last ones, which only the learning curve sees
FARTHEST = 3.4  # of log depth over its median: what is farther is not learned
MAX_OBJECTS = 9
ALL_TURNED = 0.45  # of the steps, at the start, show every scene in a turned camera
NO_MASKS, MISSED, MISDRAWN = 0.1, 0.07, 0.4  # of scenes; of the objects of the others
UP_ERROR, FOCAL_ERROR = 0.09, 0.15  # radians, share: of the camera that the ground is drawn by


@dataclass(frozen=True)
class Recipe(task.Recipe):
    """count: scenes in a step; known: share of them whose focal length the network is given;
    magnified: by how much a scene is enlarged at most."""

    steps: int = 3400
    # The first part's process also makes the update, so it gets fewer samples.
    parts: tuple[float, ...] = (0.4375, 0.5625)
    count: int = 16
    known: float = 0.35
    magnified: float = 1.25
    rate: float = 6e-4
    adam_rate: float = 3e-4


class PartBatch(NamedTuple):
    """image, grid, objects: what the network gets; log_depth (B, h, w), valid (B, h, w): 1 where
    there is depth; inside (B, h, w): of the photo; labels (B, h, w) int64; up (B, 3); log_focal
    (B,)."""

    image: Tensor
    grid: Tensor
    objects: Tensor
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
        turned = turned_fraction(step / recipe.steps)
        samples = [drawn(shard, int(row), recipe, turned, generator) for row in rows]
        return PartBatch(*(torch.stack(column) for column in zip(*samples, strict=True)))

    return draw


def turned_fraction(progress: float) -> float:
    """How many scenes are shown in a turned camera: all at first, none at the end, so that the
    network ends with cameras as often as they are."""
    return min(1.0, (1 - progress) / (1 - ALL_TURNED))


def drawn(
    shard: Shard, row: int, recipe: Recipe, turned: float, generator: np.random.Generator
) -> tuple[Tensor, ...]:
    """One scene, its camera perhaps turned and its picture enlarged, mirrored, recoloured."""
    view = view_of(shard, row)
    magnification = np.exp(generator.random() * np.log(recipe.magnified))
    if turned == 1 or generator.random() < turned:
        view = rotated_view(view, float(magnification), generator)
    if generator.random() < 0.5:
        view = mirrored(view)
    rgb = recoloured(view.rgb, generator)
    known_focal = view.focal if generator.random() < recipe.known else None
    believed = believed_camera(view.up, view.focal, known_focal, generator)
    masks = outlined(network_size(view.labels), generator)
    return sample_of(view._replace(rgb=rgb), known_focal, believed, masks)


def clean(shard: Shard, row: int, known: bool = False) -> tuple[Tensor, ...]:
    """One scene as it is."""
    view = view_of(shard, row)
    masks = network_size(view.labels)
    return sample_of(view, view.focal if known else None, (view.up, view.focal), masks)


def view_of(shard: Shard, row: int) -> View:
    """A scene of a shard."""
    rgb, log_depth, labels, up, log_focal = (np.array(shard[name][row]) for name in NAMES)
    return View(rgb, log_depth.astype(np.float32), labels, up, float(np.exp(log_focal)))


def sample_of(
    view: View, known_focal: float | None, believed: tuple[NDArray, float], masks: NDArray
) -> tuple[Tensor, ...]:
    """The fields of a PartBatch for one scene; believed: up and focal length of its ground; masks:
    labels of the objects as they were found."""
    frame = frame_of(view.rgb.shape[1], view.rgb.shape[0])
    grid = network_grid(frame, known_focal)
    log_depth = at_centres(view.log_depth, frame, np.inf)
    inside = grid[2]
    known = np.isfinite(log_depth) & (inside > 0)
    middle = float(np.median(log_depth[known])) if known.any() else 0.0
    near = known & (log_depth < middle + FARTHEST)
    ground = log_ground_depth(*believed, grid[0], grid[1]).astype(np.float32)
    arrays = (
        network_image(view.rgb, frame),
        grid,
        object_cells(masks, ground, *believed, frame),
        np.where(near, log_depth, 0),
        near,
        inside,
    )
    tensors = [torch.from_numpy(np.asarray(a, np.float32)) for a in arrays]
    numbers = at_centres(view.labels, frame, 0).astype(np.int64)
    return (
        *tensors,
        torch.from_numpy(np.minimum(numbers, MAX_OBJECTS)),
        torch.from_numpy(np.asarray(view.up, np.float32)),
        torch.tensor(np.log(view.focal), dtype=torch.float32),
    )


def network_size(labels: NDArray) -> NDArray[np.uint8]:
    """Labels (H, W) at the network's size."""
    frame = frame_of(labels.shape[1], labels.shape[0])
    size = (frame.inner_width, frame.inner_height)
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def outlined(labels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Labels as a segmentation finds them: objects are missed, outlines are off by some pixels."""
    g = generator
    if g.random() < NO_MASKS:
        return np.zeros_like(labels)
    out = labels.copy()
    for number in np.unique(labels[labels > 0]):
        mask = labels == number
        if g.random() < MISSED:
            out[mask] = 0
        elif g.random() < MISDRAWN:
            # A blurred mask cut at another level than a half, moved: wider or narrower, and smooth.
            soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), float(g.uniform(0.7, 3)))
            other = soft > g.uniform(0.25, 0.75)
            other = np.roll(other, tuple(g.integers(-1, 2, 2)), (0, 1))
            out[mask & ~other & (out == number)] = 0
            out[other & ((out == 0) | (out == number))] = number
    return out


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
