"""How much memory a device has, how much a model takes, and whether an error says it ran out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

BUDGET_FRACTION = 0.8  # of a device's memory for weights; the rest is for what calls compute
# Who says so in words, by a class that others use as well:
OUT_OF_MEMORY = re.compile(
    # PyTorch: c10/cuda/CUDAException (cudaErrorMemoryAllocation); ATen/cuda/Exceptions.cpp and
    # ATen/cudnn/Exceptions.h for what the libraries answer, by the names of cuBLAS, cuDNN 8 and 9,
    # cuSOLVER and cuSPARSE; c10/core/impl/alloc_cpu.cpp for main memory.
    r"(?:CUDA|HIP)(?: error:)? out of memory"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_(?:INTERNAL_ERROR_(?:HOST|DEVICE)_)?ALLOC(?:ATION)?_FAILED"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    # ONNX Runtime: core/framework/bfc_arena.cc, and what the C++ library threw inside it.
    r"|Failed to allocate memory for requested buffer|std::bad_alloc"
    # OpenCV: modules/core/src/alloc.cpp
    r"|-4:Insufficient memory"
)
Loaded = TypeVar("Loaded")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in main memory.

    By its class (MemoryError, torch.OutOfMemoryError, which need not be installed) or its words.
    """
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, (ValueError, OSError)):  # about the input or a file, whatever it quotes
        return False
    return OUT_OF_MEMORY.search(str(error)) is not None


def measured(load: Callable[[], Loaded], device: str) -> tuple[Loaded, int]:
    """What load returns, and the bytes that it takes on the device.

    On CUDA: how much more torch has allocated there. In main memory: the parameters and buffers of
    the networks in it, or where it has none, how much the process has grown.
    """
    if device.startswith("cuda"):
        import torch

        before = torch.cuda.memory_allocated(device)
        loaded = load()
        return loaded, max(0, torch.cuda.memory_allocated(device) - before)
    before = _resident_bytes()
    loaded = load()
    return loaded, network_bytes(loaded) or max(0, _resident_bytes() - before)


def network_bytes(value: object) -> int:
    """The bytes of all parameters and buffers of a network, or of the networks that a record or a
    pipeline holds; what two of them share counts once."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    networks = _networks_in(value, torch.nn.Module)
    tensors = {id(t): t for n in networks for t in (*n.parameters(), *n.buffers())}
    return sum(t.nbytes for t in tensors.values())


def default_budget_bytes(device: str) -> int:
    """The memory of a device that models may hold by default."""
    if device.startswith("cuda"):
        import torch

        return int(BUDGET_FRACTION * torch.cuda.get_device_properties(device).total_memory)
    return int(BUDGET_FRACTION * main_memory_bytes())


def main_memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """The machine's memory, or the least that a control group (a container) leaves to this process.

    proc, cgroups: where Linux has them; elsewhere there are no such limits.
    """
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *_cgroup_limits(proc / "self" / "cgroup", cgroups)])


def _cgroup_limits(membership: Path, cgroups: Path) -> Iterator[int]:
    """The limits of the process's memory group and of all that it lies in, of version 2 or 1."""
    if not membership.is_file():
        return
    for line in membership.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        lowest = root / group.lstrip("/")
        for folder in (lowest, *lowest.parents):
            # Inside a container the group's path may be the host's, which cannot be seen there.
            if folder.is_relative_to(root) and (folder / name).is_file():
                limit = (folder / name).read_text().strip()
                if limit.isdigit():  # "max" is none
                    yield int(limit)


def _networks_in(value: object, network_type: Any, depth: int = 2) -> Iterator[Any]:
    if isinstance(value, network_type):
        yield value
    elif depth and hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _networks_in(part, network_type, depth - 1)


def _resident_bytes() -> int:
    """The main memory that this process has now; 0 where the system does not report it."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
