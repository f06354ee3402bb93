"""How do several processes share a step? Each takes some of its batches and adds up gradients.

A step's gradient is the weighted mean over the recipe's parts. Parts are numbered and have
generators of their own, so what comes out does not depend on how many processes there were.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from stages.generate.lite.layered import network_input
from training.augment import Batch, Truth, augmented
from training.losses import Loss, Target, loss_of
from training.network import CHANNELS, LayeredDepth
from training.samples import KINDS, Shards

Errors = tuple[float | Tensor, float | Tensor]  # of first and last surface
Data = dict[int, Shards]
CHECKED = 192  # the last shapes of every size, which only the learning curve sees


@dataclass(frozen=True)
class Recipe:
    """steps; seed; channels of the network; parts: each part's share of a step's samples; rate,
    adam_rate: of learning, by Muon and by AdamW; measured, hidden: shares of the samples with
    depth, and with something in front; meshes: share of the samples that show one; tables: of the
    others, how many show what stands on tables, in the last steps, whose share of all is `late`;
    sizes: of pictures, each with its share of the steps and the samples in one (96 pixels are
    shrunk from 128); check_every: steps between two checkpoints."""

    steps: int = 15000
    seed: int = 0
    channels: tuple[int, ...] = CHANNELS
    # The first part's process also makes the update, so it gets fewer samples.
    parts: tuple[float, ...] = (0.4375, 0.5625)
    rate: float = 2e-3
    adam_rate: float = 1.2e-3
    # Depth is soon read off the input; what a picture alone tells is the harder half.
    measured: float = 0.25
    hidden: float = 0.12
    meshes: float = 0.2
    tables: float = 0.5
    late: float = 0.16
    sizes: tuple[tuple[int, float, int], ...] = ((64, 0.94, 16), (96, 0.03, 8), (128, 0.03, 5))
    check_every: int = 500


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
        raise ValueError(f"{folder}: no training samples; run `python -m training.make_data` first")
    return {int(f.name): Shards(sorted(f.glob("*_*[0-9]"))) for f in found}


def part_batch(recipe: Recipe, data: Data, step: int, part: int) -> PartBatch:
    """Draw and distort one part's samples."""
    generator = np.random.default_rng((recipe.seed, step, part))
    batch = draw_batch(recipe, step, part, data, generator)
    seen, truth = augmented(batch, generator, recipe.measured, recipe.hidden)
    return PartBatch(tensor(network_input(seen)), target_of(truth))


def add_gradient(network: LayeredDepth, batch: PartBatch, fraction: float, device: str) -> Loss:
    """Add one part's share of a step's gradient to that of the network's parameters."""
    images, target = batch.images.to(device, non_blocking=True), batch.target.to(device)
    # The network alone: differences of depths need the digits that half the bytes do not have.
    with torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
        output = network(images).float()
    loss = loss_of(output, target)
    (loss.total * fraction).backward()
    return loss


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


class Steps(torch.utils.data.Dataset[list[PartBatch]]):
    """Every step's parts, by the step's number; processes of a loader draw them ahead."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._recipe, self._folder = recipe, folder
        self._data: Data | None = None

    def __len__(self) -> int:
        return self._recipe.steps

    def __getitem__(self, step: int) -> list[PartBatch]:
        if self._data is None:  # opened by the process that reads it
            cv2.setNumThreads(1)
            self._data = open_data(self._folder)
        parts = range(len(self._recipe.parts))
        drawn = [part_batch(self._recipe, self._data, step, part) for part in parts]
        # Half the bytes between processes; the first layer keeps fewer digits anyway.
        return [PartBatch(batch.images.half(), batch.target) for batch in drawn]


def drawn_ahead(recipe: Recipe, folder: Path, first: int) -> Iterator[list[PartBatch]]:
    """The parts of steps from the first on, drawn by other processes while a GPU computes."""
    processes = max((os.cpu_count() or 1) - 1, 1)
    yield from torch.utils.data.DataLoader(
        Steps(recipe, folder), sampler=range(first, recipe.steps), batch_size=None,
        num_workers=processes, prefetch_factor=4, multiprocessing_context="spawn",
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


class Helpers:
    """Processes that compute a step's other parts while this one computes the first."""

    def __init__(self, recipe: Recipe, folder: Path, network: LayeredDepth, count: int) -> None:
        """count: how many, at most one per part but the first."""
        size = sum(p.numel() for p in network.parameters())
        self._weights = torch.zeros(size).share_memory_()
        self._gradients = [torch.zeros(size).share_memory_() for _ in range(count)]
        self._pipes: list[Connection] = []
        self._processes = []
        context: Any = multiprocessing.get_context("spawn")
        for index, gradient in enumerate(self._gradients):
            ours, theirs = context.Pipe()
            own_parts = [p for p in range(1, len(recipe.parts)) if (p - 1) % count == index]
            process = context.Process(
                target=_help, args=(recipe, folder, own_parts, self._weights, gradient, theirs),
                daemon=True,
            )  # fmt: skip
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def begin(self, network: LayeredDepth, step: int) -> None:
        """Hand the weights over and let the helpers start on a step."""
        with torch.no_grad():
            self._weights.copy_(torch.cat([p.flatten() for p in network.parameters()]))
        for pipe in self._pipes:
            pipe.send(step)

    def finish(self, network: LayeredDepth) -> list[Errors]:
        """Wait for the helpers and add their gradients."""
        errors: list[Errors] = []
        for pipe, gradient in zip(self._pipes, self._gradients, strict=True):
            errors += pipe.recv()
            start = 0
            for p in network.parameters():
                assert p.grad is not None  # the first part has been computed
                p.grad += gradient[start : start + p.numel()].view_as(p)
                start += p.numel()
        return errors

    def stop(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()


def _help(
    recipe: Recipe,
    folder: Path,
    parts: list[int],
    weights: Tensor,
    gradient: Tensor,
    pipe: Connection,
) -> None:
    """What a helper does until it is told to stop."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data, network = open_data(folder), LayeredDepth(recipe.channels)
    parameters = list(network.parameters())
    while (step := pipe.recv()) is not None:
        start = 0
        with torch.no_grad():
            for p in parameters:
                p.copy_(weights[start : start + p.numel()].view_as(p))
                p.grad = None
                start += p.numel()
        errors = []
        for part in parts:
            batch = part_batch(recipe, data, step, part)
            loss = add_gradient(network, batch, recipe.parts[part], "cpu")
            errors.append((float(loss.front), float(loss.back)))
        with torch.no_grad():
            flat = [p.grad.flatten() for p in parameters if p.grad is not None]
            gradient.copy_(torch.cat(flat))
        pipe.send(errors)
