"""How do trained weights become files? ONNX and safetensors, both of 16 bits.

Weights are rounded to 16 bits first; the ONNX graph widens them when it is loaded, so that the
network and its graph agree to rounding of the arithmetic.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.common.checkpoint import FILE, Checkpoint, read_checkpoint

OPSET = 18
MIN_ROUNDED = 256  # values: smaller tensors stay in 32 bits in the ONNX file


def read_run(argv: Sequence[str] | None, about: str) -> tuple[Checkpoint, Path]:
    """What the command of an export was given: a run's checkpoint, and the folder to write to."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("weights/lite"))
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    return read_checkpoint(options.run / FILE), options.out


def round_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network weights of 16 bits' precision, strictly, ready to be exported."""
    network.load_state_dict({n: v.half().float() for n, v in weights.items()})
    network.eval()


def write_safetensors(network: nn.Module, path: Path) -> None:
    """The weights as float16."""
    from safetensors.torch import save_file

    save_file({n: v.half().contiguous() for n, v in network.state_dict().items()}, str(path))


def write_onnx(
    network: nn.Module,
    path: Path,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """The graph; large weights as float16 constants.

    inputs: examples by name, in the order of `forward`; outputs: names; axes: those of any length
    of inputs and outputs, by name.
    """
    import onnx

    traced: Any = io.BytesIO()
    torch.onnx.export(
        network,
        tuple(inputs.values()),
        traced,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: dict(free) for name, free in axes.items()},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load_from_string(traced.getvalue())
    _narrow(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _narrow(model: object) -> None:
    """Store large float32 constants as float16, each followed by a cast back."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph  # type: ignore[attr-defined]
    casts = []
    for constant in graph.initializer:
        if constant.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(constant)
        if values.size < MIN_ROUNDED:
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
