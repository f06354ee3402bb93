"""What does the mask network learn from? Windows around the objects of rendered scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from scene.types import Bool, Float32, Uint8
from stages.segment.lite.boxes import Box, common
from stages.segment.lite.masks import MASK_CELLS, FeaturesOf, sampled, window_around, windows
from training.common.task import Recipe

SCENES_PER_BATCH, WINDOWS_PER_SCENE = 6, 4
CHECKED_SHARDS = 1  # the first shards are never trained on
SIDES_PX = (320, 352, 416, 480)  # long sides of the photo for the detector
MIN_OBJECT_PX = 150  # pixels of an object in the render
BOX_DEVIATION = 0.07  # of a box's sides: how wrong the detector's boxes are


RECIPES = {"cpu": Recipe(steps=400, check_every=100)}


class Batch(NamedTuple):
    """features (N, 448, 28, 28), colours (N, 3, 56, 56), covered (N, 56, 56): the part of
    each cell that is the thing."""

    features: Tensor
    colours: Tensor
    covered: Tensor


class Scenes:
    """The rendered scenes of `training.scenes.make_data`, shard by shard."""

    def __init__(self, folder: Path, checked: bool) -> None:
        shards = sorted(f for f in folder.iterdir() if f.name.isdigit())
        chosen = shards[:CHECKED_SHARDS] if checked else shards[CHECKED_SHARDS:]
        self._arrays = [
            (np.load(f / "rgb.npy", mmap_mode="r"), np.load(f / "labels.npy", mmap_mode="r"))
            for f in chosen
        ]
        self.places = [(a, i) for a, (rgb, _) in enumerate(self._arrays) for i in range(len(rgb))]

    def scene(self, index: int) -> tuple[Uint8, Uint8]:
        """A photo (H, W, 3) and its labels (H, W)."""
        array, place = self.places[index]
        rgb, labels = self._arrays[array]
        return np.array(rgb[place]), np.array(labels[place])


def open_batches(recipe: Recipe, folder: Path) -> Callable[[int, int], Batch]:
    """What draws the batch of a step and a part."""
    scenes, features_of = Scenes(folder, checked=False), open_features()

    def draw(step: int, part: int) -> Batch:
        random = np.random.default_rng((recipe.seed, step, part))
        drawn: list[Batch] = []
        while len(drawn) < SCENES_PER_BATCH:
            rgb, labels = scenes.scene(int(random.integers(len(scenes.places))))
            if boxes := boxes_of(labels):
                drawn.append(windows_of(*changed(rgb, labels, random), boxes, features_of, random))
        return Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))

    return draw


def open_features() -> FeaturesOf:
    """The detector's features of a photo at a size."""
    from stages.segment.lite.detector import load_features

    return load_features()


def boxes_of(labels: Uint8) -> dict[int, Box]:
    """The boxes around the visible parts of the objects that are large enough."""
    boxes: dict[int, Box] = {}
    for k in np.unique(labels[labels > 0]).tolist():
        rows, columns = np.nonzero(labels == k)
        if len(rows) >= MIN_OBJECT_PX:
            boxes[k] = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return boxes


def windows_of(rgb: Uint8, labels: Uint8, mirrored: bool, boxes: dict[int, Box],
               features_of: FeaturesOf, random: np.random.Generator) -> Batch:  # fmt: skip
    """Windows of one scene, of objects that others are near to rather than of those alone."""
    kinds = list(boxes)
    near = np.array([
        1 + 3 * any(common(window_around(boxes[k]), boxes[j]) > 0 for j in kinds if j != k)
        for k in kinds
    ], float)  # fmt: skip
    chosen = random.choice(kinds, WINDOWS_PER_SCENE, p=near / near.sum())
    width = labels.shape[1]
    drawn = [shaken(boxes[int(k)], random) for k in chosen]
    if mirrored:
        drawn = [(width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in drawn]
    maps = features_of(rgb, int(random.choice(SIDES_PX)))
    features, colours = windows(maps, drawn)
    covered = np.stack([covered_in(labels == k, box) for k, box in zip(chosen, drawn, strict=True)])
    return Batch(torch.from_numpy(features), torch.from_numpy(colours), torch.from_numpy(covered))


def covered_in(mask: Bool, box: Box) -> Float32:
    """(56, 56): a mask in the window around a box."""
    x0, y0, x1, y1 = window = window_around(box)
    factor = min(1.0, MASK_CELLS / max(x1 - x0, y1 - y0))
    size = max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor))
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    at = (window[0] * factor, window[1] * factor, window[2] * factor, window[3] * factor)
    return sampled(np.asarray(small, np.float32)[None], at, MASK_CELLS)[0]


def shaken(box: Box, random: np.random.Generator) -> Box:
    """A box as wrong as those of the detector."""
    wide, high = box[2] - box[0], box[3] - box[1]
    dx0, dy0, dx1, dy1 = np.clip(random.normal(0, BOX_DEVIATION, 4), -0.2, 0.2)
    return box[0] + dx0 * wide, box[1] + dy0 * high, box[2] + dx1 * wide, box[3] + dy1 * high


def changed(rgb: Uint8, labels: Uint8, random: np.random.Generator) -> tuple[Uint8, Uint8, bool]:
    """A scene in other light, noise and focus, perhaps mirrored, and whether it is."""
    values = rgb.astype(np.float32) / 255
    values = np.clip(values * random.normal(1, 0.06, 3) * random.uniform(0.7, 1.3), 0, 1)
    values = values ** random.uniform(0.7, 1.4)
    if random.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.4, 1.2))
    if random.random() < 0.15:
        values = np.repeat(values.mean(2, keepdims=True), 3, 2)
    values = values + random.normal(0, random.uniform(0, 0.03), values.shape)
    changed_rgb = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    if random.random() < 0.5:
        return np.ascontiguousarray(changed_rgb[:, ::-1]), labels[:, ::-1], True
    return changed_rgb, labels, False


def checked(folder: Path, count: int, seed: int = 7) -> Batch:
    """Windows of scenes that no batch shows."""
    scenes, features_of = Scenes(folder, checked=True), open_features()
    random = np.random.default_rng(seed)
    drawn = []
    for index in range(min(count, len(scenes.places))):
        rgb, labels = scenes.scene(index)
        if boxes := boxes_of(labels):
            drawn.append(windows_of(rgb, labels, False, boxes, features_of, random))
    return Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
