"""How many operations does a device get for a piece of work, and how often must it be waited for?

Counted where torch hands operations to the device. On the meta device nothing is computed, so that
official sizes can be counted anywhere; what asks for values cannot run there at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What the host must wait for: a value, or a shape that depends on values.
WAITING = frozenset((
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount",
    "_unique", "_unique2", "unique_consecutive", "unique_dim", "repeat_interleave",
))  # fmt: skip
# Methods that read values as well, on a CPU without an operation.
READING = frozenset((Tensor.tolist, Tensor.cpu, Tensor.numpy))
# Neither moves a byte.
RESERVING = frozenset(("empty", "empty_like", "empty_strided", "new_empty", "lift_fresh"))


@dataclass(frozen=True)
class Launches:
    """operations: that compute something, views left out; matrix_products: those among them; waits:
    that the host waits for; moved_bytes: what they read and write in memory."""

    operations: int = 0
    matrix_products: int = 0
    waits: int = 0
    moved_bytes: int = 0

    def __add__(self, other: Launches) -> Launches:
        return Launches(
            self.operations + other.operations,
            self.matrix_products + other.matrix_products,
            self.waits + other.waits,
            self.moved_bytes + other.moved_bytes,
        )


class LaunchCounter(TorchDispatchMode):
    """Adds up what is launched inside its `with`."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Launches()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in RESERVING and not _is_view(func):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.counted += Launches(
                1,
                int(name in ("mm", "addmm", "bmm", "baddbmm")),
                int(name in WAITING or _selects(name, args)),
                sum(_stored_bytes(tensor) for tensor in tensors),
            )
        return result


class ReadingCounter(TorchFunctionMode):
    """Adds up how often values are read inside its `with`."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Launches()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.counted += Launches(waits=int(func in READING))
        return func(*args, **(kwargs or {}))


def launches(work: Callable[[], object]) -> Launches:
    """What a call launches."""
    with LaunchCounter() as counter, ReadingCounter() as reading:
        work()
    return counter.counted + reading.counted


def _is_view(func: Any) -> bool:
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _selects(name: str, args: tuple[Any, ...]) -> bool:
    """Whether rows are chosen by a mask: how many they are is then a matter of its values."""
    if name != "index":
        return False
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _stored_bytes(tensor: Tensor) -> int:
    """The bytes that a tensor's values lie in; an expanded one repeats them."""
    numel = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numel *= 1 if stride == 0 else size
    return numel * tensor.element_size()
