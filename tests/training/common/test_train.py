"""The trainer on a tiny network: what it needs from a task, rates, resuming, what stays frozen."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

WHY = "the training's extra: pip install -e '.[train]'"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("safetensors", reason=WHY)

from torch import Tensor, nn  # noqa: E402

from training.common.checkpoint import FILE, read_checkpoint  # noqa: E402
from training.common.task import Draw, Loss, Recipe, Task  # noqa: E402
from training.common.train import CURVE, rate_fraction, save, start, train, train_step  # noqa: E402

RECIPE = Recipe(steps=40, seed=3, parts=(0.5, 0.5), rate=0.05, adam_rate=0.05, check_every=10)


class Blurred(NamedTuple):
    """Pictures, and what the network should make of them."""

    pictures: Tensor
    wanted: Tensor


def new_network(seed: int) -> nn.Module:
    """A frozen layer, one for Muon, and a last one for AdamW."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        frozen, inner, last = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 16, 3, 1, 1), nn.Conv2d(16, 1, 1)
    frozen.requires_grad_(False)
    return nn.Sequential(frozen, inner, nn.SiLU(), last)


def open_batches(recipe: Recipe) -> Draw[Blurred]:
    """Noise, and the mean of every pixel's neighbourhood."""

    def draw(step: int, part: int) -> Blurred:
        generator = np.random.default_rng((recipe.seed, step, part))
        noise = torch.from_numpy(generator.standard_normal((4, 1, 8, 8)).astype(np.float32))
        return Blurred(noise, nn.functional.avg_pool2d(noise, 3, 1, 1))

    return draw


def loss(network: nn.Module, batch: Blurred) -> Loss:
    """The mean square error."""
    error = (network(batch.pictures) - batch.wanted).square().mean()
    return Loss(error, {"error": error.detach()})


def measured(recipe: Recipe, network: nn.Module) -> dict[str, float]:
    """The error on a step that is never reached."""
    return {"unseen": float(loss(network, open_batches(recipe)(recipe.steps, 0)).total)}


def task_of(recipe: Recipe) -> Task[Blurred]:
    return Task(
        recipe, partial(new_network, recipe.seed), partial(open_batches, recipe), loss,
        partial(measured, recipe), by_adam=("3",),
    )  # fmt: skip


def test_a_run_learns_and_one_that_was_stopped_ends_in_the_same_checkpoint(tmp_path: Path) -> None:
    task = task_of(RECIPE)
    train(task, tmp_path / "whole", "cpu")
    curve = [json.loads(line) for line in (tmp_path / "whole" / CURVE).open()]
    assert [line["step"] for line in curve] == [10, 20, 30, 40]
    assert curve[-1]["train_error"] < 0.6 * curve[0]["train_error"] and curve[-1]["unseen"] < 0.15
    state, draw = start(task, "cpu"), task.open_batches()
    for step in range(13):
        train_step(state, task, [draw(step, part) for part in (0, 1)], "cpu")
    (tmp_path / "stopped").mkdir()
    save(state, RECIPE, tmp_path / "stopped" / FILE)
    train(task, tmp_path / "stopped", "cpu")
    whole, stopped = (read_checkpoint(tmp_path / name / FILE) for name in ("whole", "stopped"))
    assert whole.run["step"] == stopped.run["step"] == 40
    for ours, theirs in zip(whole[:3], stopped[:3], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_frozen_layer_stays_and_the_average_follows() -> None:
    task = task_of(RECIPE)
    state, fresh, draw = start(task, "cpu"), task.new_network(), task.open_batches()
    train_step(state, task, [draw(0, 0), draw(0, 1)], "cpu")
    first, now, average = (n.state_dict() for n in (fresh, state.network, state.average))
    assert torch.equal(now["0.weight"], first["0.weight"])
    for name in ("1.weight", "3.weight"):
        moved, followed = now[name] - first[name], average[name] - first[name]
        assert moved.abs().max() > 0
        kept = 1 - 1 / (1 / 8 + 2)
        torch.testing.assert_close(followed, (1 - kept) * moved, rtol=1e-3, atol=1e-7)


def test_another_recipes_checkpoint_is_refused(tmp_path: Path) -> None:
    short = replace(RECIPE, steps=2)
    train(task_of(short), tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"another recipe \(rate, steps\); use another folder"):
        train(task_of(replace(RECIPE, rate=0.1)), tmp_path, "cpu")


def test_the_rate_rises_stays_and_falls() -> None:
    shares = [rate_fraction(s, 1000) for s in range(1000)]
    assert shares[0] < 0.02 and shares[100] == shares[449] == 1 > shares[460] and shares[-1] < 0.05
