"""Loads the small networks that come with photoscene: ONNX files, run on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from scene.errors import BadWeights
from scene.types import Float32

Network = Callable[[Float32], Float32]  # one batch in, one batch out
Graph = Callable[..., list[Float32]]  # batches by the names of the inputs -> every output

# One thread: sums are made in one order, so two calls agree to the last bit on any machine.
THREADS = 1


def load_network(name: str, sha256: str) -> Network:
    """Read weights/lite/NAME, a network with one input, whose first output counts.

    Raises BadWeights where it is not the file the code was made for.
    """
    session = _session(name, sha256)
    entry, result = session.get_inputs()[0].name, session.get_outputs()[0].name

    def network(batch: Float32) -> Float32:
        return np.asarray(session.run([result], {entry: batch})[0], np.float32)

    return network


def load_graph(name: str, sha256: str) -> Graph:
    """Read weights/lite/NAME, a network with several inputs or outputs.

    Raises BadWeights where it is not the file the code was made for.
    """
    session = _session(name, sha256)

    def graph(**batches: Float32) -> list[Float32]:
        return [np.asarray(out, np.float32) for out in session.run(None, batches)]

    return graph


def _session(name: str, sha256: str) -> Any:
    import onnxruntime

    data = (files("weights") / "lite" / name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BadWeights(
            f"weights/lite/{name} has sha256 {found}, expected {sha256}: install the package again"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = THREADS
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
