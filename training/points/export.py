"""How does a run become the bundled file? `python -m training.points.export --run RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from training.common.export import read_run, round_weights, write_onnx
from training.common.index import write_entry
from training.points.network import (
    GRID_CHANNELS,
    OBJECT_CHANNELS,
    Output,
    PointMapNetwork,
)

GRAPH = "points.onnx"
ENTRY = {
    "file": GRAPH,
    "name": "lite point map",
    "licence": "MIT; its first stages are tuned from NanoDet-g, Apache-2.0",
    "source": "trained by the photoscene project: see weights/lite/points.md",
    "task": "depth, gravity and field of view of a photo (map_points)",
}
TRACED_PX = (64, 96)
OUTPUTS = Output._fields[:-1]  # the perspective field is there to learn by


class Asked(nn.Module):
    """The network, saying what the map is made from."""

    def __init__(self, network: PointMapNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, grid: Tensor, objects: Tensor) -> tuple[Tensor, ...]:
        """As the network, without the last of its answers."""
        return tuple(self.network(image, grid, objects)[:-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Write weights/lite/points.onnx from a run's checkpoint."""
    checkpoint, out = read_run(argv, "Writes weights/lite/points.onnx from a run.")
    network = PointMapNetwork()
    round_weights(network, checkpoint.average)
    write_graph(network, out / GRAPH)
    write_entry(out / "index.json", ENTRY)


def write_graph(network: PointMapNetwork, path: Path) -> None:
    """The network as ONNX, for pictures of any size."""
    height, width = TRACED_PX
    inputs = {
        "image": torch.zeros(1, 3, height, width),
        "grid": torch.ones(1, GRID_CHANNELS, height // 4, width // 4),
        "objects": torch.zeros(1, OBJECT_CHANNELS, height // 4, width // 4),
    }
    axes = {
        "image": {2: "height", 3: "width"},
        "grid": {2: "rows", 3: "columns"},
        "objects": {2: "rows", 3: "columns"},
        "log_depth": {1: "rows", 2: "columns"},
        "valid": {1: "rows", 2: "columns"},
    }
    write_onnx(Asked(network), path, inputs, OUTPUTS, axes)


if __name__ == "__main__":
    main()
