"""What does a call cost on this machine, and how fast can the machine multiply at all?"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.narrow import table

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CPU_TIMES = Path("/proc/stat")
RESET_PEAK = "5"  # what the kernel takes to forget a process's peak of resident memory
MATRIX_SIDES = {"cpu": (512, 1024, 2048, 4096), "cuda": (4096, 8192, 16384)}
ATTENTION_TOKENS = {"cpu": (512, 2048), "cuda": (4096, 16384)}
PEAK_ROUNDS = 5
LONG_S = 0.5
HEADS, HEAD_DIM = 12, 128  # of every released flow
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Cost:
    """Wall time, and the most memory held beyond what was held before (None where unknown)."""

    seconds: float
    peak_bytes: int | None


class OtherWork:
    """How much of the machine's processor time others take, from its making on (Linux alone)."""

    def __init__(self) -> None:
        self._started = time.monotonic(), self._busy_s(), self._own_s()

    def describe(self) -> str:
        """A sentence, empty where the machine does not tell."""
        started, busy_s, own_s = self._started
        if not CPU_TIMES.exists():
            return ""
        others_s = (self._busy_s() - busy_s) - (self._own_s() - own_s)
        share = others_s / ((time.monotonic() - started) * (os.cpu_count() or 1))
        return f"Other processes took {max(0.0, share):.0%} of the processor time meanwhile."

    @staticmethod
    def _busy_s() -> float:
        """Seconds of all processors outside of idling, waiting and stolen time."""
        if not CPU_TIMES.exists():
            return 0.0
        user, nice, system, *_ = map(int, CPU_TIMES.read_text().split()[1:8])
        return (user + nice + system) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _own_s() -> float:
        own = os.times()
        return own.user + own.system


@dataclass(frozen=True)
class Machine:
    """Where something was measured. name: hardware and library; matmul, attention: FLOP/s by
    dtype, of large square products and of attention with the flows' heads."""

    device: torch.device
    name: str
    matmul: dict[torch.dtype, float]
    attention: dict[torch.dtype, float]


class Budget:
    """Seconds that a whole command may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """What is left, negative when it is overdrawn."""
        return self._end - time.monotonic()


def measure_machine(device: torch.device) -> Machine:
    """Describe the machine and measure its peaks in float32 and bfloat16."""
    types = (torch.float32, torch.bfloat16)
    matmul = {dtype: _matmul_rate(device, dtype) for dtype in types}
    attention = {dtype: _attention_rate(device, dtype) for dtype in types}
    return Machine(device, describe(device), matmul, attention)


def describe(device: torch.device) -> str:
    """The processor or graphics card, and the version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        model = named[0].split(":")[1].strip() if named else model
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The best FLOP/s of square matrix products."""

    def rate(size: int) -> tuple[float, float]:
        a, b = (random_tensor(seed, (size, size), device, dtype) for seed in (0, 1))
        seconds = _min_s(lambda: a @ b, device)
        return 2 * size**3 / seconds, seconds

    return _best_of(rate, MATRIX_SIDES[device.type])


def _attention_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The best FLOP/s of attention with the flows' heads."""

    def rate(tokens: int) -> tuple[float, float]:
        shape = (1, HEADS, tokens, HEAD_DIM)
        q, k, v = (random_tensor(seed, shape, device, dtype) for seed in range(3))
        seconds = _min_s(lambda: F.scaled_dot_product_attention(q, k, v), device)
        return 4 * tokens**2 * HEADS * HEAD_DIM / seconds, seconds

    return _best_of(rate, ATTENTION_TOKENS[device.type])


def _best_of(rate: Callable[[int], tuple[float, float]], sizes: Sequence[int]) -> float:
    """The best rate over growing sizes, given up where one call takes too long: without
    instructions for bfloat16 a processor is a hundred times slower in it."""
    best = 0.0
    for size in sizes:
        reached, seconds = rate(size)
        best = max(best, reached)
        if seconds > LONG_S:
            break
    return best


def _min_s(work: Callable[[], object], device: torch.device) -> float:
    """The least of a few calls after one to warm up, or that one where it takes long."""
    first = _seconds(work, device)
    if first > LONG_S:
        return first
    return min(_seconds(work, device) for _ in range(PEAK_ROUNDS))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    with stopwatch(device) as seconds:
        work()
    return seconds[0]


@contextmanager
def stopwatch(device: torch.device) -> Iterator[list[float]]:
    """Append the wall time of the `with` to the list it gives, all queued work included."""
    passed: list[float] = []
    wait_for(device)
    started = time.perf_counter()
    yield passed
    wait_for(device)
    passed.append(time.perf_counter() - started)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(work: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, Cost]:
    """The result of a call and what it cost; the result's own memory counts."""
    held = start_peak(device)
    with stopwatch(device) as seconds:
        result = work()
    peak = peak_bytes(device)
    beyond = None if held is None or peak is None else max(0, peak - held)
    return result, Cost(seconds[0], beyond)


def start_peak(device: torch.device) -> int | None:
    """Forget the peak so far; the bytes held now, None where the machine does not tell.

    On a CPU: resident memory of the process, which Linux alone lets us follow.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if not CLEAR_REFS.exists():
        return None
    # Freed memory that the allocator keeps would be used again without showing.
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR_REFS.write_text(RESET_PEAK)
    return _status_bytes("VmRSS")


def peak_bytes(device: torch.device) -> int | None:
    """The most bytes held since `start_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status_bytes("VmHWM") if CLEAR_REFS.exists() else None


def _status_bytes(name: str) -> int:
    return 1024 * int(STATUS.read_text().split(f"{name}:")[1].split()[0])


def available_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device; on a CPU as Linux tells it, else 0."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    text = info.read_text() if info.exists() else "MemAvailable: 0"
    return 1024 * int(text.split("MemAvailable:")[1].split()[0])


def random_tensor(
    seed: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Unit normal numbers from a seed of their own."""
    random = torch.Generator(device).manual_seed(seed)
    return torch.randn(*shape, generator=random, device=device, dtype=dtype)


def gigabytes(count: int | None) -> str:
    """Bytes for a table's cell."""
    return UNKNOWN if count is None else f"{count / 1e9:.2f} GB"


def peak_table(machine: Machine) -> str:
    """The machine's peaks."""
    rates = (machine.matmul, machine.attention)
    rows = [
        [str(dtype).removeprefix("torch."), *(f"{rate[dtype] / 1e9:,.1f}" for rate in rates)]
        for dtype in machine.matmul
    ]
    return table(("dtype", "best matrix product, GFLOP/s", "attention, GFLOP/s"), rows)
