"""How is a network trained, resumably? Steps, rates, averaged weights, checkpoints, curve.

Every step draws from generators of its own, seeded by (seed, step, part): a run that was
interrupted goes on as if it had not been, and the same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from training.common.checkpoint import (
    FILE,
    Checkpoint,
    optimizer_states,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from training.common.crew import Crew, Errors, add_gradient, drawn_ahead, use_one_thread
from training.common.muon import Muon
from training.common.task import Recipe, Task

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")
CURVE = "curve.jsonl"
MUON_MOMENTUM, WEIGHT_DECAY = 0.95, 0.02
MUON_CHANNELS = 16  # kernels with fewer outputs are AdamW's
ADAM_BETAS = (0.9, 0.98)
WARM_UP, CONSTANT = 100, 0.45  # steps up to the full rate; share of the run that keeps it
LAST_RATE = 0.03  # of the full rate, at the end
CLIP = 3.0
AVERAGE, AVERAGE_RAMP = 0.995, 8  # of the weights that are kept


@dataclass(eq=False)
class State:
    """Everything that changes: step counts from 0; cpu_s are this process's seconds."""

    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    cpu_s: float = 0.0


def train(task: Task[Any], out: Path, device: str, helpers: int = 0) -> State:
    """Run to the recipe's last step, writing a checkpoint now and then.

    helpers: processes besides this one, on a CPU; they make it faster and change nothing else.
    """
    out.mkdir(parents=True, exist_ok=True)
    use_one_thread()
    recipe, state, checkpoint = task.recipe, start(task, device), out / FILE
    if checkpoint.exists():
        restore(state, recipe, checkpoint, device)
    draw = task.open_batches()
    crew = Crew(task, state.network, helpers) if helpers else None
    ahead = drawn_ahead(task, state.step) if device == "cuda" else None
    own_parts = range(len(recipe.parts) if crew is None else 1)
    errors: list[Errors] = []
    while state.step < recipe.steps:
        began = time.process_time()
        here = (draw(state.step, part) for part in own_parts)
        errors += train_step(state, task, here if ahead is None else next(ahead), device, crew)
        state.cpu_s += time.process_time() - began
        if state.step % recipe.check_every == 0 or state.step == recipe.steps:
            report(state, task, errors, out / CURVE)
            save(state, recipe, checkpoint)
            errors = []
    if crew is not None:
        crew.stop()
    return state


def start(task: Task[Any], device: str) -> State:
    """Fresh weights and optimizers."""
    network, recipe = task.new_network().to(device), task.recipe
    if device == "cuda":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kernels, rest = [], []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            wide = parameter.ndim == 4 and parameter.shape[0] >= MUON_CHANNELS
            inside = wide and not name.startswith(task.by_adam)
            (kernels if inside else rest).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        Muon(kernels, recipe.rate, MUON_MOMENTUM, WEIGHT_DECAY),
        torch.optim.AdamW(rest, recipe.adam_rate, ADAM_BETAS, weight_decay=WEIGHT_DECAY),
    ]
    return State(network, copy.deepcopy(network), optimizers)


def train_step(
    state: State, task: Task[Batch], batches: Iterable[Batch], device: str, crew: Crew | None = None
) -> list[Errors]:
    """One step, of which `batches` are the first parts and the crew's the others; returns the
    errors of all."""
    recipe = task.recipe
    share = rate_fraction(state.step, recipe.steps)
    rates = (recipe.rate * share, recipe.adam_rate * share)
    for optimizer, rate in zip(state.optimizers, rates, strict=True):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
    if crew is not None:
        crew.begin(state.network, state.step)
    # Numbers when the curve is drawn: a GPU would be waited for at every step.
    errors = [
        add_gradient(task, state.network, batch, fraction, device)
        for fraction, batch in zip(recipe.parts, batches, strict=False)
    ]
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
    run = {"step": state.step, "cpu_s": state.cpu_s, "recipe": asdict(recipe)}
    weights = (state.network.state_dict(), state.average.state_dict())
    write_checkpoint(Checkpoint(*weights, optimizer_states(state.optimizers), run), path)


def restore(state: State, recipe: Recipe, path: Path, device: str) -> None:
    """Go on from a checkpoint.

    Raises ValueError when it is another recipe's.
    """
    saved = read_checkpoint(path, device)
    ours = json.loads(json.dumps(asdict(recipe)))
    theirs = saved.run["recipe"]
    changed = sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
    if changed:
        names = ", ".join(changed)
        raise ValueError(f"{path}: trained with another recipe ({names}); use another folder")
    state.network.load_state_dict(saved.network)
    state.average.load_state_dict(saved.average)
    for optimizer, tensors in zip(state.optimizers, saved.optimizers, strict=True):
        restore_optimizer(optimizer, tensors)
    state.step, state.cpu_s = saved.run["step"], saved.run["cpu_s"]


def report(state: State, task: Task[Any], errors: list[Errors], curve: Path) -> None:
    """One line of the learning curve: figures on unseen samples, and, as `train_NAME`, errors on
    this stretch's batches."""
    with torch.no_grad():
        figures = task.measured(state.average)
    for name in errors[0]:
        figures[f"train_{name}"] = float(np.mean([float(part[name]) for part in errors]))
    rounded = {name: round(value, 5) for name, value in figures.items()}
    line = {"step": state.step, "cpu_s": round(state.cpu_s, 1), **rounded}
    with curve.open("a") as file:
        file.write(json.dumps(line) + "\n")
    logger.info("%s", line)
