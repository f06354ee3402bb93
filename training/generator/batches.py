"""What is the lite generator trained by, and on which samples at which step?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.generate.lite.layered import network_input
from training.common import task
from training.generator.augment import Batch, Truth, augmented
from training.generator.losses import Target
from training.generator.network import CHANNELS
from training.generator.samples import KINDS, Shards

Data = dict[int, Shards]
CHECKED = 192  # the last shapes of every size, which only the learning curve sees


@dataclass(frozen=True)
class Recipe(task.Recipe):
    """channels of the network; measured, hidden: shares of the samples with depth, and with
    something in front; meshes: share of the samples that show one; tables: of the others, how many
    show what stands on tables, in the last steps, whose share of all is `late`; sizes: of pictures,
    each with its share of the steps and the samples in one (96 pixels are shrunk from 128)."""

    steps: int = 15000
    # The first part's process also makes the update, so it gets fewer samples.
    parts: tuple[float, ...] = (0.4375, 0.5625)
    channels: tuple[int, ...] = CHANNELS
    # Depth is soon read off the input; what a picture alone tells is the harder half.
    measured: float = 0.25
    hidden: float = 0.12
    meshes: float = 0.2
    tables: float = 0.5
    late: float = 0.16
    sizes: tuple[tuple[int, float, int], ...] = ((64, 0.94, 16), (96, 0.03, 8), (128, 0.03, 5))


RECIPES = {
    "cpu": Recipe(),
    # Launching its kernels takes longer than their work: batches as large as the cores can distort.
    "cuda": Recipe(
        steps=4400, channels=(64, 128, 160, 192), parts=(1.0,), rate=3e-3, adam_rate=1.5e-3,
        sizes=((64, 0.94, 320), (96, 0.03, 160), (128, 0.03, 100)),
    ),
}  # fmt: skip


class PartBatch(NamedTuple):
    """What a part of a step is computed from, on the CPU: the network's input, and the truth."""

    images: Tensor
    target: Target


def open_data(folder: Path) -> Data:
    """The samples by size.

    Raises ValueError when there are none.
    """
    found = sorted(f for f in folder.iterdir() if f.name.isdigit()) if folder.is_dir() else []
    if not found:
        raise ValueError(
            f"{folder}: no training samples; run `python -m training.generator.make_data` first"
        )
    return {int(f.name): Shards(sorted(f.glob("*_*[0-9]"))) for f in found}


def open_batches(
    recipe: Recipe, folder: Path, halved: bool = False
) -> Callable[[int, int], PartBatch]:
    """What draws a part's samples of a step.

    halved: the images as 16-bit numbers, for a network whose first layer keeps no more: half the
    bytes between the processes that draw them.
    """
    data = open_data(folder)

    def draw(step: int, part: int) -> PartBatch:
        batch = part_batch(recipe, data, step, part)
        return batch._replace(images=batch.images.half()) if halved else batch

    return draw


def part_batch(recipe: Recipe, data: Data, step: int, part: int) -> PartBatch:
    """Draw and distort one part's samples."""
    generator = np.random.default_rng((recipe.seed, step, part))
    batch = draw_batch(recipe, step, part, data, generator)
    seen, truth = augmented(batch, generator, recipe.measured, recipe.hidden)
    return PartBatch(tensor(network_input(seen)), target_of(truth))


def draw_batch(
    recipe: Recipe, step: int, part: int, data: Data, generator: np.random.Generator
) -> Batch:
    """A part's samples, of one size; sizes and kinds that are not there are left out."""
    sizes = [s for s in recipe.sizes if stored_size(s[0]) in data]
    weights = np.array([fraction for _, fraction, _ in sizes])
    size, _, in_step = sizes[int(generator.choice(len(sizes), p=weights / weights.sum()))]
    count, shards = round(in_step * recipe.parts[part]), data[stored_size(size)]
    meshes, shapes, tables = (shards.kinds[kind] for kind in KINDS)
    is_mesh = generator.random(count) < (recipe.meshes if meshes else 0)
    mesh = generator.integers(0, max(len(meshes), 1), count)
    unseen = max(shapes.stop - CHECKED, shapes.start + 1)
    shape = generator.integers(shapes.start, unseen, count)
    if tables and step >= recipe.steps * (1 - recipe.late):
        is_table = generator.random(count) < recipe.tables
        shape = np.where(is_table, generator.integers(tables.start, tables.stop, count), shape)
    indices = np.where(is_mesh, mesh, shape)
    batch = shards.take(indices)
    return batch if size == stored_size(size) else shrunk(batch, size)


def stored_size(size: int) -> int:
    """The size of the samples from which a picture of a size is made."""
    return 64 if size <= 64 else 128


def shrunk(batch: Batch, size: int) -> Batch:
    """A batch at a smaller size, by the nearest pixel: layers must not be mixed."""

    def nearest(values: np.ndarray, side: int) -> np.ndarray:
        rows = ((np.arange(side) + 0.5) * values.shape[1] / side).astype(int)
        return values[:, rows][:, :, rows]

    sides = {"rgba": size, "layers": size, "back": size // 2, "inner": size // 2}
    return {n: nearest(v, sides[n]) if n in sides else v for n, v in batch.items()}


def tensor(values: np.ndarray) -> Tensor:
    """An array as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(values))


def target_of(truth: Truth) -> Target:
    """The truth as the loss wants it."""
    colours = (truth.back.transpose(0, 3, 1, 2), truth.inner.transpose(0, 3, 1, 2))
    return Target(*(tensor(v) for v in (truth.depths, truth.solid, truth.gap, *colours)))
