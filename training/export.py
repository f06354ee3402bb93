"""How do trained weights become files? `python -m training.export --run RUN`: ONNX and safetensors.

The averaged weights are rounded to 16 bits; both files hold those, and the ONNX graph widens them
when it is loaded, so that the two networks agree to rounding of the arithmetic.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.network import CHANNELS, INPUTS, LayeredDepth

TRACED_PX = 64
OPSET = 18
TASKS = {
    "generator.onnx": "layers and colours of an object from its picture (generate)",
    "generator.safetensors": "the same weights, to train on",
}
MIN_ROUNDED = 256  # values: smaller tensors stay in 32 bits in the ONNX file


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/generator.onnx and .safetensors from a run's checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("weights/lite"))
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    content = torch.load(options.run / "checkpoint.pt", map_location="cpu", weights_only=True)
    network = rounded(content["average"], content["recipe"]["channels"])
    write_safetensors(network, options.out / "generator.safetensors")
    write_onnx(network, options.out / "generator.onnx")
    write_index(options.out / "index.json", options.out)


def rounded(weights: dict[str, torch.Tensor], channels: tuple[int, ...] = CHANNELS) -> LayeredDepth:
    """The network with its weights at 16 bits of precision."""
    network = LayeredDepth(channels)
    network.load_state_dict({n: v.half().float() for n, v in weights.items()})
    return network.eval()


def write_safetensors(network: LayeredDepth, path: Path) -> None:
    """The weights as float16."""
    from safetensors.torch import save_file

    save_file({n: v.half().contiguous() for n, v in network.state_dict().items()}, str(path))


def read_safetensors(path: Path) -> LayeredDepth:
    """The network of a file of `write_safetensors`; strict."""
    from safetensors.torch import load_file

    weights = load_file(str(path))
    first = (f"down_blocks.{level}.conv1.bias" for level in range(len(CHANNELS)))
    return rounded(weights, tuple(len(weights[name]) for name in first))


def write_onnx(network: LayeredDepth, path: Path) -> None:
    """The graph for any batch and any size that 16 divides; weights as float16 constants."""
    import onnx

    traced: Any = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(2, INPUTS, TRACED_PX, TRACED_PX),),
        traced,
        input_names=["pictures"],
        output_names=["layers"],
        dynamic_axes={
            "pictures": {0: "batch", 2: "height", 3: "width"},
            "layers": {0: "batch", 2: "half_height", 3: "half_width"},
        },
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


def write_index(index: Path, folder: Path) -> None:
    """Renew the two files' entries in the list of bundled weights."""
    listed = json.loads(index.read_text("utf-8")) if index.exists() else []
    entries = [e for e in listed if e["file"] not in TASKS]
    for name, task in TASKS.items():
        entries.append(
            {"file": name, "name": "lite generator", "sha256": sha256(folder / name),
             "licence": "MIT", "source": "trained here: see generator.md", "task": task}
        )  # fmt: skip
    index.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")


def sha256(path: Path) -> str:
    """The digest by which code and index know a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
