"""What a part of the self-test has at hand: device, tiny weights, comparisons with the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Precision = Literal["official", "bfloat16"]
# Relative differences (of the norms) between a device and the CPU in float32. float32: products in
# TF32 keep 10 bits, and sums run in another order. Half: a few layers of 8 bits each.
FLOAT_TOLERANCE, HALF_TOLERANCE = 5e-3, 0.06


class Wrong(RuntimeError):
    """Something that a part found and that must not be."""


@dataclass(frozen=True)
class Part:
    """One path through the official networks.

    needs: modules, and the command that installs each; check: raises where the path cannot work,
    and returns what it found in a few words.
    """

    name: str
    needs: Mapping[str, str]
    check: Callable[[Bench], str]


@dataclass(frozen=True, eq=False)
class Bench:
    """The device on trial, and a folder for tiny weights, which are written when wanted."""

    device: str
    folder: Path
    written: dict[str, Path] = field(default_factory=dict)

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU is on trial: it is compared with itself in another type."""
        return self.device == "cpu"

    @property
    def precision(self) -> Precision:
        """What networks run in on the device: as released, and on a CPU in bfloat16."""
        return "bfloat16" if self.is_cpu else "official"

    def weights(self, name: str) -> Path:
        """The folder of a model's tiny weights, laid out as its release."""
        if name not in self.written:
            self.written[name] = _write(name, self.folder / name)
        return self.written[name]

    @cached_property
    def cache(self) -> dict[str, Any]:
        """What parts share: made by the first that wants it."""
        return {}

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """A value that several parts use."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]


def _write(name: str, folder: Path) -> Path:
    if name == "pixal3d":
        from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint

        return write_tiny_checkpoint(folder)
    if name == "cupid":
        from photoscene.self_test.tiny_cupid import write_tiny_checkpoint

        return write_tiny_checkpoint(folder)
    if name.startswith("direct3d_s2"):
        from photoscene.self_test import tiny_direct3d

        return tiny_direct3d.write_tiny_checkpoint(folder, name.endswith("aligned"))
    if name == "moge":
        from photoscene.self_test.tiny_moge import write_moge

        return write_moge(folder, seed=2)
    if name == "qwen":
        from photoscene.self_test.tiny_qwen import save_tiny_qwen

        return save_tiny_qwen(folder)
    from photoscene.self_test.tiny_sam import save_sam2, save_sam3

    return save_sam3(folder) if name == "sam3" else save_sam2(folder)


def check_close(what: str, pair: Iterable[Any], tolerance: float) -> float:
    """The relative difference of a pair: what the device made, and what the CPU made.

    Wrong for another shape, values that are not finite, and more than the tolerance.
    """
    import torch

    here, there = (torch.as_tensor(value).detach().cpu().double() for value in pair)
    if here.shape != there.shape:
        raise Wrong(f"{what} is {tuple(here.shape)}, on the CPU {tuple(there.shape)}")
    lost = int((~here.isfinite()).sum())
    if lost:
        raise Wrong(f"{what} has {lost} of {here.numel()} values that are not finite")
    difference = float((here - there).norm() / there.norm().clamp(min=1e-12))
    if difference > tolerance:
        raise Wrong(
            f"{what} differs from the CPU's by {difference:.2g} of its size, "
            f"at most {tolerance:g} is rounding"
        )
    return difference


def check_tensors(
    what: str, tensors: Iterable[tuple[str, Tensor]], types: Mapping[str, torch.dtype], device: str
) -> None:
    """Wrong where a tensor is on another device, or of another type than stated under its name."""
    import torch

    kind = torch.device(device).type
    for name, tensor in tensors:
        if tensor.device.type != kind:
            raise Wrong(f"{what}: {name} is on {tensor.device.type}, expected {kind}")
        if tensor.dtype != types[name]:
            raise Wrong(f"{what}: {name} is {_name(tensor.dtype)}, expected {_name(types[name])}")


def check_uniform(what: str, network: nn.Module, dtype: torch.dtype, device: str) -> None:
    """Wrong where a parameter is on another device or of another type."""
    named = dict(network.named_parameters())
    check_tensors(what, named.items(), dict.fromkeys(named, dtype), device)


def remark(difference: float) -> str:
    """A difference in words."""
    return f"{difference:.2g} from the CPU" if difference else "as the CPU"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
