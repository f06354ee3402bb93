"""ModelPool and NetworkPool: the only file that decides where weights are and moves them."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

from scene.errors import CannotRun
from scene.keys import canonical_json
from stages.backends import find_backend, make_settings

logger = logging.getLogger(__name__)

Keeping = Literal["keep", "one_at_a_time"]
Offload = Literal["none", "model", "sequential"]
Loaded = TypeVar("Loaded")


class OutOfDeviceMemory(CannotRun):
    """There was not enough memory even after everything that can be freed was freed."""


class ModelPool:
    """The models of one process on one device. On "cpu" calls may overlap; elsewhere they queue.

    Backends whose settings say `memory: one_at_a_time` queue everywhere, and whoever is lent makes
    the others of them let go of their weights first: they are never in memory together.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._loaded: dict[str, Any] = {}
        self._alone: set[str] = set()
        self._loading = threading.Lock()
        self._working = threading.Lock()

    @contextmanager
    def borrow(self, stage: str, backend: str, settings: Mapping[str, Any]) -> Iterator[Any]:
        """Lend the loaded backend; loading happens once per (stage, backend, settings)."""
        name = canonical_json([stage, backend, dict(settings)])
        model = self._load(name, stage, backend, settings)
        if self.device == "cpu" and name not in self._alone:
            yield model
        else:
            with self._working:
                if name in self._alone:
                    self._release_others(name)
                yield model

    def release(self) -> None:
        """Let go of the weights of every model that can; they are read again when wanted."""
        with self._loading:
            loaded = list(self._loaded.values())
        for model in loaded:
            if hasattr(model, "release"):
                model.release()

    def _load(self, name: str, stage: str, backend: str, settings: Mapping[str, Any]) -> Any:
        with self._loading:
            if name not in self._loaded:
                typed = make_settings(stage, backend, settings)
                self._loaded[name] = find_backend(stage, backend).load(typed, self.device)
                if getattr(typed, "memory", "keep") == "one_at_a_time":
                    self._alone.add(name)
            return self._loaded[name]

    def _release_others(self, name: str) -> None:
        with self._loading:
            others = [self._loaded[other] for other in self._alone if other != name]
        for other in others:
            other.release()


class LoadedWhenWanted(Generic[Loaded]):
    """Something large that is read when it is first wanted, and again after it was released."""

    def __init__(self, name: str, load: Callable[[], Loaded], device: str) -> None:
        self._name, self._load, self._device = name, load, device
        self._value: Loaded | None = None
        self._lock = threading.Lock()

    def get(self) -> Loaded:
        """The loaded value. Callers keep no reference after their call, so that it can go."""
        with self._lock:
            if self._value is None:
                self._value = timed_read(self._name, self._load)
            return self._value

    def release(self) -> None:
        """Let go of it, and hand its memory back to the device."""
        with self._lock:
            self._value = None
        free_device_memory(self._device)


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
                    self._networks[name] = self._read(name, self.device)
            yield self._networks[name]
            return
        with self._lock:
            if self.device == "cpu":
                yield self._read(name, "cpu")
                gc.collect()
            else:
                yield from self._visiting(name)

    def _visiting(self, name: str) -> Iterator[Any]:
        """On the device for the time of the loan; its tensors in main memory stay as they were."""
        if name not in self._networks:
            self._networks[name] = self._read(name, "cpu")
        network = self._networks[name]
        resting = network.state_dict()
        try:
            yield network.to(self.device)
        finally:
            network.load_state_dict(resting, strict=True, assign=True)
            free_device_memory(self.device)

    def _read(self, name: str, device: str) -> Any:
        return timed_read(name.replace("_", " "), lambda: self._load(name, device))

    def release(self) -> None:
        """Let go of every network."""
        with self._lock:
            self._networks.clear()
        free_device_memory(self.device)


def timed_read(name: str, load: Callable[[], Loaded]) -> Loaded:
    """What load returns, and a line in the log that says how long it took."""
    started = time.monotonic()
    loaded = load()
    logger.info("%s read in %.1f s", name, time.monotonic() - started)
    return loaded


def put_on(network: Any, device: str) -> Any:
    """A network (a `torch.nn.Module`) with its weights on the device."""
    return network.to(device)


def place_pipeline(pipeline: Any, device: str, offload: Offload) -> Any:
    """A diffusers pipeline ready to run on the device.

    "model" has one of its networks there at a time, "sequential" one layer; the rest waits in main
    memory. On a "cpu" there is nothing to offload.
    """
    if device == "cpu" or offload == "none":
        return pipeline.to(device)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    return pipeline


def free_device_memory(device: str) -> None:
    """Collect what is no longer used and hand the allocator's cache back to the device."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def retrying_after_freeing(
    work: Callable[[], Any], release: Callable[[], None], what: str, remedy: str
) -> Any:
    """Do work; when memory runs out, release what is held and try once more.

    Raises OutOfDeviceMemory naming `what`, and the remedy in words, when that was not enough.
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
            f"out of memory at {what}, also after freeing what could be: {remedy}"
        ) from None
