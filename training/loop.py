"""Trains the lite network: `python -m training.loop --data DATA --out RUN`, resumable.

Every step draws from a generator of its own, seeded by (seed, step): a run that was interrupted
goes on as if it had not been, and the same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from stages.generate.layered import network_input
from training.augment import Batch, Seen, Truth, augmented, clean
from training.losses import Target, loss_of
from training.muon import Muon
from training.network import LayeredDepth, new_network
from training.samples import Shards

logger = logging.getLogger(__name__)

MUON_MOMENTUM, WEIGHT_DECAY = 0.95, 0.02
ADAM_BETAS = (0.9, 0.98)
WARM_UP, CONSTANT = 60, 0.6  # steps up to the full rate; share of the run that keeps it
LAST_RATE = 0.03  # of the full rate, at the end
CLIP = 3.0
AVERAGE, AVERAGE_RAMP = 0.998, 8  # of the weights that are kept
CHECKED = 192  # samples of the training set's last shards that only the learning curve sees


@dataclass(frozen=True)
class Recipe:
    """steps; seed; learning rate; per size of picture: share of the steps and samples in a batch.

    96 pixels are shrunk from 128. threads: of the arithmetic; part of what makes bytes repeat.
    """

    steps: int = 5000
    seed: int = 0
    rate: float = 1.5e-3
    shares: tuple[tuple[int, float, int], ...] = ((64, 0.8, 32), (96, 0.1, 16), (128, 0.1, 8))
    threads: int = 2
    check_every: int = 250


@dataclass(eq=False)
class State:
    """Everything that changes."""

    network: LayeredDepth
    average: LayeredDepth
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(steps=options.steps, seed=options.seed)
    train(recipe, open_data(options.data), options.out, options.device)


def open_data(folder: Path) -> dict[int, Shards]:
    """The samples by size."""
    sizes = sorted(int(f.name) for f in folder.iterdir() if f.name.isdigit())
    return {size: Shards(sorted((folder / str(size)).glob("*_*[0-9]"))) for size in sizes}


def train(recipe: Recipe, data: dict[int, Shards], out: Path, device: str) -> State:
    """Run to the recipe's last step, writing a checkpoint now and then."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    state = start(recipe, device)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        restore(state, checkpoint, device)
    errors: list[tuple[float, float]] = []
    while state.step < recipe.steps:
        began = time.process_time()
        errors.append(train_step(state, recipe, data, device))
        state.seconds += time.process_time() - began
        if state.step % recipe.check_every == 0 or state.step == recipe.steps:
            _report(state, data, errors[-recipe.check_every :], out, device)
            save(state, recipe, checkpoint)
    return state


def start(recipe: Recipe, device: str) -> State:
    """Fresh weights and optimizers."""
    network = new_network(recipe.seed).to(device)
    kernels, rest = [], []
    for name, parameter in network.named_parameters():
        # Muon is for matrices inside the network, not for its first and last layers.
        inside = parameter.ndim == 4 and parameter.shape[0] >= 16 and not name.startswith("stem")
        (kernels if inside else rest).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(kernels, recipe.rate, MUON_MOMENTUM, WEIGHT_DECAY),
        torch.optim.AdamW(rest, recipe.rate, ADAM_BETAS, weight_decay=WEIGHT_DECAY),
    ]
    return State(network, copy.deepcopy(network), optimizers)


def train_step(
    state: State, recipe: Recipe, data: dict[int, Shards], device: str
) -> tuple[float, float]:
    """One step; returns the errors of first and last surface on its batch."""
    generator = np.random.default_rng((recipe.seed, state.step))
    seen, truth = augmented(draw_batch(recipe, data, generator), generator)
    loss = loss_of(state.network(_tensor(network_input(seen), device)), _target(truth, device))
    for optimizer in state.optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate_share(state.step, recipe.steps)
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    for optimizer in state.optimizers:
        optimizer.step()
    state.step += 1
    keep = min(AVERAGE, 1 - 1 / (state.step / AVERAGE_RAMP + 2))
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
        for averaged, new in pairs:
            averaged.lerp_(new, 1 - keep)
    return float(loss.front), float(loss.back)


def draw_batch(recipe: Recipe, data: dict[int, Shards], generator: np.random.Generator) -> Batch:
    """Samples of one size; sizes that are not there are left out."""
    shares = [s for s in recipe.shares if _stored(s[0]) in data]
    weights = np.array([share for _, share, _ in shares])
    size, _, count = shares[int(generator.choice(len(shares), p=weights / weights.sum()))]
    shards = data[_stored(size)]
    indices = generator.integers(0, max(len(shards) - CHECKED, 1), count)
    batch = shards.take(indices)
    return batch if size == _stored(size) else shrunk(batch, size)


def _stored(size: int) -> int:
    return 64 if size == 64 else 128


def shrunk(batch: Batch, size: int) -> Batch:
    """A batch of 128 px at another size, by the nearest pixel: layers must not be mixed."""

    def nearest(values: np.ndarray, side: int) -> np.ndarray:
        rows = ((np.arange(side) + 0.5) * values.shape[1] / side).astype(int)
        return values[:, rows][:, :, rows]

    half = size // 2
    sides = {"rgba": size, "layers": size, "back": half, "inner": half}
    return {n: nearest(v, sides[n]) if n in sides else v for n, v in batch.items()}


def rate_share(step: int, steps: int) -> float:
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
        "seconds": state.seconds,
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
    state.step, state.seconds = content["step"], content["seconds"]


def _report(
    state: State,
    data: dict[int, Shards],
    errors: list[tuple[float, float]],
    out: Path,
    device: str,
) -> None:
    """One line of the learning curve: errors on this stretch's batches and on unseen samples."""
    shards = data[min(data)]
    first = max(len(shards) - CHECKED, 0)
    seen, truth = clean(shards.take(np.arange(first, len(shards))))
    with torch.no_grad():
        output = state.average(_tensor(network_input(seen), device))
    loss = loss_of(output, _target(truth, device))
    front, back = np.mean(errors, axis=0) if errors else (float("nan"),) * 2
    line = {
        "step": state.step, "cpu_s": round(state.seconds, 1),
        "front": round(float(loss.front), 5), "back": round(float(loss.back), 5),
        "train_front": round(float(front), 5), "train_back": round(float(back), 5),
    }  # fmt: skip
    with (out / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    logger.info("%s", line)


def _tensor(values: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _target(truth: Truth, device: str) -> Target:
    colours = (truth.back.transpose(0, 3, 1, 2), truth.inner.transpose(0, 3, 1, 2))
    return Target(*(_tensor(v, device) for v in (truth.depths, truth.solid, truth.gap, *colours)))


__all__ = ["Recipe", "Seen", "State", "open_data", "start", "train", "train_step"]


if __name__ == "__main__":
    main()
