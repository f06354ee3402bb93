"""Is the point map network's backbone the detector's, and does its training run?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from training.common.train import train
from training.points.batches import CHECKED, PartBatch, Recipe, sample_of
from training.points.export import write_graph
from training.points.losses import loss_of
from training.points.network import Output, PointMapNetwork, new_network
from training.points.train import DETECTOR, task_of
from training.scenes.make_data import NAMES

UP = np.array([0.1, -0.8, -0.6], np.float32) / np.linalg.norm([0.1, -0.8, -0.6])


def test_the_backbone_gives_the_features_of_the_detector() -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    session = onnxruntime.InferenceSession(DETECTOR.read_bytes())
    wanted = session.run(["features_4", "features_8", "features_16"], {"image": image})
    with torch.no_grad():
        found = new_network(0, DETECTOR).backbone(torch.from_numpy(image))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), atol=2e-3)


def level_scene(width: int = 320, height: int = 240, focal: float = 1.2) -> dict[str, Any]:
    """A bare ground plane below the horizon, nothing above it."""
    y, x = (np.mgrid[:height, :width] + 0.5) / max(width, height)
    below = -(
        UP[0] * (x - width / 2 / 320) / focal + UP[1] * (y - height / 2 / 320) / focal + UP[2]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(below > 0.02, -np.log(below), np.inf)
    labels = np.zeros((height, width), np.uint8)
    labels[150:200, 100:180] = 1
    return {
        "rgb": np.full((height, width, 3), 90, np.uint8),
        "log_depth": depth.astype(np.float16),
        "labels": labels,
        "up": UP,
        "log_focal": np.float32(np.log(focal)),
    }


def test_a_perfect_answer_has_no_error() -> None:
    scene = level_scene()
    sample = sample_of(scene["rgb"], scene["log_depth"], scene["labels"], UP, 1.2, None, (UP, 1.2))
    batch = PartBatch(*(values[None] for values in sample))
    small = torch.tensor([0.02])
    up, focal = torch.from_numpy(UP)[None], torch.tensor([1.2]).log()
    valid = 20 * (2 * batch.valid - 1)
    answer = Output(batch.ground[:, 0], valid, up, small, focal, small)
    errors = loss_of(answer, batch).errors
    assert errors["up_deg"] < 1
    assert errors["focal"] < 1e-4
    assert errors["objects"] < 0.02
    wrong = answer._replace(log_depth=answer.log_depth + batch.labels * 0.5)
    assert loss_of(wrong, batch).errors["objects"] > 0.3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("points")
    for i in range(CHECKED + 2):
        (folder / f"{i:04d}").mkdir()
        scene = level_scene(64, 48)
        for name in NAMES:
            np.save(folder / f"{i:04d}" / f"{name}.npy", np.stack([scene[name]] * 4))
    return folder


def test_training_runs_and_goes_on_to_the_same_weights(scenes: Path, tmp_path: Path) -> None:
    recipe = replace(Recipe(), steps=2, parts=(1.0,), count=1, check_every=1)
    whole = train(task_of(recipe, scenes), tmp_path / "whole", "cpu")
    assert (tmp_path / "whole" / "curve.jsonl").read_text().count("\n") == 2
    again = train(task_of(recipe, scenes), tmp_path / "again", "cpu")
    for ours, theirs in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_exported_graph_says_what_the_network_says(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = PointMapNetwork().eval()
    network.load_state_dict({n: v.half().float() for n, v in network.state_dict().items()})
    torch.nn.init.normal_(network.head[-1].weight, std=0.1)  # type: ignore[arg-type]
    network.load_state_dict({n: v.half().float() for n, v in network.state_dict().items()})
    write_graph(network, tmp_path / "points.onnx")
    session = onnxruntime.InferenceSession((tmp_path / "points.onnx").read_bytes())
    for height, width in ((64, 96), (96, 64), (128, 32)):
        image = torch.randn(1, 3, height, width)
        grid = torch.rand(1, 5, height // 4, width // 4)
        ground = torch.randn(1, 1, height // 4, width // 4)
        with torch.no_grad():
            wanted = network(image, grid, ground)
        inputs = {"image": image.numpy(), "grid": grid.numpy(), "ground": ground.numpy()}
        found = session.run(list(Output._fields), inputs)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=2e-4)
