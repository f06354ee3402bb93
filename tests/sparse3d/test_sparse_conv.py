"""Sparse convolution: the fast path, its readable twin, a dense convolution and spconv agree."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from support import ROOT

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse3d import sparse_conv  # noqa: E402
from sparse3d.errors import CannotRun  # noqa: E402
from sparse3d.sparse_conv import (  # noqa: E402
    SparseConv,
    convolve,
    convolve_by_offset,
    set_convolution,
)
from sparse3d.voxels import Voxels, existing_pairs, sorted_neighbours  # noqa: E402
from support.parity.fixture import read_fixture  # noqa: E402
from support.some_voxels import some_voxels  # noqa: E402

# Sums of 27 x C products in float32, in two orders.
EXACT = {"atol": 2e-5, "rtol": 1e-4}


def some_layer(in_channels: int, out_channels: int, dilation: int = 1) -> SparseConv:
    random = torch.Generator().manual_seed(in_channels)
    layer = SparseConv(in_channels, out_channels, dilation).requires_grad_(False)
    layer.weight.normal_(0, 0.2, generator=random)
    layer.bias.normal_(generator=random)
    return layer


def some_features(voxels: Voxels, channels: int) -> Tensor:
    random = torch.Generator().manual_seed(channels)
    return torch.randn(len(voxels), channels, generator=random)


@pytest.mark.parametrize("dilation", [1, 2])
def test_equals_a_dense_convolution_at_the_voxels(dilation: int) -> None:
    voxels, side = some_voxels(seed=0), 7
    features, layer = some_features(voxels, 5), some_layer(5, 6, dilation)
    batch, x, y, z = voxels.coords.long().unbind(1)
    dense = torch.zeros(2, 5, side, side, side)
    dense[batch, :, x, y, z] = features
    kernel = layer.weight.permute(0, 4, 1, 2, 3)
    expected = F.conv3d(dense, kernel, layer.bias, padding=dilation, dilation=dilation)
    torch.testing.assert_close(layer(features, voxels), expected[batch, :, x, y, z], **EXACT)


@pytest.fixture(params=["pairs", "gathered"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The form that a CPU takes, and the one of all other devices."""
    monkeypatch.setattr(sparse_conv, "multiplies_pairs", lambda device: request.param == "pairs")
    return request.param


@pytest.mark.parametrize("type_name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("chunk_bytes", [200, 5000, 2**30])
def test_both_forms_equal_their_readable_twin(type_name: str, chunk_bytes: int, form: str) -> None:
    """Half types too agree closely: all sum in float32 and round once at the end."""
    dtype = getattr(torch, type_name)
    voxels = some_voxels(seed=1, side=5)
    layer = some_layer(4, 9).to(dtype)
    features = some_features(voxels, 4).to(dtype)
    fast = convolve(features, voxels, layer.weight, layer.bias, chunk_bytes=chunk_bytes)
    readable = convolve_by_offset(features, voxels.neighbours, layer.weight, layer.bias)
    assert fast.dtype == dtype
    one_rounding = {"atol": 0.0, "rtol": torch.finfo(dtype).eps}
    tolerance = EXACT if dtype == torch.float32 else one_rounding
    torch.testing.assert_close(fast, readable, **tolerance)


def test_all_layers_of_a_level_share_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels, made = some_voxels(seed=8), []
    monkeypatch.setattr(
        "sparse3d.voxels.existing_pairs", lambda table: made.append(1) or existing_pairs(table)
    )
    for channels in (3, 4, 5):
        some_layer(channels, 4)(some_features(voxels, channels), voxels)
    assert len(made) == 1


def test_same_input_gives_the_same_bits() -> None:
    voxels = some_voxels(seed=2)
    layer, features = some_layer(8, 8), some_features(voxels, 8)
    assert torch.equal(layer(features, voxels), layer(features, voxels))


def test_gradients_are_those_of_the_twin(form: str) -> None:
    voxels = some_voxels(seed=3, side=4)
    gradients = []
    for function, near in ((convolve, voxels), (convolve_by_offset, voxels.neighbours)):
        layer = some_layer(3, 4).requires_grad_(True)
        features = some_features(voxels, 3).requires_grad_(True)
        function(features, near, layer.weight, layer.bias).square().sum().backward()
        gradients.append([t.grad for t in (features, layer.weight, layer.bias)])
    for ours, twins in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, twins, atol=1e-4, rtol=1e-4)


def test_rows_one_slice_at_a_time() -> None:
    voxels = some_voxels(seed=4)
    layer, features = some_layer(4, 4), some_features(voxels, 4)
    by_rows, whole = layer.by_rows(features, voxels), layer(features, voxels)
    torch.testing.assert_close(by_rows(slice(5, 11)), whole[5:11], **EXACT)


