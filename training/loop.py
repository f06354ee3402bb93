"""Trains the lite network: `python -m training.loop --data DATA --out RUN`, resumable.

Every step draws from generators of its own, seeded by (seed, step, part): a run that was
interrupted goes on as if it had not been, and the same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from stages.generate.lite.layered import network_input
from training.augment import clean
from training.losses import loss_of, overlap
from training.muon import Muon
from training.network import LayeredDepth, new_network
from training.parts import (
    CHECKED,
    RECIPES,
    Data,
    Errors,
    Helpers,
    PartBatch,
    Recipe,
    add_gradient,
    drawn_ahead,
    open_data,
    part_batch,
    target_of,
    tensor,
)
from training.samples import SHAPES

logger = logging.getLogger(__name__)

MUON_MOMENTUM, WEIGHT_DECAY = 0.95, 0.02
ADAM_BETAS = (0.9, 0.98)
WARM_UP, CONSTANT = 100, 0.45  # steps up to the full rate; share of the run that keeps it
LAST_RATE = 0.03  # of the full rate, at the end
CLIP = 3.0
AVERAGE, AVERAGE_RAMP = 0.995, 8  # of the weights that are kept


@dataclass(eq=False)
class State:
    """Everything that changes: step counts from 0; cpu_s are this process's seconds."""

    network: LayeredDepth
    average: LayeredDepth
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    cpu_s: float = 0.0


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="default: as the device's recipe says")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=tuple(RECIPES), default=best)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = replace(RECIPES[options.device], seed=options.seed)
    recipe = replace(recipe, steps=options.steps or recipe.steps)
    helpers = len(recipe.parts) - 1 if options.device == "cpu" else 0
    train(recipe, options.data, options.out, options.device, helpers)


def train(recipe: Recipe, folder: Path, out: Path, device: str, helpers: int = 0) -> State:
    """Run to the recipe's last step, writing a checkpoint now and then.

    helpers: processes besides this one, on a CPU; they make it faster and change nothing else.
    """
    out.mkdir(parents=True, exist_ok=True)
    # Small convolutions gain little from threads; processes share the work instead.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data, state, checkpoint = open_data(folder), start(recipe, device), out / "checkpoint.pt"
    if checkpoint.exists():
        restore(state, checkpoint, device)
    crew = Helpers(recipe, folder, state.network, helpers) if helpers else None
    errors: list[Errors] = []
    ahead = drawn_ahead(recipe, folder, state.step) if device == "cuda" else None
    while state.step < recipe.steps:
        began = time.process_time()
        if ahead is None:
            own = range(len(recipe.parts) if crew is None else 1)
            batches = (part_batch(recipe, data, state.step, part) for part in own)
        else:
            batches = next(ahead)
        errors += train_step(state, recipe, batches, device, crew)
        state.cpu_s += time.process_time() - began
        if state.step % recipe.check_every == 0 or state.step == recipe.steps:
            report(state, data, errors, out, device)
            save(state, recipe, checkpoint)
            errors = []
    if crew is not None:
        crew.stop()
    return state


def start(recipe: Recipe, device: str) -> State:
    """Fresh weights and optimizers."""
    network = new_network(recipe.seed, recipe.channels).to(device)
    if device == "cuda":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kernels, rest = [], []
    for name, parameter in network.named_parameters():
        # Muon is for matrices inside the network, not for its first and last layers.
        inside = parameter.ndim == 4 and parameter.shape[0] >= 16 and not name.startswith("stem")
        (kernels if inside else rest).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(kernels, recipe.rate, MUON_MOMENTUM, WEIGHT_DECAY),
        torch.optim.AdamW(rest, recipe.adam_rate, ADAM_BETAS, weight_decay=WEIGHT_DECAY),
    ]
    return State(network, copy.deepcopy(network), optimizers)


def train_step(
    state: State,
    recipe: Recipe,
    batches: Iterable[PartBatch],
    device: str,
    crew: Helpers | None = None,
) -> list[Errors]:
    """One step, of which `batches` are the first parts and the crew's the others; returns the
    errors of first and last surface on all."""
    share = rate_fraction(state.step, recipe.steps)
    rates = (recipe.rate * share, recipe.adam_rate * share)
    for optimizer, rate in zip(state.optimizers, rates, strict=True):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
    if crew is not None:
        crew.begin(state.network, state.step)
    losses = [
        add_gradient(state.network, batch, share, device)
        for share, batch in zip(recipe.parts, batches, strict=False)
    ]
    # Numbers when the curve is drawn: a GPU would be waited for at every step.
    errors: list[Errors] = [(loss.front, loss.back) for loss in losses]
    if crew is not None:
        errors += crew.finish(state.network)
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    for optimizer in state.optimizers:
        optimizer.step()
    state.step += 1
    _average(state)
    return errors


def _average(state: State) -> None:
    """Move the averaged weights toward the new ones; faster at first."""
    keep = min(AVERAGE, 1 - 1 / (state.step / AVERAGE_RAMP + 2))
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
        for averaged, new in pairs:
            averaged.lerp_(new, 1 - keep)


def rate_fraction(step: int, steps: int) -> float:
    """The learning rate's share: up, constant, down to LAST_RATE in a straight line."""
    left = (1 - step / steps) / (1 - CONSTANT)
    return min(1.0, (step + 1) / WARM_UP) * min(1.0, max(LAST_RATE, left))


def save(state: State, recipe: Recipe, path: Path) -> None:
    """Write a checkpoint; the old one stays until the new one is whole."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizers": [o.state_dict() for o in state.optimizers],
        "step": state.step,
        "cpu_s": state.cpu_s,
        "recipe": asdict(recipe),
    }
    unfinished = path.with_suffix(".part")
    torch.save(content, unfinished)
    unfinished.rename(path)


def restore(state: State, path: Path, device: str) -> None:
    """Go on from a checkpoint."""
    content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    for optimizer, saved in zip(state.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    state.step, state.cpu_s = content["step"], content["cpu_s"]


def report(state: State, data: Data, errors: list[Errors], out: Path, device: str) -> None:
    """One line of the learning curve: errors on this stretch's batches, errors and overlap on
    unseen samples."""
    shards = data[min(data)]
    seen, truth = clean(shards.take(np.array(shards.kinds[SHAPES][-CHECKED:])))
    with torch.no_grad():
        output = state.average(tensor(network_input(seen)).to(device))
        target = target_of(truth).to(device)
        loss, shared = loss_of(output, target), overlap(output, target).mean()
    trained_front, trained_back = np.mean([(float(f), float(b)) for f, b in errors], axis=0)
    line = {
        "step": state.step, "cpu_s": round(state.cpu_s, 1),
        "front": round(float(loss.front), 5), "back": round(float(loss.back), 5),
        "iou": round(float(shared), 4),
        "train_front": round(float(trained_front), 5), "train_back": round(float(trained_back), 5),
    }  # fmt: skip
    with (out / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    logger.info("%s", line)


if __name__ == "__main__":
    main()
