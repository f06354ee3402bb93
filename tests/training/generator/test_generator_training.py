"""The lite generator learns in a few steps, and gives the same bytes again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

WHY = "the training's extra: pip install -e '.[train]'"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("numba", reason=WHY)
pytest.importorskip("safetensors", reason=WHY)

from training.common.checkpoint import FILE  # noqa: E402
from training.common.crew import drawn_ahead  # noqa: E402
from training.common.train import CURVE, save, start, train, train_step  # noqa: E402
from training.generator import batches  # noqa: E402
from training.generator.samples import TABLES, Shards  # noqa: E402
from training.generator.train import task_of  # noqa: E402

# No tables at its end: their first steps would hide what was learned by then.
SMOKE = batches.Recipe(
    steps=12, parts=(0.5, 0.5), measured=0.5, sizes=((64, 1.0, 4),), check_every=4, late=0
)
TABLES_DRAWN = 8  # by the fixture


def _trained(recipe: batches.Recipe, data: Path, out: Path, helpers: int = 0) -> bytes:
    state = train(task_of(recipe, data, "cpu"), out, "cpu", helpers)
    return b"".join(p.detach().numpy().tobytes() for p in state.network.parameters())


def test_training_learns_and_goes_on_where_it_stopped(data: Path, tmp_path) -> None:
    """Interrupted half-way and resumed, the bytes are those of a run in one go."""
    whole = _trained(SMOKE, data, tmp_path / "whole")
    curve = [json.loads(line) for line in (tmp_path / "whole" / CURVE).open()]
    assert [line["step"] for line in curve] == [4, 8, 12]
    assert all(np.isfinite(line["front"]) and 0 <= line["iou"] <= 1 for line in curve)
    for surface in ("train_front", "train_back"):
        errors = [line[surface] for line in curve]
        assert errors[2] < errors[1] < errors[0] and errors[2] < 0.7 * errors[0]
    half, task = tmp_path / "half", task_of(SMOKE, data, "cpu")
    state, draw = start(task, "cpu"), task.open_batches()
    for step in range(5):
        train_step(state, task, [draw(step, part) for part in (0, 1)], "cpu")
    half.mkdir()
    save(state, SMOKE, half / FILE)
    assert _trained(SMOKE, data, half) == whole


@pytest.mark.long
@pytest.mark.slow
def test_helping_processes_change_nothing(data: Path, tmp_path) -> None:
    few = replace(SMOKE, steps=2)
    alone = _trained(few, data, tmp_path / "alone")
    assert _trained(few, data, tmp_path / "helped", helpers=1) == alone


@pytest.mark.long
@pytest.mark.slow
def test_the_whole_recipe_gives_the_same_bytes_again(data: Path, tmp_path) -> None:
    recipe = replace(batches.Recipe(), steps=20)  # with its own sizes, from warm-up to tables
    first, second = (_trained(recipe, data, tmp_path / name) for name in ("first", "second"))
    assert first == second


def test_what_stands_on_tables_is_seen_late(data: Path) -> None:
    opened = batches.open_data(data)
    tables = opened[64].kinds[TABLES]
    assert len(tables) == TABLES_DRAWN and tables.stop == len(opened[64])
    stored = {t.tobytes() for t in opened[64].take(np.array(tables))["layers"]}
    recipe = replace(SMOKE, steps=100, tables=0.5, late=0.3)

    def share(steps: range) -> float:
        seeded = np.random.default_rng
        drawn = [batches.draw_batch(recipe, s, 0, opened, seeded(s)) for s in steps]
        return float(np.mean([one.tobytes() in stored for b in drawn for one in b["layers"]]))

    assert share(range(70)) == 0 and 0.35 < share(range(70, 100)) < 0.65


def test_smaller_pictures_keep_layers_apart(data: Path) -> None:
    batch = Shards(sorted((data / "64").glob("shapes_*"))).take(np.arange(4))
    small = batches.shrunk(batch, 48)
    assert small["rgba"].shape == (4, 48, 48, 4) and small["back"].shape == (4, 24, 24, 3)
    assert set(np.unique(small["layers"])) <= set(np.unique(batch["layers"]))


@pytest.mark.long
@pytest.mark.slow
def test_batches_drawn_ahead_are_those_drawn_at_once(data: Path) -> None:
    recipe = replace(SMOKE, steps=3, parts=(1.0,))
    opened = batches.open_data(data)
    for step, drawn in enumerate(drawn_ahead(task_of(recipe, data, "cuda"), 1), 1):
        (batch,), again = drawn, batches.part_batch(recipe, opened, step, 0)
        torch.testing.assert_close(batch.images, again.images.half())
        torch.testing.assert_close(batch.target.depths, again.target.depths)
        assert step < 3
