"""What does a TensorFlow.js graph model hold? Its operations in order, and its constants."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Operation:
    """A node: what it computes, its name, the names of its inputs (`name` or `name:1`, a further
    output), and its attributes as TensorFlow writes them."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def integers(self, name: str) -> list[int]:
        """A list attribute."""
        return [int(value) for value in self.attributes[name]["list"]["i"]]

    def word(self, name: str) -> str:
        """A string attribute."""
        return base64.b64decode(self.attributes[name]["s"]).decode()


@dataclass(frozen=True, eq=False)
class Graph:
    """operations: each after those that it reads, without constants; constants by name, float32
    where the file holds float16."""

    operations: tuple[Operation, ...]
    constants: dict[str, Array]


def read_graph(path: Path) -> Graph:
    """The graph of `NAME.json` with the weights of the files that it names, beside it."""
    content = json.loads(path.read_text("utf-8"))
    nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
    constants = dict(_constants(content["weightsManifest"], path.parent))
    operations: list[Operation] = []
    done = set(constants)

    def add(name: str) -> None:
        """An operation after all that it reads."""
        if name in done:
            return
        done.add(name)
        inputs = tuple(nodes[name].get("input", ()))
        for reference in inputs:
            add(reference.partition(":")[0])
        node = nodes[name]
        operations.append(Operation(node["op"], name, inputs, node.get("attr", {})))

    for output in content["signature"]["outputs"].values():
        add(output["name"].partition(":")[0])
    return Graph(tuple(operations), constants)


def _constants(manifest: list[dict[str, Any]], folder: Path) -> Iterator[tuple[str, Array]]:
    for group in manifest:
        data, start = b"".join((folder / name).read_bytes() for name in group["paths"]), 0
        for weight in group["weights"]:
            stored = np.dtype(weight.get("quantization", {}).get("dtype", weight["dtype"]))
            count = int(np.prod(weight["shape"], dtype=np.int64))
            values = np.frombuffer(data, stored, count, start).astype(weight["dtype"])
            start += count * stored.itemsize
            yield weight["name"], values.reshape(weight["shape"])
        if start != len(data):
            raise ValueError(f"{group['paths']}: {len(data)} bytes, the weights end at {start}")