def test_what_does_not_fit_is_refused() -> None:
    voxels = some_voxels(seed=5)
    layer = some_layer(4, 4)
    with pytest.raises(ValueError, match="weight"):
        layer(some_features(voxels, 3), voxels)
    with pytest.raises(ValueError, match="voxels"):
        layer(some_features(voxels, 4)[1:], voxels)
    with pytest.raises(ValueError, match="backend"):
        SparseConv(4, 4, backend="cudnn")  # pyright: ignore[reportArgumentType]


def test_no_rows_give_no_rows() -> None:
    nothing = Voxels(torch.zeros(0, 4, dtype=torch.int32))
    assert some_layer(4, 6)(torch.zeros(0, 4), nothing).shape == (0, 6)


SPCONV_CHECK = """
import sys, torch
from safetensors.torch import load_file
from sparse3d.sparse_conv import convolve_spconv
from sparse3d.voxels import Voxels

for file in sys.argv[1:]:
    tensors = load_file(file)
    voxels = Voxels(tensors["coords"])
    inputs = tensors["features"], voxels, tensors["weight"], tensors["bias"]
    for dilation in (1, 2, 1):
        made, expected = convolve_spconv(*inputs, dilation), tensors[f"expected_{dilation}"]
        torch.testing.assert_close(made, expected, atol=2e-5, rtol=1e-4)
    assert len(voxels.accelerator_cache) == 2
"""


def spconv_case(voxels: Voxels, features: Tensor, layer: SparseConv) -> dict[str, Tensor]:
    """Inputs of a convolution and what the readable twin makes of them."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    inputs = {"coords": voxels.coords, "features": features, "weight": weight, "bias": bias}
    tables = {d: sorted_neighbours(voxels.coords, d) for d in (1, 2)}
    return inputs | {
        f"expected_{d}": convolve_by_offset(features, table, weight, bias)
        for d, table in tables.items()
    }


def golden_case(folder: Path) -> dict[str, Tensor]:
    """The golden fixture's convolution; only dilation 1 is the reference's own answer."""
    golden = read_fixture(folder / "sparse_conv.json")
    voxels, features = Voxels(golden.input("coords")), golden.input("feats")
    layer = some_layer(6, 10)
    layer.load_state_dict(
        {name: golden.tensors[f"weights/conv.{name}"] for name in ("weight", "bias")}
    )
    return spconv_case(voxels, features, layer) | {"expected_1": golden.output("conv")}


@pytest.mark.extra("spconv")
def test_spconv_gives_the_same_numbers(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In a process with one OpenMP thread; with the golden fixture too where it is present."""
    voxels = some_voxels(seed=6, batches=3)
    cases = [spconv_case(voxels, some_features(voxels, 6), some_layer(6, 10))]
    folder = Path(str(request.config.getoption("--parity")))
    if (folder / "sparse_conv.json").exists():
        cases.append(golden_case(folder))
    files = [str(tmp_path / f"{number}.safetensors") for number in range(len(cases))]
    for case, file in zip(cases, files, strict=True):
        save_file({name: tensor.contiguous() for name, tensor in case.items()}, file)
    subprocess.run(
        [sys.executable, "-c", SPCONV_CHECK, *files],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("device", "build", "says"),
    [
        ("cpu", "none", "spconv is not installed: pip install spconv$"),
        ("cuda", "none", "spconv is not installed: pip install spconv-cuXXX"),
        ("cuda:1", "cpu", "computes on CPUs alone: pip uninstall spconv, then .*spconv-cuXXX"),
        ("cpu", "cpu", ""),
        ("cuda", "cuda", ""),
    ],
)
def test_the_package_of_spconv_must_be_that_of_the_device(
    device: str, build: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its packages are one module; which one it is, it says itself."""
    find = importlib.util.find_spec
    there = None if build == "none" else find("json")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: there if name == "spconv" else find(name)
    )
    constants = types.ModuleType("spconv.cppconstants")
    constants.CPU_ONLY_BUILD = build == "cpu"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spconv.cppconstants", constants)
    layer = some_layer(4, 4)
    if says:
        with pytest.raises((ImportError, CannotRun), match=says):
            set_convolution(layer, "spconv", device)
        assert layer.backend == "torch"
    else:
        set_convolution(layer, "spconv", device)
        assert layer.backend == "spconv"


@pytest.mark.extra("spconv")
def test_spconv_refuses_what_it_gets_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = some_voxels(seed=7)
    layer = SparseConv(4, 4, backend="spconv")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(RuntimeError, match="OMP_NUM_THREADS=1"):
        layer(some_features(voxels, 4), voxels)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with pytest.raises(RuntimeError, match="float16"):
        layer.half()(some_features(voxels, 4).half(), voxels)
