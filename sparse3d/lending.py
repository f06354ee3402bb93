"""Who holds the networks while a cascade runs? They are lent one by one, under their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sparse3d.sparse_conv import Backend

# Lends one network by name for the time of a `with`; whoever lends decides where networks wait.
Borrow = Callable[[str], AbstractContextManager[Any]]
# Told after every step: the network's name, the steps done and the steps there are.
StepCallback = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RuntimeOptions:
    """How networks run: body_dtype (None: as released), the library of sparse convolutions, and
    whether flows run what is between their matrix products as kernels of `torch.compile`, which
    takes some seconds once per process."""

    body_dtype: torch.dtype | None = None
    convolution: Backend = "torch"
    compiled: bool = False


def keep_loaded(load: Callable[[str], Any]) -> Borrow:
    """Lend networks that `load` reads by name, each when first wanted, and keep them."""
    loaded: dict[str, Any] = {}

    @contextmanager
    def borrow(name: str) -> Iterator[Any]:
        if name not in loaded:
            loaded[name] = load(name)
        yield loaded[name]

    return borrow


def computing_type(runtime: RuntimeOptions, device: str) -> torch.dtype | None:
    """The type of the networks' bodies, None as released. Unless one is asked for it is float32 on
    a CPU, where half precision is many times slower on most."""
    return torch.float32 if runtime.body_dtype is None and device == "cpu" else runtime.body_dtype


def silent(name: str, done: int, steps: int) -> None:
    """Progress that nobody watches."""
