"""ModelPool and NetworkPool: the only file that decides where weights are and moves them."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from scene.keys import canonical_json
from stages.backends import find_backend, make_settings

logger = logging.getLogger(__name__)

Keeping = Literal["keep", "one_at_a_time"]


class OutOfDeviceMemory(RuntimeError):
    """There was not enough memory even after everything that can be freed was freed."""


class ModelPool:
    """The models of one process on one device. On "cpu" calls may overlap; elsewhere they queue."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._loaded: dict[str, Any] = {}
        self._loading = threading.Lock()
        self._working = threading.Lock()

    @contextmanager
    def borrow(self, stage: str, backend: str, settings: Mapping[str, Any]) -> Iterator[Any]:
        """Lend the loaded backend; loading happens once per (stage, backend, settings)."""
        model = self._load(stage, backend, settings)
        if self.device == "cpu":
            yield model
        else:
            with self._working:
                yield model

    def _load(self, stage: str, backend: str, settings: Mapping[str, Any]) -> Any:
        name = canonical_json([stage, backend, dict(settings)])
        with self._loading:
            if name not in self._loaded:
                typed = make_settings(stage, backend, settings)
                self._loaded[name] = find_backend(stage, backend).load(typed, self.device)
            return self._loaded[name]


class NetworkPool:
    """The networks of one backend, lent by name; each is read from its file when first wanted.

    load: name and device -> network (a `torch.nn.Module`). "keep" leaves every network on the
    device. "one_at_a_time" has one there at most: the others wait in main memory, and on a "cpu",
    where that would save nothing, they are dropped and read again.
    """

    def __init__(self, load: Callable[[str, str], Any], device: str, keeping: Keeping) -> None:
        self.device = device
        self._load, self._keeping = load, keeping
        self._networks: dict[str, Any] = {}
        self._lock = threading.RLock()

    @contextmanager
    def borrow(self, name: str) -> Iterator[Any]:
        """Lend a network on the device."""
        if self._keeping == "keep":
            with self._lock:
                if name not in self._networks:
                    self._networks[name] = self._load(name, self.device)
            yield self._networks[name]
            return
        with self._lock:
            if self.device == "cpu":
                yield self._load(name, "cpu")
                gc.collect()
            else:
                yield from self._visiting(name)

    def _visiting(self, name: str) -> Iterator[Any]:
        """On the device for the time of the loan; its tensors in main memory stay as they were."""
        if name not in self._networks:
            self._networks[name] = self._load(name, "cpu")
        network = self._networks[name]
        resting = network.state_dict()
        try:
            yield network.to(self.device)
        finally:
            network.load_state_dict(resting, strict=True, assign=True)
            free_device_memory(self.device)

    def release(self) -> None:
        """Let go of every network."""
        with self._lock:
            self._networks.clear()
        free_device_memory(self.device)


def free_device_memory(device: str) -> None:
    """Collect what is no longer used and hand the allocator's cache back to the device."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def retrying_after_freeing(work: Callable[[], Any], release: Callable[[], None], what: str) -> Any:
    """Do work; when memory runs out, release what is held and try once more.

    Raises OutOfDeviceMemory naming `what` when that was not enough.
    """
    import torch

    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError) as error:
        logger.warning("out of memory at %s: freeing and trying again (%s)", what, error)
    # Outside the handler: the exception's traceback would keep the failed call's tensors alive.
    release()
    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError):
        raise OutOfDeviceMemory(
            f"out of memory at {what}, also after freeing what could be: lower generate.resolution,"
            " or set generate.memory=one_at_a_time"
        ) from None
