"""Exported unchanged: the graph, the stored weights and the network give the same layers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from support import ROOT

WHY = "the training's extra: pip install -e '.[train]'"
torch = pytest.importorskip("torch", reason=WHY)
onnx = pytest.importorskip("onnx", reason=WHY)
pytest.importorskip("safetensors", reason=WHY)

from stages.bundled import load_network  # noqa: E402
from stages.generate.lite import WEIGHTS_FILE, WEIGHTS_SHA256  # noqa: E402
from stages.generate.lite.layered import layers_of  # noqa: E402
from training.common.export import write_safetensors  # noqa: E402
from training.common.index import sha256  # noqa: E402
from training.generator.export import read_safetensors, rounded, write_graph  # noqa: E402
from training.generator.network import INPUTS, OUTPUTS, new_network  # noqa: E402

WEIGHTS = ROOT / "weights" / "lite"


@pytest.mark.parametrize(("size", "batch"), [(64, 1), (96, 2), (128, 1)])
def test_exported_graphs_are_the_network(size: int, batch: int, tmp_path) -> None:
    import onnxruntime

    network = new_network(3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for p in network.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)
    network = rounded(network.state_dict())
    write_graph(network, tmp_path / "g.onnx")
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
