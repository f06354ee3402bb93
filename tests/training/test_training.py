"""Training: data by seed, learned in a few steps, the same bytes again, exported unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support import ROOT

WHY = "the training's extra: pip install -e '.[train]'"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("numba", reason=WHY)
onnx = pytest.importorskip("onnx", reason=WHY)
pytest.importorskip("safetensors", reason=WHY)

from stages.bundled import load_network  # noqa: E402
from stages.generate.lite import WEIGHTS_FILE, WEIGHTS_SHA256  # noqa: E402
from stages.generate.lite.layered import layers_of, network_input  # noqa: E402
from training import held_out, make_data, parts  # noqa: E402
from training.augment import augmented, clean  # noqa: E402
from training.export import (  # noqa: E402
    read_safetensors,
    rounded,
    sha256,
    write_onnx,
    write_safetensors,
)
from training.loop import rate_fraction, save, start, train, train_step  # noqa: E402
from training.muon import ITERATIONS, NEWTON_SCHULZ, orthogonal  # noqa: E402
from training.network import INPUTS, OUTPUTS, new_network  # noqa: E402
from training.samples import TABLES, Shards  # noqa: E402
from training.scans import LEFT_OUT, ROOMS, read_surface, scan_sample, usable_files  # noqa: E402
from training.shapes.draw import draw_sample, draw_shot, true_occupancy  # noqa: E402
from training.shapes.grammar import TABLE  # noqa: E402

WEIGHTS = ROOT / "weights" / "lite"
# No tables at its end: their first steps would hide what was learned by then.
SMOKE = parts.Recipe(
    steps=12, parts=(0.5, 0.5), measured=0.5, sizes=((64, 1.0, 4),), check_every=4, late=0
)
SHAPES, TABLES_DRAWN = 24, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few procedural samples."""
    folder, seeds = tmp_path_factory.mktemp("samples") / "64", (10**6, 10**6 + 500)
    jobs = [make_data.Job(folder / f"shapes_{s}", 64, SHAPES // 2, s) for s in seeds]
    tables = make_data.Job(folder / "tables_0", 64, TABLES_DRAWN, 5 * 10**6, TABLE)
    for job in [*jobs, tables]:
        make_data.make_shard(job)
    return folder.parent


def _weights(state) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in state.network.parameters())


def test_training_learns_and_goes_on_where_it_stopped(data: Path, tmp_path) -> None:
    """Interrupted half-way and resumed, the bytes are those of a run in one go."""
    whole = train(SMOKE, data, tmp_path / "whole", "cpu")
    curve = [json.loads(line) for line in (tmp_path / "whole" / "curve.jsonl").open()]
    assert [line["step"] for line in curve] == [4, 8, 12]
    assert all(np.isfinite(line["front"]) and 0 <= line["iou"] <= 1 for line in curve)
    for surface in ("train_front", "train_back"):
        errors = [line[surface] for line in curve]
        assert errors[2] < errors[1] < errors[0] and errors[2] < 0.7 * errors[0]
    half = tmp_path / "half"
    state = start(SMOKE, "cpu")
    opened = parts.open_data(data)
    for step in range(5):
        batches = [parts.part_batch(SMOKE, opened, step, part) for part in (0, 1)]
        train_step(state, SMOKE, batches, "cpu")
    half.mkdir()
    save(state, SMOKE, half / "checkpoint.pt")
    assert _weights(train(SMOKE, data, half, "cpu")) == _weights(whole)


@pytest.mark.slow
def test_helping_processes_change_nothing(data: Path, tmp_path) -> None:
    few = replace(SMOKE, steps=2)
    alone = train(few, data, tmp_path / "alone", "cpu")
    helped = train(few, data, tmp_path / "helped", "cpu", helpers=1)
    assert _weights(alone) == _weights(helped)


@pytest.mark.slow
def test_the_whole_recipe_gives_the_same_bytes_again(data: Path, tmp_path) -> None:
    recipe = replace(parts.Recipe(), steps=20)  # with its own sizes, from warm-up to tables
    runs = [train(recipe, data, tmp_path / name, "cpu") for name in ("first", "second")]
    assert _weights(runs[0]) == _weights(runs[1])


def test_a_seed_is_a_sample(data: Path) -> None:
    first, second = draw_sample(10**6, 64), draw_sample(10**6, 64)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.rgba, second.rgba)
    np.testing.assert_array_equal(first.layers, second.layers)
    assert len(Shards(sorted((data / "64").glob("shapes_*")))) == SHAPES


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


