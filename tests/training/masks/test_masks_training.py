"""Do the windows of the mask network show what they should, and does its training run?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from scene.types import Float32, Uint8
from stages.segment.lite.masks import (
    MASK_CELLS,
    STRIDES_PX,
    FeatureMaps,
    in_photo,
    window_around,
    windows,
)
from training.common.task import Recipe
from training.common.train import train
from training.masks.batches import CHECKED_SHARDS, covered_in, open_batches
from training.masks.export import write_graph
from training.masks.network import Likely, new_network
from training.masks.train import loss_on, task_of

HEIGHT, WIDTH = 96, 128
BOX = (40.0, 24.0, 96.0, 72.0)
Scene = tuple[Uint8, Uint8]


def scene() -> Scene:
    """A dark rectangle on light ground: the photo and its labels."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[24:72, 40:96] = 1
    rgb = np.where(labels[..., None] == 1, 40, 200).astype(np.uint8)
    return np.repeat(rgb, 3, 2), labels


def ramps(rgb: Uint8) -> FeatureMaps:
    """Features that say where they are: x in pixels of the photo."""
    return FeatureMaps(rgb, tuple(columns(stride) for stride in STRIDES_PX), 1.0)


def columns(stride: int) -> Float32:
    x = (np.arange(WIDTH // stride, dtype=np.float32) + 0.5) * stride
    return np.broadcast_to(x, (1, HEIGHT // stride, len(x))).copy()


def test_features_and_colours_of_a_window_lie_on_each_other() -> None:
    rgb, labels = scene()
    features, colours = windows(ramps(rgb), [BOX])
    x0, _, x1, _ = window_around(BOX)
    cells = (np.arange(28) + 0.5) / 28 * (x1 - x0) + x0
    for level in features[0]:
        np.testing.assert_allclose(level[5], cells, atol=0.01)
    covered = covered_in(labels == 1, BOX)
    assert ((colours[0, 0] < 0) == (covered > 0.5)).mean() > 0.97
    np.testing.assert_allclose(covered.mean() * 1.3**2, 1, atol=0.02)


def test_a_window_goes_back_to_where_it_was_in_the_photo() -> None:
    rgb, labels = scene()
    there = in_photo(covered_in(labels == 1, BOX), BOX, rgb) > 0.5
    assert (there == (labels == 1)).mean() > 0.995
    beyond = (96.0, 60.0, 140.0, 110.0)
    assert in_photo(np.ones((MASK_CELLS, MASK_CELLS), np.float32), beyond, rgb)[:40].max() == 0


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    rgb, labels = scene()
    for i in range(CHECKED_SHARDS + 1):
        (folder / f"{i:04d}").mkdir()
        np.save(folder / f"{i:04d}" / "rgb.npy", rgb[None])
        np.save(folder / f"{i:04d}" / "labels.npy", labels[None])
    return folder


def test_a_perfect_answer_has_no_error(scenes: Path) -> None:
    class Right(torch.nn.Module):
        def forward(self, features: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
            return 40 * (batch.covered - 0.5)

    batch = open_batches(Recipe(steps=1), scenes)(0, 0)
    assert torch.equal(batch.covered, open_batches(Recipe(steps=1), scenes)(0, 0).covered)
    assert float(loss_on(Right(), batch).errors["iou"]) == 1


@pytest.mark.long
@pytest.mark.slow
def test_training_goes_on_to_the_same_weights(scenes: Path, tmp_path: Path) -> None:
    recipe = Recipe(steps=2, check_every=1)
    whole = train(task_of(recipe, scenes), tmp_path / "whole", "cpu")
    again = train(task_of(recipe, scenes), tmp_path / "again", "cpu")
    for ours, theirs in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_exported_graph_says_what_the_network_says(tmp_path: Path) -> None:
    network = new_network(0).eval()
    write_graph(network, tmp_path / "masks.onnx")
    features = torch.randn(3, 448, 28, 28, generator=torch.Generator().manual_seed(0))
    colours = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession((tmp_path / "masks.onnx").read_bytes())
    (found,) = session.run(None, {"features": features.numpy(), "colours": colours.numpy()})
    with torch.no_grad():
        expected = Likely(network)(features, colours).numpy()
    np.testing.assert_allclose(np.asarray(found), expected, atol=2e-3)
