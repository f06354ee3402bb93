"""How is a training run kept on disk? One safetensors file: tensors, and what they belong to.

Nothing in such a file can run when it is read. It is replaced only by one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.safetensors"
RUN = "run"  # the key of the JSON in the file's header


class Checkpoint(NamedTuple):
    """Weights, averaged weights and every optimizer's tensors by parameter; and, as JSON,
    everything else."""

    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizers: list[dict[int, dict[str, Tensor]]]
    run: dict[str, Any]


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; the old one stays until the new one is whole."""
    tensors = {f"network/{n}": t for n, t in checkpoint.network.items()}
    tensors |= {f"average/{n}": t for n, t in checkpoint.average.items()}
    for i, state in enumerate(checkpoint.optimizers):
        for parameter, values in state.items():
            tensors |= {f"optimizers/{i}/{parameter}/{n}": t for n, t in values.items()}
    unfinished = path.with_suffix(".part")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, unfinished, {RUN: json.dumps(checkpoint.run)})
    unfinished.replace(path)


def read_checkpoint(path: Path, device: str = "cpu") -> Checkpoint:
    """A file of `write_checkpoint`."""
    with safe_open(path, "pt", device) as file:
        run = json.loads(file.metadata()[RUN])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    optimizers: dict[int, dict[int, dict[str, Tensor]]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizers/"):
            _, i, parameter, key = name.split("/")
            optimizers.setdefault(int(i), {}).setdefault(int(parameter), {})[key] = tensor
    listed = [optimizers[i] for i in sorted(optimizers)]
    return Checkpoint(_below("network", tensors), _below("average", tensors), listed, run)


def optimizer_states(
    optimizers: Sequence[torch.optim.Optimizer],
) -> list[dict[int, dict[str, Tensor]]]:
    """Every optimizer's tensors, by the number of the parameter and their name."""
    return [optimizer.state_dict()["state"] for optimizer in optimizers]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[int, Mapping[str, Tensor]]
) -> None:
    """Give an optimizer its tensors; its settings are those that it was made with."""
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(tensors), "param_groups": groups})


def _below(folder: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{folder}/"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
