"""Is the point map network's backbone the detector's, and does its training run?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as functional

from stages.map_points.lite.network import frame_of, log_ground_depth
from training.common.train import train
from training.points.augmentation import View, rotated_view
from training.points.batches import (
    CHECKED,
    PartBatch,
    Recipe,
    at_centres,
    network_size,
    outlined,
    sample_of,
)
from training.points.export import OUTPUTS, write_graph
from training.points.losses import loss_of
from training.points.network import Output, PointMapNetwork, new_network, perspective_field
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


def level_view() -> View:
    scene = level_scene()
    depth = scene["log_depth"].astype(np.float32)
    return View(scene["rgb"], depth, scene["labels"], UP, 1.2)


def test_a_turned_camera_sees_the_ground_where_its_gravity_says() -> None:
    for seed in range(4):
        view = rotated_view(level_view(), 1.2, np.random.default_rng(seed))
        assert view.focal > 1.2 * 1.199
        assert np.linalg.norm(view.up - UP) > 0.01
        height, width = view.labels.shape
        frame = frame_of(width, height)
        wanted = log_ground_depth(view.up, view.focal, *frame.centres())
        found = at_centres(view.log_depth, frame, np.inf)
        near = np.isfinite(found) & (wanted < 1.0)
        assert near.sum() > 1000
        assert np.abs(found - wanted)[near].max() < 0.06


def test_the_perspective_field_of_a_level_camera_is_the_angle_of_its_rays() -> None:
    up, focal = torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([1.0]).log()
    x, y = torch.zeros(1, 1, 3), torch.tensor([[[-0.5, 0.0, 0.5]]])
    right, above, height = perspective_field(up, focal, x, y)[0]
    assert torch.allclose(right, torch.zeros(1, 3), atol=1e-6)
    angle = torch.atan(torch.tensor([[0.5, 0.0, -0.5]]))
    assert torch.allclose(height, angle.sin(), atol=1e-6)
    assert torch.allclose(above, -angle.cos(), atol=1e-6)


def test_a_perfect_answer_has_no_error() -> None:
    sample = sample_of(level_view(), None, (UP, 1.2), network_size(level_view().labels))
    batch = PartBatch(*(values[None] for values in sample))
    small = torch.tensor([0.02])
    up, focal = torch.from_numpy(UP)[None], torch.tensor([1.2]).log()
    valid = 20 * (2 * batch.valid - 1)
    x, y = (functional.avg_pool2d(batch.grid[:, i], 8) for i in (0, 1))
    field = perspective_field(up, focal, x, y)
    answer = Output(batch.objects[:, 0], valid, up, small, focal, small, field)
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
        objects = torch.rand(1, 5, height // 4, width // 4)
        with torch.no_grad():
            wanted = network(image, grid, objects)[:-1]
        inputs = {"image": image.numpy(), "grid": grid.numpy(), "objects": objects.numpy()}
        found = session.run(list(OUTPUTS), inputs)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=2e-4)


def test_outlines_are_missed_and_misdrawn_but_never_exchanged() -> None:
    labels = np.zeros((192, 256), np.uint8)
    labels[40:90, 30:110], labels[60:150, 150:200] = 1, 2
    kinds = set()
    for seed in range(60):
        found = outlined(labels, np.random.default_rng(seed))
        for number in (1, 2):
            mask, truth = found == number, labels == number
            kinds.add("missed" if not mask.any() else "same" if (mask == truth).all() else "other")
            if mask.any():
                assert (mask & truth).sum() > 0.75 * max(mask.sum(), truth.sum())
    assert kinds == {"missed", "same", "other"}