def test_what_stands_on_tables_is_seen_late(data: Path) -> None:
    opened = parts.open_data(data)
    tables = opened[64].kinds[TABLES]
    assert len(tables) == TABLES_DRAWN and tables.stop == len(opened[64])
    stored = {t.tobytes() for t in opened[64].take(np.array(tables))["layers"]}
    recipe = replace(SMOKE, steps=100, tables=0.5, late=0.3)

    def share(steps: range) -> float:
        seeded = np.random.default_rng
        batches = [parts.draw_batch(recipe, s, 0, opened, seeded(s)) for s in steps]
        return float(np.mean([one.tobytes() in stored for b in batches for one in b["layers"]]))

    assert share(range(70)) == 0 and 0.35 < share(range(70, 100)) < 0.65


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


def test_smaller_pictures_keep_layers_apart(data: Path) -> None:
    batch = Shards(sorted((data / "64").glob("shapes_*"))).take(np.arange(4))
    small = parts.shrunk(batch, 48)
    assert small["rgba"].shape == (4, 48, 48, 4) and small["back"].shape == (4, 24, 24, 3)
    assert set(np.unique(small["layers"])) <= set(np.unique(batch["layers"]))


def test_muon_by_squares_is_muon_by_rows() -> None:
    a, b, c = NEWTON_SCHULZ
    for shape in ((16, 90), (90, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        x = matrix / matrix.norm()
        x = x.T if shape[0] > shape[1] else x
        for _ in range(ITERATIONS):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        expected = x.T if shape[0] > shape[1] else x
        found = orthogonal(torch.stack([matrix, 3 * matrix]))
        torch.testing.assert_close(found, torch.stack(2 * [expected]), atol=1e-4, rtol=1e-4)


def test_the_rate_rises_stays_and_falls() -> None:
    shares = [rate_fraction(s, 1000) for s in range(1000)]
    assert shares[0] < 0.02 and shares[100] == shares[449] == 1 > shares[460] and shares[-1] < 0.05


@pytest.mark.parametrize(("size", "batch"), [(64, 1), (96, 2), (128, 1)])
def test_exported_graphs_are_the_network(size: int, batch: int, tmp_path) -> None:
    import onnxruntime

    network = new_network(3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for p in network.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
    network = rounded(network.state_dict())
    write_onnx(network, tmp_path / "g.onnx")
    write_safetensors(network, tmp_path / "g.safetensors")
    x = torch.randn((batch, INPUTS, size, size), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = read_safetensors(tmp_path / "g.safetensors")(x).numpy()
    assert expected.shape == (batch, OUTPUTS, size // 2, size // 2)
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    found = session.run(None, {"pictures": x.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_bundled_files_hold_one_network() -> None:
    """The graph that runs and the weights that were trained give the same layers."""
    network = load_network(WEIGHTS_FILE, WEIGHTS_SHA256)
    stored = read_safetensors(WEIGHTS / "generator.safetensors")
    x = np.random.default_rng(0).normal(size=(2, INPUTS, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = stored(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network(x), expected, atol=2e-5)
    layers = layers_of(expected)
    assert layers.depths.shape == (2, 4, 32, 32) and layers.inner.shape == (2, 32, 32, 3)


def test_the_bundled_files_are_small_and_listed() -> None:
    index = {e["file"]: e for e in json.loads((WEIGHTS / "index.json").read_text())}
    names = ("generator.onnx", "generator.safetensors")
    assert sum((WEIGHTS / n).stat().st_size for n in names) < 20e6
    for name in names:
        assert index[name]["sha256"] == sha256(WEIGHTS / name)
    assert index["generator.onnx"]["sha256"] == WEIGHTS_SHA256
    assert (WEIGHTS / "generator.md").exists()


@pytest.mark.slow
def test_a_gpu_traces_what_the_processor_does() -> None:
    """On numba's simulator of a GPU, a thread after the other, in plain Python."""
    code = """
import numpy as np
from training.shapes.draw import draw_shot
from training.shapes.tracing import trace_each
from training.shapes.tracing_cuda import trace_all
shots = [draw_shot(10**6 + i) for i in range(3)]
scenes = [(s.solid, s.paint, s.view, s.light) for s in shots]
for one, many in zip(trace_each(8, scenes), trace_all(8, scenes), strict=True):
    assert np.isfinite(one[1]).any()
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)
"""
    simulated = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=simulated, cwd=ROOT)


@pytest.mark.slow
def test_batches_drawn_ahead_are_those_drawn_at_once(data: Path) -> None:
    recipe = replace(SMOKE, steps=3, parts=(1.0,))
    opened = parts.open_data(data)
    for step, drawn in enumerate(parts.drawn_ahead(recipe, data, 1), 1):
        (batch,), again = drawn, parts.part_batch(recipe, opened, step, 0)
        torch.testing.assert_close(batch.images, again.images.half())
        torch.testing.assert_close(batch.target.depths, again.target.depths)
        assert step < 3
