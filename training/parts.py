"""How do several processes share a step? Each takes some of its batches and adds up gradients.

A step's gradient is the mean over the recipe's parts. Parts are numbered and have generators of
their own, so what comes out does not depend on how many processes there were.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.generate.layered import network_input
from training.augment import Batch, Truth, augmented
from training.losses import Target, loss_of
from training.network import LayeredDepth
from training.samples import Shards

Errors = tuple[float, float]  # of first and last surface
Data = dict[int, Shards]
CHECKED = 192  # the last samples of every size, which only the learning curve sees


@dataclass(frozen=True)
class Phase:
    """first_step; rate, adam_rate: of learning, by Muon and by AdamW; measured, hidden: shares of
    the samples with depth, and with something in front; meshes: share of the samples that show one,
    None for what is there; sizes: per size of picture its share of the batches and the samples in
    one (96 pixels are shrunk from 128)."""

    first_step: int
    rate: float
    adam_rate: float
    measured: float
    hidden: float
    meshes: float | None
    sizes: tuple[tuple[int, float, int], ...]


@dataclass(frozen=True)
class Recipe:
    """steps; seed; parts: batches of a step; phases: in the order of their first steps;
    check_every: steps between two checkpoints."""

    steps: int = 4400
    seed: int = 0
    parts: int = 2
    phases: tuple[Phase, ...] = (
        Phase(0, 1.5e-3, 1.5e-3, 0.5, 0.25, None, ((64, 0.8, 16), (96, 0.1, 8), (128, 0.1, 5))),
        # Depth is soon read off the input; what a picture alone tells is the harder half.
        Phase(1600, 2.5e-3, 2.5e-3, 0.3, 0.25, None,
              ((64, 0.88, 16), (96, 0.06, 8), (128, 0.06, 5))),
        # More and smaller steps teach more than fewer large ones.
        Phase(2200, 2.5e-3, 1.2e-3, 0.25, 0.12, 0.2,
              ((64, 0.94, 8), (96, 0.03, 4), (128, 0.03, 3))),
    )  # fmt: skip
    check_every: int = 200

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        return [p for p in self.phases if p.first_step <= step][-1]


def open_data(folder: Path) -> Data:
    """The samples by size.

    Raises ValueError when there are none.
    """
    found = sorted(f for f in folder.iterdir() if f.name.isdigit()) if folder.is_dir() else []
    if not found:
        raise ValueError(f"{folder}: no training samples; run `python -m training.make_data` first")
    return {int(f.name): Shards(sorted(f.glob("*_*[0-9]"))) for f in found}


def add_gradient(
    network: LayeredDepth, recipe: Recipe, data: Data, step: int, part: int, device: str
) -> Errors:
    """Add one part's share of a step's gradient to that of the network's parameters."""
    generator = np.random.default_rng((recipe.seed, step, part))
    phase = recipe.phase(step)
    batch = draw_batch(phase, data, generator)
    seen, truth = augmented(batch, generator, phase.measured, phase.hidden)
    loss = loss_of(network(tensor(network_input(seen), device)), target_of(truth, device))
    (loss.total / recipe.parts).backward()
    return float(loss.front), float(loss.back)


def draw_batch(phase: Phase, data: Data, generator: np.random.Generator) -> Batch:
    """Samples of one size; sizes that are not there are left out."""
    shares = [s for s in phase.sizes if stored_size(s[0]) in data]
    weights = np.array([share for _, share, _ in shares])
    size, _, count = shares[int(generator.choice(len(shares), p=weights / weights.sum()))]
    shards = data[stored_size(size)]
    last = max(len(shards) - CHECKED, shards.meshes + 1)
    if phase.meshes is None or shards.meshes == 0:
        indices = generator.integers(0, last, count)
    else:
        is_mesh = generator.random(count) < phase.meshes
        one = generator.integers(0, shards.meshes, count)
        other = generator.integers(shards.meshes, last, count)
        indices = np.where(is_mesh, one, other)
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


def tensor(values: np.ndarray, device: str) -> Tensor:
    """An array on a device."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def target_of(truth: Truth, device: str) -> Target:
    """The truth as the loss wants it."""
    colours = (truth.back.transpose(0, 3, 1, 2), truth.inner.transpose(0, 3, 1, 2))
    return Target(*(tensor(v, device) for v in (truth.depths, truth.solid, truth.gap, *colours)))


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
            own_parts = [p for p in range(1, recipe.parts) if (p - 1) % count == index]
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
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data, network = open_data(folder), LayeredDepth()
    parameters = list(network.parameters())
    while (step := pipe.recv()) is not None:
        start = 0
        with torch.no_grad():
            for p in parameters:
                p.copy_(weights[start : start + p.numel()].view_as(p))
                p.grad = None
                start += p.numel()
        errors = [add_gradient(network, recipe, data, step, part, "cpu") for part in parts]
        with torch.no_grad():
            flat = [p.grad.flatten() for p in parameters if p.grad is not None]
            gradient.copy_(torch.cat(flat))
        pipe.send(errors)
