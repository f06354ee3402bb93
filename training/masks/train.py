"""Trains the mask network: `python -m training.masks.train --data DATA --out RUN`.

DATA holds the shards of `training.scenes.make_data`. The detector's weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.common.command import read_options
from training.common.task import Loss, Recipe, Task
from training.common.train import train
from training.masks.batches import RECIPES, Batch, checked, open_batches
from training.masks.network import new_network

CHECKED = 40  # scenes
DICE_WEIGHT = 0.5  # of the overlap's error against that of the cells


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    options = read_options(argv, RECIPES, "Trains the mask network, resumably.")
    task = task_of(options.recipe, options.data)
    train(task, options.out, options.device, options.helpers)


def task_of(recipe: Recipe, folder: Path) -> Task[Batch]:
    """The mask network, on the scenes of a folder."""
    return Task(
        recipe,
        new_network=partial(new_network, recipe.seed),
        open_batches=partial(open_batches, recipe, folder),
        loss=loss_on,
        measured=partial(measured, checked(folder, CHECKED)),
        by_adam=("stem", "answer", "colour"),
    )


def loss_on(network: nn.Module, batch: Batch) -> Loss:
    """Cross entropy of the cells, and one less the soft overlap (Dice) of the masks."""
    logits = network(batch.features, batch.colours)
    cells = functional.binary_cross_entropy_with_logits(logits, batch.covered)
    likely = torch.sigmoid(logits)
    both = (likely * batch.covered).sum((1, 2))
    dice = 1 - (2 * both + 1) / (likely.sum((1, 2)) + batch.covered.sum((1, 2)) + 1)
    errors = {"cells": cells.detach(), "iou": iou_of(logits, batch.covered).mean().detach()}
    return Loss(cells + DICE_WEIGHT * dice.mean(), errors)


def iou_of(logits: Tensor, covered: Tensor) -> Tensor:
    """(N,): intersection over union of the cells that are likelier inside than not."""
    found, true = logits > 0, covered > 0.5
    return (found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1)


def measured(batch: Batch, network: nn.Module) -> dict[str, float]:
    """Overlap on windows that no batch shows, and how many of them have most of it."""
    ious = iou_of(network(batch.features, batch.colours), batch.covered)
    return {"iou": float(ious.mean()), "iou_70": float((ious > 0.7).float().mean())}


if __name__ == "__main__":
    main()
