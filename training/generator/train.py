"""Trains the lite generator: `python -m training.generator.train --data DATA --out RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.generate.lite.layered import network_input
from training.common.command import read_options
from training.common.task import Loss, Task
from training.common.train import train
from training.generator.augment import clean
from training.generator.batches import (
    CHECKED,
    RECIPES,
    PartBatch,
    Recipe,
    open_batches,
    open_data,
    target_of,
    tensor,
)
from training.generator.losses import loss_of, overlap
from training.generator.network import new_network
from training.generator.samples import SHAPES


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    options = read_options(argv, RECIPES, "Trains the lite generator, resumably.")
    task = task_of(options.recipe, options.data, options.device)
    train(task, options.out, options.device, options.helpers)


def task_of(recipe: Recipe, folder: Path, device: str) -> Task[PartBatch]:
    """The lite generator, on the samples of a folder."""
    return Task(
        recipe,
        new_network=partial(new_network, recipe.seed, recipe.channels),
        open_batches=partial(open_batches, recipe, folder, halved=device == "cuda"),
        loss=loss_on,
        measured=partial(measured, folder, device),
    )


def loss_on(network: nn.Module, batch: PartBatch) -> Loss:
    """Of a network's answer to a batch."""
    # The network alone: differences of depths need the digits that half the bytes do not have.
    with torch.autocast("cuda", torch.bfloat16, enabled=batch.images.is_cuda):
        output = network(batch.images).float()
    return loss_of(output, batch.target)


def measured(folder: Path, device: str, network: nn.Module) -> dict[str, float]:
    """Errors of first and last surface and overlap on shapes that no batch shows."""
    data = open_data(folder)
    shards = data[min(data)]
    seen, truth = clean(shards.take(np.array(shards.kinds[SHAPES][-CHECKED:])))
    target = target_of(truth)
    output = network(tensor(network_input(seen)).to(device)).cpu()
    errors = {name: float(error) for name, error in loss_of(output, target).errors.items()}
    return {**errors, "iou": float(overlap(output, target).mean())}


if __name__ == "__main__":
    main()
