"""What does a TensorFlow.js graph compute? Its operations one by one in numpy, to compare with.

Nothing is folded or reordered: pictures are transposed where the graph transposes them.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from scene.types import Float32
from training.detector.tfjs import Array, Graph, Operation


def evaluate(graph: Graph, image: Float32) -> dict[str, Array]:
    """Every value of the graph by its reference, for one input."""
    values: dict[str, Array] = dict(graph.constants)
    for operation in graph.operations:
        arguments = [values[name] for name in operation.inputs]
        if operation.kind == "Placeholder":
            values[operation.name] = image
        elif operation.kind == "SplitV":
            ends = np.cumsum(arguments[1])[:-1]
            for index, part in enumerate(np.split(arguments[0], ends, int(arguments[2]))):
                values[operation.name + (f":{index}" if index else "")] = part
        else:
            values[operation.name] = compute(operation, arguments)
    return values


def compute(operation: Operation, arguments: list[Array]) -> Array:
    """One operation with a single output."""
    x = arguments[0]
    if "padding" in operation.attributes and operation.word("padding") != "VALID":
        raise ValueError(f"{operation.name}: only padding by operations of its own is known here")
    match operation.kind:
        case "Conv2D":
            return convolved(x, arguments[1], operation.integers("strides")[1])
        case "MaxPool":
            side, step = operation.integers("ksize")[1], operation.integers("strides")[1]
            return windows(x, side, step).max((-2, -1))
        case "ResizeBilinear":
            return resized(x, arguments[1].tolist())
        case "Pad":
            return np.pad(x, arguments[1])
        case "PadV2":
            return np.pad(x, arguments[1], constant_values=arguments[2])
        case "Transpose":
            return x.transpose(arguments[1])
        case "Add" | "AddV2":
            return x + arguments[1]
        case "LeakyRelu":
            return np.where(x > 0, x, x * np.float32(operation.attributes["alpha"]["f"]))
        case "Sigmoid":
            return 1 / (1 + np.exp(-x))
        case "ConcatV2":
            return np.concatenate(arguments[:-1], int(arguments[-1]))
        case "SparseToDense":  # onnx-tf builds shapes in this way, always of no entries
            return np.full(arguments[1], arguments[3])
        case "Reshape":
            return x.reshape(arguments[1])
        case "Identity":
            return x
    raise ValueError(f"{operation.name}: operation {operation.kind} is not known here")


def windows(x: Array, side: int, step: int) -> Array:
    """(B, H, W, C) -> (B, h, w, C, side, side), a view of all windows that lie inside."""
    return sliding_window_view(x, (side, side), (1, 2))[:, ::step, ::step]


def convolved(x: Array, weight: Array, step: int) -> Array:
    """(B, H, W, C) by (side, side, C, D) -> (B, h, w, D), without padding."""
    return np.tensordot(windows(x, weight.shape[0], step), weight, ((3, 4, 5), (2, 0, 1)))


def resized(x: Array, size: list[int]) -> Array:
    """(B, H, W, C) -> (B, *size, C), bilinear between the centres of the pixels."""
    for axis, length in enumerate(size, 1):
        old = x.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        share = (at - low).astype(np.float32).reshape((-1,) + (1,) * (3 - axis))
        high = np.minimum(low + 1, old - 1)
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x
