"""Ground truth: the true meshes and the photos of the path-traced scenes."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.known_scenes import GROUND_TRUTH, scene_folders
from benchmarks.overhead import run_plainly
from benchmarks.scenes import masks_and_depth, recover_true_meshes
from photoscene.runs.folder import read_scene
from scene.cameras import camera_from_matrix
from scene.placed import in_camera_frame, placed_meshes
from scene.png import decode_png
from scene.raycast import render
from scene.store import Store

SCENES = scene_folders(GROUND_TRUTH)


@pytest.mark.slow
def test_true_meshes_come_back_to_their_places() -> None:
    assert len(SCENES) == 6
    for scene in SCENES:
        for found in recover_true_meshes(scene):
            assert found.translation < 1e-3 and found.size < 1e-3, found


@pytest.mark.parametrize(
    "scene", [pytest.param(SCENES[-2], marks=pytest.mark.slow), SCENES[-1]], ids=lambda p: p.name
)
def test_masks_and_depth_become_the_scene_that_was_photographed(
    scene: Path, tmp_path: Path
) -> None:
    """Modal IoU at least 0.95 and visible depth within 2 %, subject by our own renderer."""
    store = Store(tmp_path / "store")
    run_plainly(masks_and_depth(scene), store, tmp_path / "run")
    placed = placed_meshes(read_scene(tmp_path / "run"), store)
    value = json.loads((scene / "camera.json").read_text())
    camera = camera_from_matrix(value["width"], value["height"], np.array(value["K"]))
    _, index, depth = render(in_camera_frame(placed), camera)
    true_depth = np.load(scene / "depth.npy")
    ious, errors = [], []
    for number, path in enumerate(sorted((scene / "masks").glob("modal_*.png"))):
        true = decode_png(path.read_bytes(), "L") > 127
        mine = index == number
        ious.append((mine & true).sum() / (mine | true).sum())
        errors.append(np.abs(depth[mine & true] / true_depth[mine & true] - 1))
    assert np.mean(ious) >= 0.95
    assert np.concatenate(errors).mean() <= 0.02
