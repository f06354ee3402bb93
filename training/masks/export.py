"""How does a run become the bundled file? `python -m training.masks.export --run RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from stages.segment.lite.masks import FEATURE_CELLS, MASK_CELLS
from training.common.export import read_run, round_weights, write_onnx
from training.common.index import write_entry
from training.masks.network import FEATURES, Likely, MaskHead

GRAPH = "masks.onnx"
ENTRY = {
    "file": GRAPH,
    "name": "lite masks",
    "licence": "MIT; it reads the features of NanoDet-g, Apache-2.0",
    "source": "trained by the photoscene project: see weights/lite/masks.md",
    "task": "masks in the detector's boxes (segment)",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/masks.onnx from a run's checkpoint."""
    checkpoint, out = read_run(argv, "Writes weights/lite/masks.onnx from a run.")
    network = MaskHead()
    round_weights(network, checkpoint.average)
    write_graph(network, out / GRAPH)
    write_entry(out / "index.json", ENTRY)


def write_graph(network: MaskHead, path: Path) -> None:
    """The network as ONNX, for any number of windows."""
    inputs = {
        "features": torch.zeros(2, FEATURES, FEATURE_CELLS, FEATURE_CELLS),
        "colours": torch.zeros(2, 3, MASK_CELLS, MASK_CELLS),
    }
    axes = {name: {0: "windows"} for name in (*inputs, "likelihood")}
    write_onnx(Likely(network).eval(), path, inputs, ("likelihood",), axes)


if __name__ == "__main__":
    main()
