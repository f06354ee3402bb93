"""Writes trained weights for the complete backend: ONNX, and their entry in the index.

python -m training.completion.export --run RUN --out weights/lite
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.complete.lite.scaled import INPUT_CHANNELS, SIDE_PX
from training.common.export import read_run, round_weights, write_onnx
from training.common.index import write_entry
from training.completion.network import CHANNELS, Completer, Outline

GRAPH = "completion.onnx"
ENTRY = {
    "file": GRAPH,
    "name": "lite completion",
    "licence": "MIT",
    "source": "trained by the photoscene project: see weights/lite/completion.md",
    "task": "outline of an object's hidden part (complete)",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/completion.onnx from a run's checkpoint."""
    checkpoint, out = read_run(argv, "Writes weights/lite/completion.onnx from a run.")
    channels = tuple(checkpoint.run["recipe"]["channels"])
    write_graph(rounded(checkpoint.average, channels), out / GRAPH)
    write_entry(out / "index.json", ENTRY)


def rounded(weights: Mapping[str, Tensor], channels: tuple[int, ...] = CHANNELS) -> Completer:
    """The network with its weights at 16 bits of precision."""
    network = Completer(channels)
    round_weights(network, weights)
    return network


def write_graph(network: Completer, path: Path) -> None:
    """The outline's graph, for any batch of the crops that the backend makes."""
    crops = torch.zeros(2, INPUT_CHANNELS, SIDE_PX, SIDE_PX)
    axes = {"crops": {0: "batch"}, "guess": {0: "batch"}}
    write_onnx(Outline(network), path, {"crops": crops}, ["guess"], axes)


if __name__ == "__main__":
    main()
