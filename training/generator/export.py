"""How does a run become the bundled files? `python -m training.generator.export --run RUN`.

The averaged weights are rounded to 16 bits; the ONNX graph and the safetensors file hold those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.common.export import read_run, round_weights, write_onnx, write_safetensors
from training.common.index import write_entry
from training.generator.network import CHANNELS, INPUTS, LayeredDepth

TRACED_PX = 64
GRAPH, WEIGHTS = "generator.onnx", "generator.safetensors"
TASKS = {
    GRAPH: "layers and colours of an object from its picture (generate)",
    WEIGHTS: "the same weights, to train on",
}
SOURCE = "trained by the photoscene project: see weights/lite/generator.md"


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/generator.onnx and .safetensors from a run's checkpoint."""
    checkpoint, out = read_run(argv, "Writes weights/lite/generator.* from a run.")
    network = rounded(checkpoint.average, tuple(checkpoint.run["recipe"]["channels"]))
    write_safetensors(network, out / WEIGHTS)
    write_graph(network, out / GRAPH)
    for file, task in TASKS.items():
        entry = {"name": "lite generator", "licence": "MIT", "source": SOURCE, "task": task}
        write_entry(out / "index.json", {"file": file, **entry})


def rounded(weights: Mapping[str, Tensor], channels: tuple[int, ...] = CHANNELS) -> LayeredDepth:
    """The network with its weights at 16 bits of precision."""
    network = LayeredDepth(channels)
    round_weights(network, weights)
    return network


def read_safetensors(path: Path) -> LayeredDepth:
    """The network of a file of weights; strict."""
    from safetensors.torch import load_file

    weights = load_file(str(path))
    first = (f"down_blocks.{level}.conv1.bias" for level in range(len(CHANNELS)))
    return rounded(weights, tuple(len(weights[name]) for name in first))


def write_graph(network: LayeredDepth, path: Path) -> None:
    """The graph for any batch and any size that 16 divides."""
    pictures = torch.zeros(2, INPUTS, TRACED_PX, TRACED_PX)
    axes = {
        "pictures": {0: "batch", 2: "height", 3: "width"},
        "layers": {0: "batch", 2: "half_height", 3: "half_width"},
    }
    write_onnx(network, path, {"pictures": pictures}, ["layers"], axes)


if __name__ == "__main__":
    main()
