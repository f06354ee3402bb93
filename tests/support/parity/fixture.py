"""One golden fixture: its sidecar, its tensors, and the comparison with stated tolerances."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

DEFAULT_ATOL, DEFAULT_RTOL = 2e-5, 1e-4


@dataclass(frozen=True, eq=False)
class Fixture:
    """What the reference was given and what it answered."""

    name: str
    sidecar: dict[str, Any]
    tensors: dict[str, Tensor]
    checked: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """The reference's class or function: the first word of the sidecar's upstream_class, after
        the name of Cupid's repository, whose classes have names that others have too."""
        name = self.sidecar["upstream_class"].replace(",", " ").split()[0]
        return f"Cupid/{name}" if self.sidecar.get("upstream_repo") == "Cupid" else name

    @property
    def arguments(self) -> dict[str, Any]:
        """What the reference's constructor was given."""
        return self.sidecar.get("constructor_kwargs", {})

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix such as "inputs" or "weights/naf.", without it."""
        start = prefix if prefix.endswith(".") else prefix + "/"
        return {n[len(start) :]: t for n, t in self.tensors.items() if n.startswith(start)}

    def input(self, name: str) -> Tensor:
        return self.tensors[f"inputs/{name}"]

    def output(self, name: str) -> Tensor:
        return self.tensors[f"outputs/{name}"]

    @property
    def outputs(self) -> list[str]:
        return sorted(self.part("outputs"))

    def load_into(self, module: nn.Module, prefix: str = "weights", unused: tuple[str, ...] = ()):
        """Load every weight, strictly; `unused` names tensors that the reference does not use."""
        weights = {n: t for n, t in self.part(prefix).items() if n not in unused}
        module.load_state_dict(weights, strict=True)
        return module.eval()

    def tolerance(self, name: str = "") -> tuple[float, float]:
        """(atol, rtol) of an output, from the sidecar; "exact" means zero."""
        stated = self.sidecar.get("tolerance", {})
        if isinstance(stated, str):
            return 0.0, 0.0
        for key in (name, "float32_cpu"):
            if isinstance(stated.get(key), dict):
                return stated[key].get("atol", 0.0), stated[key].get("rtol", 0.0)
        if "atol" in stated or "rtol" in stated:
            return stated.get("atol", 0.0), stated.get("rtol", 0.0)
        return DEFAULT_ATOL, DEFAULT_RTOL

    def compare(self, name: str, value: Tensor, tolerance: tuple[float, float] | None = None):
        """Fail unless `value` is the named output within its tolerance."""
        expected = self.output(name)
        assert tuple(value.shape) == tuple(expected.shape), f"{name}: shape"
        atol, rtol = tolerance or self.tolerance(name)
        if not expected.dtype.is_floating_point:
            atol, rtol = 0.0, 0.0
        torch.testing.assert_close(
            value.to(expected.dtype), expected, atol=atol, rtol=rtol, msg=lambda m: f"{name}: {m}"
        )
        self.checked.add(name)


def read_fixture(sidecar: Path) -> Fixture:
    """The fixture of one sidecar file; weights that it has by their shapes alone are drawn anew."""
    described = json.loads(sidecar.read_text("utf-8"))
    tensors = load_file(sidecar.with_name(described["file"]))
    drawn = drawn_weights(described.get("drawn_weights", {}))
    tensors |= {f"weights/{name}": tensor for name, tensor in drawn.items()}
    return Fixture(sidecar.stem, described, tensors)


def digest_of_names(network: nn.Module, part: str = "") -> str:
    """How many tensors and numbers a network has below a name, and a digest of names and shapes."""
    shapes = {
        name.removeprefix(part): tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if name.startswith(part)
    }
    listed = "\n".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))
    numbers = sum(math.prod(shape) for shape in shapes.values())
    return (
        f"{len(shapes)} tensors, {numbers} numbers, {hashlib.sha256(listed.encode()).hexdigest()}"
    )


def drawn_weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Random weights by name and shape, the same wherever they are drawn: gains about 1, biases
    about 0, and matrices that keep the spread of what they multiply."""
    weights = {}
    for name, shape in shapes.items():
        random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        values = torch.randn(shape, generator=random)
        if len(shape) > 1:
            inputs = values[..., 0].numel() if name.endswith("kernel") else values[0].numel()
            weights[name] = values / inputs**0.5
        else:
            gain = "norm" in name and name.endswith("weight")
            weights[name] = 0.1 * values + (1 if gain else 0)
    return weights
