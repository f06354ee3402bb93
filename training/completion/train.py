"""Trains the completion network: `python -m training.completion.train --data DATA --out RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.complete.lite.scaled import network_input
from training.common import task
from training.common.command import read_options
from training.common.task import Draw, Loss, Task
from training.common.train import train
from training.completion.network import CHANNELS, new_network
from training.completion.pairs import CUTOUTS, Pair, draw_pair
from training.generator.samples import KINDS, Shards

CUTOUT_PX = 64
CHECKED_SEED, CHECKED = 1 << 31, 128
FRACTIONS = {"meshes": 0.4, "shapes": 0.35, "tables": 0.25}
KNOWN = 0.1  # weight of pixels where nothing can be hidden
COLOUR, OVERLAP = 4.0, 0.5  # weights of the losses


@dataclass(frozen=True)
class Recipe(task.Recipe):
    """channels of the network; batch: pairs in a step."""

    steps: int = 1800
    batch: int = 16
    channels: tuple[int, ...] = CHANNELS


RECIPES = {"cpu": Recipe()}


class Batch(NamedTuple):
    """inputs (B, 7, S, S); hidden, amodal (B, 1, S, S) and colours (B, 3, S, S) in [0, 1]."""

    inputs: Tensor
    hidden: Tensor
    amodal: Tensor
    colours: Tensor


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    options = read_options(argv, RECIPES, "Trains the completion network, resumably.")
    task = task_of(options.recipe, options.data)
    train(task, options.out, options.device, options.helpers)


def task_of(recipe: Recipe, folder: Path) -> Task[Batch]:
    """The completion network, on the cut-outs of a folder."""
    return Task(
        recipe,
        new_network=partial(new_network, recipe.seed, recipe.channels),
        open_batches=partial(open_batches, recipe, folder),
        loss=loss_on,
        measured=partial(measured, folder),
    )


def open_batches(recipe: Recipe, folder: Path) -> Draw[Batch]:
    """What draws a part's pairs of a step."""
    shards = _cutouts(folder)

    def draw(step: int, part: int) -> Batch:
        generator = np.random.default_rng((recipe.seed, step, part))
        count = round(recipe.batch * recipe.parts[part])
        return batch_of(pairs_from(shards, count, generator))

    return draw


def _cutouts(folder: Path) -> Shards:
    return Shards(sorted((folder / str(CUTOUT_PX)).glob("*_*[0-9]")))


def pairs_from(shards: Shards, count: int, generator: np.random.Generator) -> list[Pair]:
    """Pairs of randomly drawn cut-outs; kinds that are not there are left out."""
    kinds = [k for k in KINDS if shards.kinds[k]]
    shares = np.array([FRACTIONS[k] for k in kinds])
    pairs: list[Pair] = []
    while len(pairs) < count:
        chosen = generator.choice(len(kinds), CUTOUTS, p=shares / shares.sum())
        ranges = [shards.kinds[kinds[k]] for k in chosen]
        indices = np.array([generator.integers(r.start, r.stop) for r in ranges])
        pair = draw_pair(list(shards.take(indices)["rgba"]), generator)
        pairs += [] if pair is None else [pair]
    return pairs


def batch_of(pairs: Sequence[Pair]) -> Batch:
    """Pairs as the network and the loss want them."""
    stacked = Pair(*(np.stack(values) for values in zip(*pairs, strict=True)))
    unit = np.float32(255)
    masks = (stacked.visible, stacked.hidden, stacked.amodal)
    visible, hidden, amodal = ((m / unit).astype(np.float32) for m in masks)
    inputs = network_input(stacked.rgb, visible, hidden)
    colours = (stacked.colours / unit).transpose(0, 3, 1, 2)
    values = (inputs, hidden[:, None], amodal[:, None], colours)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(v, np.float32)) for v in values))


def loss_on(network: nn.Module, batch: Batch) -> Loss:
    """Of outline and colours, above all where something may be hidden."""
    output = network(batch.inputs)
    logit, rgb = output[:, :1], output[:, 1:]
    weight = KNOWN + (1 - KNOWN) * batch.hidden
    entropy = functional.binary_cross_entropy_with_logits(logit, batch.amodal, reduction="none")
    outline = (entropy * weight).sum() / weight.sum()
    share = logit.sigmoid() * batch.hidden
    true = batch.amodal * batch.hidden
    both, sums = (share * true).sum((1, 2, 3)), (share + true - share * true).sum((1, 2, 3))
    overlap = 1 - ((both + 10) / (sums + 10)).mean()
    inside = batch.amodal * weight
    error = (rgb - batch.colours).abs().mean(1, keepdim=True)
    colour = (error * inside).sum() / inside.sum()
    total = outline + OVERLAP * overlap + COLOUR * colour
    unseen = (error * true).sum() / true.sum().clamp(min=1)
    errors = {"outline": outline, "overlap": overlap, "colour": unseen}
    return Loss(total, {name: value.detach() for name, value in errors.items()})


def measured(folder: Path, network: nn.Module) -> dict[str, float]:
    """Errors on pairs that no batch shows, of the same cut-outs."""
    generator = np.random.default_rng(CHECKED_SEED)
    batch = batch_of(pairs_from(_cutouts(folder), CHECKED, generator))
    return {name: float(value) for name, value in loss_on(network, batch).errors.items()}


if __name__ == "__main__":
    main()
