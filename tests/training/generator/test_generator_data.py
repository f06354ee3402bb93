"""Data by seed: procedural shapes, meshes, augmentation, and what is never trained on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support import ROOT

WHY = "the training's extra: pip install -e '.[train]'"
pytest.importorskip("torch", reason=WHY)
pytest.importorskip("numba", reason=WHY)

from stages.generate.lite.layered import network_input  # noqa: E402
from training.generator import held_out, make_data  # noqa: E402
from training.generator.augment import augmented, clean  # noqa: E402
from training.generator.samples import Shards  # noqa: E402
from training.generator.scans import (  # noqa: E402
    LEFT_OUT,
    ROOMS,
    read_surface,
    scan_sample,
    usable_files,
)
from training.generator.shapes.draw import draw_sample, draw_shot, true_occupancy  # noqa: E402


def test_a_seed_is_a_sample(data: Path) -> None:
    first, second = draw_sample(10**6, 64), draw_sample(10**6, 64)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.rgba, second.rgba)
    np.testing.assert_array_equal(first.layers, second.layers)
    assert len(Shards(sorted((data / "64").glob("shapes_*")))) == 24  # by the fixture


def test_layers_are_in_order_and_agree_with_the_occupancy() -> None:
    shot, sample = draw_shot(10**6 + 3), draw_sample(10**6 + 3, 64)
    assert shot is not None and sample is not None
    solid = sample.rgba[..., 3] > 0
    front, near, far, back = np.moveaxis(sample.layers.astype(float), -1, 0)
    gap = far > near
    assert (front <= back + 1e-3)[solid].all() and not gap[~solid].any()
    assert ((front < near + 1e-3) & (far < back + 1e-3))[gap].all()
    occupied = true_occupancy(shot, 64)
    first = (occupied.argmax(0) + 0.5) / 64 - 0.5
    both = solid & occupied.any(0)
    assert np.median(np.abs(first - front)[both]) < 1 / 64


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_measuring_seeds_and_objects_are_never_trained_on(device: str) -> None:
    amounts = make_data.AMOUNTS[device]
    drawn = [(a.shapes_seed, a.shards) for a in amounts]
    drawn += [(a.table_seed, a.table_shards) for a in amounts]
    seeds = [seed for seed, _ in drawn]
    assert held_out.FIRST_SEED + 10 * held_out.SHAPES < make_data.FIRST_SEED <= min(seeds)
    ends = [(seed, seed + 2 * make_data.SHAPES_PER_SHARD * shards) for seed, shards in drawn]
    assert all(a[1] <= b[0] or b[1] <= a[0] for a in ends for b in ends if a is not b)


def test_scans_of_measured_objects_and_rooms_are_left_out(tmp_path) -> None:
    entries = [{"file": f"{i}.glb", "name": name, "source": source, "permissive": ok}
               for i, (name, source, ok) in enumerate([
                   ("mug", "somewhere", True), ("mug", LEFT_OUT[0], True),
                   (ROOMS[0], "somewhere", True), ("mug", "somewhere", False)])]  # fmt: skip
    (tmp_path / "index.json").write_text(json.dumps(entries))
    assert usable_files(tmp_path) == [tmp_path / "0.glb"]


def test_a_mesh_becomes_a_sample(tmp_path) -> None:
    import trimesh

    box = trimesh.creation.box((1, 2, 0.5))
    box.visual.vertex_colors = (200, 40, 40, 255)
    box.export(tmp_path / "box.glb")
    sample = scan_sample(read_surface(tmp_path / "box.glb"), 7, 64)
    assert sample is not None
    solid = sample.rgba[..., 3] > 0
    thickness = (sample.layers[..., 3] - sample.layers[..., 0])[solid].astype(float)
    assert 0.02 < solid.mean() < 0.9 and thickness.min() > -1e-3 and thickness.max() < 1.2
    assert not (sample.layers[..., 2] > sample.layers[..., 1]).any()  # a box has no gap


def test_augmented_pictures_are_pictures(data: Path) -> None:
    shards = Shards(sorted((data / "64").glob("shapes_*")))
    batch = shards.take(np.arange(24))
    seen, truth = augmented(batch, np.random.default_rng(0), 0.5, 0.5)
    assert np.isfinite(network_input(seen)).all()
    assert 0 <= seen.rgb.min() and seen.rgb.max() <= 1
    assert seen.hidden.any() and np.isfinite(seen.depth).any() and np.isnan(seen.depth).any()
    assert not np.allclose(truth.back, clean(batch)[1].back)
    np.testing.assert_array_equal(batch["rgba"], shards.take(np.arange(24))["rgba"])


@pytest.mark.long
@pytest.mark.slow
def test_a_gpu_traces_what_the_processor_does() -> None:
    """On numba's simulator of a GPU, a thread after the other, in plain Python."""
    code = """
import numpy as np
from training.generator.shapes.draw import draw_shot
from training.generator.shapes.tracing import trace_each
from training.generator.shapes.tracing_cuda import trace_all
shots = [draw_shot(10**6 + i) for i in range(3)]
scenes = [(s.solid, s.paint, s.view, s.light) for s in shots]
for one, many in zip(trace_each(8, scenes), trace_all(8, scenes), strict=True):
    assert np.isfinite(one[1]).any()
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)
"""
    simulated = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=simulated, cwd=ROOT)
