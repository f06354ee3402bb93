"""Trains the point map network: `python -m training.points.train --data DATA --out RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from training.common.command import read_options
from training.common.task import Loss, Task
from training.common.train import train
from training.points.batches import (
    CHECKED,
    PartBatch,
    Recipe,
    clean,
    open_batches,
    open_shards,
)
from training.points.losses import loss_of
from training.points.network import Output, new_network

RECIPES = {"cpu": Recipe()}
DETECTOR = Path("weights/lite/nanodet.onnx")
CHECKED_SCENES = 24  # of each shard that is kept


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    options = read_options(argv, RECIPES, "Trains the point map network, resumably.")
    train(task_of(options.recipe, options.data), options.out, options.device, options.helpers)


def task_of(recipe: Recipe, folder: Path, detector: Path = DETECTOR) -> Task[PartBatch]:
    """The point map network, on the scenes of a folder."""
    return Task(
        recipe,
        new_network=partial(new_network, recipe.seed, detector),
        open_batches=partial(open_batches, recipe, folder),
        loss=loss_on,
        measured=partial(measured, folder),
        by_adam=("backbone.stem", "narrow", "head.5", "attend", "field"),
    )


def loss_on(network: nn.Module, batch: PartBatch) -> Loss:
    """Of a network's answer to a batch."""
    # The layers alone, in half the time: angles and differences of depths need all digits.
    # Without instructions for it bfloat16 is emulated, many times slower than float32.
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        output = network(batch.image, batch.grid, batch.objects)
    return loss_of(Output(*(values.float() for values in output)), batch)


def measured(folder: Path, network: nn.Module) -> dict[str, float]:
    """Errors on scenes that no batch shows."""
    found: list[dict[str, float]] = []
    for shard in open_shards(folder)[-CHECKED:]:
        rows = range(min(CHECKED_SCENES, len(shard["rgb"])))
        samples = [clean(shard, row) for row in rows]
        batch = PartBatch(*(torch.stack(column) for column in zip(*samples, strict=True)))
        found.append({n: float(e) for n, e in loss_on(network, batch).errors.items()})
    return {name: sum(f[name] for f in found) / len(found) for name in found[0]}


if __name__ == "__main__":
    main()
