"""The completion network learns in a few steps, and its pairs are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

WHY = "the training's extra: pip install -e '.[train]'"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("safetensors", reason=WHY)

from training.common.train import CURVE, train  # noqa: E402
from training.completion.export import rounded, write_graph  # noqa: E402
from training.completion.pairs import CUTOUTS, draw_pair  # noqa: E402
from training.completion.train import Recipe, task_of  # noqa: E402
from training.generator.samples import Sample, save_shard  # noqa: E402

SIDE = 64
SMOKE = Recipe(steps=8, batch=4, channels=(8, 8, 16, 16), check_every=4)


def _disc(radius: float, colour: tuple[int, int, int]) -> np.ndarray:
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    inside = np.hypot(u, v) < radius
    return np.dstack([np.where(inside[..., None], colour, 0), inside * 255]).astype(np.uint8)


def test_pairs_show_part_of_the_object_and_know_all_of_it() -> None:
    generator = np.random.default_rng(0)
    cutouts = [_disc(25 + i, (200, 20 * i, 100)) for i in range(CUTOUTS)]
    pairs = [p for _ in range(40) if (p := draw_pair(cutouts, generator)) is not None]
    assert len(pairs) > 30
    fractions = []
    for pair in pairs:
        visible, hidden, whole = (m > 127 for m in (pair.visible, pair.hidden, pair.amodal))
        assert not (visible & hidden).any()
        inside = visible & whole
        assert inside.sum() > 0.9 * visible.sum()  # masks are off by a pixel
        assert (whole & ~visible & ~hidden).sum() < 0.25 * whole.sum()
        fractions.append((whole & hidden).sum() / whole.sum())
    untouched = np.array(fractions) < 0.02
    assert 0.2 < untouched.mean() < 0.6  # a neighbour that touches hides nothing
    assert 0.15 < np.median(np.array(fractions)[~untouched]) < 0.5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cutouts")
    half = np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)
    layers = np.zeros((SIDE, SIDE, 4), np.float16)
    discs = [_disc(14 + i, (40 * i, 200 - 30 * i, 90)) for i in range(6)]
    samples = [Sample(rgba, layers, half, half, np.float32(0.4)) for rgba in discs]
    save_shard(samples, folder / str(SIDE) / "shapes_0000")
    return folder


def test_training_learns_and_the_same_seed_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        state = train(task_of(SMOKE, data), tmp_path / name, "cpu")
        runs.append(b"".join(p.detach().numpy().tobytes() for p in state.network.parameters()))
    assert runs[0] == runs[1]
    curve = [json.loads(line) for line in (tmp_path / "first" / CURVE).open()]
    assert [line["step"] for line in curve] == [4, 8]
    assert curve[1]["outline"] < curve[0]["outline"]


def test_the_exported_graph_computes_what_the_network_computes(data: Path, tmp_path: Path) -> None:
    import onnxruntime

    state = train(task_of(SMOKE, data), tmp_path, "cpu")
    network = rounded(state.average.state_dict(), SMOKE.channels)
    write_graph(network, tmp_path / "completion.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "completion.onnx"))
    crops = np.random.default_rng(0).normal(size=(3, 7, 96, 96)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(crops))[:, :1].numpy()
    np.testing.assert_allclose(session.run(None, {"crops": crops})[0], expected, atol=2e-4)
