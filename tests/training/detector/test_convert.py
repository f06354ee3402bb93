"""The detector's conversion: a small graph with every operation of NanoDet's computes the same."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scene.types import Float32
from support import ROOT

pytest.importorskip("onnx", reason="the training's extra: pip install -e '.[train]'")

from training.detector import convert  # noqa: E402
from training.detector.arithmetic import convolved, evaluate, resized  # noqa: E402
from training.detector.tfjs import read_graph  # noqa: E402

SIDE_PX, CHANNELS, KINDS, BINS = 32, 4, 3, 2
STRIDES = (8, 16, 32)
VALID = {"s": base64.b64encode(b"VALID").decode()}


class Drawn:
    """A TensorFlow.js graph while a test draws it, with random 16-bit weights."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[dict[str, Any]] = []
        self.data = b""

    def constant(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        kind = "int32" if array.dtype.kind == "i" else "float32"
        entry = {"name": name, "shape": list(array.shape), "dtype": kind}
        if kind == "float32":
            entry["quantization"] = {"dtype": "float16"}
        self.weights.append(entry)
        self.data += array.astype("float16" if kind == "float32" else kind).tobytes()
        self.nodes.append({"name": name, "op": "Const"})
        return name

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": kind, "input": list(inputs), "attr": attributes})
        return name

    def transposed(self, name: str, source: str, order: list[int]) -> str:
        return self.node("Transpose", name, source, self.constant(f"{name}/perm", order))

    def convolution(self, name: str, source: str, outputs: int, step: int, inputs: int) -> str:
        """Padding, convolution and bias, as onnx-tf writes them: (B, C, H, W) in and out."""
        pads = self.constant(f"{name}/pads", [[0, 0], [0, 0], [1, 1], [1, 1]])
        padded = self.node("Pad", f"{name}/pad", source, pads)
        last = self.transposed(f"{name}/last", padded, [0, 2, 3, 1])
        weight = self.random.normal(0, 0.3, (3, 3, inputs, outputs))
        linear = self.node("Conv2D", f"{name}/linear", last, self.constant(f"{name}/w", weight),
                           strides=integers(1, step, step, 1), padding=VALID)  # fmt: skip
        bias = self.constant(f"{name}/b", self.random.normal(0, 0.3, outputs))
        return self.transposed(name, self.node("Add", f"{name}/sum", linear, bias), [0, 3, 1, 2])

    def resized(self, name: str, source: str, size: int) -> str:
        last = self.transposed(f"{name}/last", source, [0, 2, 3, 1])
        grown = self.node("ResizeBilinear", f"{name}/grown", last,
                          self.constant(f"{name}/size", [size, size]))  # fmt: skip
        return self.transposed(name, grown, [0, 3, 1, 2])

    def head(self, source: str, cells: int, scores: str, sides: str) -> None:
        both = self.convolution(f"{scores}/head", source, KINDS + 4 * BINS, 1, CHANNELS)
        split = self.node("SplitV", f"{scores}/split", both,
                          self.constant(f"{scores}/sizes", [KINDS, 4 * BINS]),
                          self.constant(f"{scores}/axis", 1))  # fmt: skip
        for name, value, width in (
            (scores, self.node("Sigmoid", f"{scores}/sigmoid", split), KINDS),
            (sides, f"{split}:1", 4 * BINS),
        ):
            shape = self.constant(f"{name}/shape", [1, width, cells])
            flat = self.node("Reshape", f"{name}/flat", value, shape)
            self.node("Identity", name, self.transposed(f"{name}/rows", flat, [0, 2, 1]))

    def save(self, folder: Path) -> Path:
        outputs = [*convert.SCORES, *convert.SIDES]
        content = {
            "modelTopology": {"node": self.nodes},
            "signature": {"outputs": {n: {"name": f"{n}:0"} for n in outputs}},
            "weightsManifest": [{"paths": ["tiny.bin"], "weights": self.weights}],
        }
        (folder / "tiny.bin").write_bytes(self.data)
        (folder / "tiny.json").write_text(json.dumps(content), "utf-8")
        return folder / "tiny.json"


def integers(*values: int) -> dict[str, Any]:
    """A list attribute of a TensorFlow.js graph."""
    return {"list": {"i": [str(v) for v in values]}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid of three levels with a way up and heads, as NanoDet has."""
    g = Drawn()
    image = g.node("Placeholder", "image")
    first = g.convolution("first", image, CHANNELS, 2, 3)
    bent = g.node("LeakyRelu", "bent", first, alpha={"f": 0.1})
    pads = g.constant("pool/pads", [[0, 0], [0, 0], [1, 1], [1, 1]])
    padded = g.node("PadV2", "pool/pad", bent, pads, g.constant("pool/value", -np.inf))
    last = g.transposed("pool/last", padded, [0, 2, 3, 1])
    pooled = g.node("MaxPool", "pool/most", last, ksize=integers(1, 3, 3, 1),
                    strides=integers(1, 2, 2, 1), padding=VALID)  # fmt: skip
    levels = [g.transposed("pool", pooled, [0, 3, 1, 2])]
    for stride in STRIDES:
        levels.append(g.convolution(f"level_{stride}", levels[-1], CHANNELS, 2, CHANNELS))
    fine = g.node("Add", "fine", levels[1], g.resized("up", levels[2], SIDE_PX // 8))
    coarse = g.node("Add", "coarse", levels[2], g.resized("down", fine, SIDE_PX // 16))
    joined = g.node("ConcatV2", "joined", levels[3], levels[3], g.constant("joined/axis", 1))
    narrow = g.convolution("narrow", joined, CHANNELS, 1, 2 * CHANNELS)
    for source, stride, scores, sides in zip(
        (fine, coarse, narrow), STRIDES, convert.SCORES, convert.SIDES, strict=True
    ):
        g.head(source, (SIDE_PX // stride) ** 2, scores, sides)
    return g.save(tmp_path_factory.mktemp("tiny"))


def random_image(height: int, width: int) -> Float32:
    return np.random.default_rng(1).standard_normal((1, 3, height, width)).astype(np.float32)


def test_the_onnx_file_computes_what_the_graph_does(drawn: Path) -> None:
    graph, image = read_graph(drawn), random_image(SIDE_PX, SIDE_PX)
    values = evaluate(graph, image)
    data = convert.converted(graph, values, {"features_8": "fine"}).SerializeToString()
    cells = convert.expected_cells(values)
    assert cells.shape == (1, 16 + 4 + 1, KINDS + 4 * BINS)
    convert.check(data, image, cells)
    with pytest.raises(ValueError, match="differs by"):
        convert.check(data, image + 1, cells)


def test_any_size_that_32_divides_goes_in(drawn: Path) -> None:
    import onnxruntime

    graph = read_graph(drawn)
    values = evaluate(graph, random_image(SIDE_PX, SIDE_PX))
    model = convert.converted(graph, values, {"features_8": "fine"})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    cells, features = session.run(None, {"image": random_image(64, 96)})
    assert np.asarray(cells).shape == (1, 96 + 24 + 6, KINDS + 4 * BINS)
    assert np.asarray(features).shape == (1, CHANNELS, 8, 12)


def test_weights_stay_of_16_bits(drawn: Path) -> None:
    from onnx import TensorProto

    graph = read_graph(drawn)
    values = evaluate(graph, random_image(SIDE_PX, SIDE_PX))
    model = convert.converted(graph, values, {})
    weights = [t for t in model.graph.initializer if t.name.endswith(".weight.half")]
    assert len(weights) == 1 + 3 + 1 + 3
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}


def test_an_unknown_operation_is_named(drawn: Path) -> None:
    graph = read_graph(drawn)
    strange = replace(graph.operations[-1], kind="Mean")
    with pytest.raises(ValueError, match=f"{strange.name}: operation Mean is not known"):
        evaluate(replace(graph, operations=(*graph.operations[:-1], strange)),
                 random_image(SIDE_PX, SIDE_PX))  # fmt: skip


def test_the_readable_convolution_and_resize_know_answers_by_hand() -> None:
    ramp = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    summed = convolved(ramp, np.ones((3, 3, 1, 1), np.float32), 1)
    assert summed[0, :, :, 0].tolist() == [[45, 54], [81, 90]]
    half = resized(ramp, [2, 2])
    assert half[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    double = resized(ramp[:, :1, :2], [1, 4])
    assert double[0, 0, :, 0].tolist() == [0, 0.25, 0.75, 1]


def test_the_bundled_file_is_the_listed_one() -> None:
    from stages.segment.lite.detector import WEIGHTS_FILE, WEIGHTS_SHA256

    folder = ROOT / "weights" / "lite"
    index = {e["file"]: e for e in json.loads((folder / "index.json").read_text("utf-8"))}
    found = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    assert found == WEIGHTS_SHA256 == index[WEIGHTS_FILE]["sha256"]
    assert found in (folder / "nanodet.md").read_text("utf-8")
