"""How many cores this process may use, and pure work done side by side on them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from scene.errors import BadInput

T = TypeVar("T")
R = TypeVar("R")
VARIABLE = "PHOTOSCENE_THREADS"
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # version 2: "QUOTA PERIOD" in microseconds, or "max"


def usable_cores() -> int:
    """At least 1, and at most what PHOTOSCENE_THREADS, the processes' affinity and the quota of
    their control group allow. BadInput where the variable is no number above 0."""
    given = os.environ.get(VARIABLE, "").strip()
    if given and not (given.isascii() and given.isdecimal() and int(given) > 0):
        raise BadInput(f"{VARIABLE}={given}: expected a number of cores, 1 or more")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _quota(), int(given) if given else cores))


def side_by_side(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results for all items in their order, computed by a thread per usable core.

    It brings something where the work is done by libraries that let other threads run meanwhile
    (OpenCV, ONNX Runtime, NumPy's large operations). The first failure is raised.
    """
    work = list(items)
    threads = min(usable_cores(), len(work))
    if threads < 2:
        return [function(item) for item in work]
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(function, work))


def _quota() -> int:
    """Whole cores of the control group's quota, rounded up."""
    try:
        words = CGROUP_QUOTA.read_text("ascii").split()
    except OSError:  # another version, or another system
        words = []
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        return math.ceil(int(words[0]) / int(words[1]))
    return os.cpu_count() or 1
