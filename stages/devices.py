"""ModelPool and NetworkPool: the only file that decides where weights are and moves them."""

from __future__ import annotations

import gc
import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scene.errors import CannotRun
from scene.keys import canonical_json
from stages.backends import Backend, Keeping, ModelT, Offload, Stage, find_backend
from stages.device_memory import default_budget_bytes, is_out_of_memory, measured, network_bytes
from stages.loans import current_loan
from stages.lockstep import Lockstep, current_member
from stages.model_entry import ModelEntry

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import nn

MAX_IDLE_MODELS = 16  # loaded backends that wait; more are forgotten, whatever they hold
logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")
NetworkT = TypeVar("NetworkT", bound="nn.Module")


class OutOfDeviceMemory(CannotRun):
    """There was not enough memory even after everything that can be freed was freed."""


class ModelPool:
    """The models of one process on one device. On "cpu" calls may overlap; elsewhere they queue.

    A model is found by the settings that its loading depends on (`Backend.loading`): calls that
    differ in others share it. When the models hold more than budget_bytes (by default 80 % of
    the device's memory), what is idle lets go of its weights, least recently used first; what is
    lent never does.

    Calls whose settings say `memory: one_at_a_time` queue everywhere, and the models of the others
    of them let go first: they are never in memory together. So does a model that ran out of
    memory, before another one is lent.
    """

    def __init__(self, device: str = "cpu", budget_bytes: int | None = None) -> None:
        self.device = device
        self._budget_bytes = budget_bytes
        self._entries: dict[str, ModelEntry[Any]] = {}  # the most recently used is the last
        self._lock = threading.RLock()
        self._working = threading.Lock()

    @contextmanager
    def borrow(
        self, stage: Stage[Backend[Any, ModelT]], name: str, settings: DataclassInstance
    ) -> Iterator[ModelT]:
        """Lend a stage's backend with these settings, which are of its own type; its weights are
        shared as far as `Backend.loading` allows."""
        backend = find_backend(stage, name)
        if not isinstance(settings, backend.settings):
            raise TypeError(f"{stage.name} backend {name} has other settings than {settings}")
        exclusive = backend.memory(settings) == "one_at_a_time"
        queue = self._working if exclusive or self.device != "cpu" else nullcontext()
        with ExitStack() as loan:
            loan.enter_context(current_member() or queue)
            entry = self._lend(f"{stage.name} {name}", backend, settings, exclusive)
            loan.callback(self._take_back, entry)
            on_cpu = self.device == "cpu"
            reset = _lender.set(self), current_loan.set(None if on_cpu else loan)
            try:
                yield entry.model_with(settings)
            except BaseException as error:
                entry.ran_out = isinstance(error, OutOfDeviceMemory) or is_out_of_memory(error)
                _clear_frames(error)
                raise
            finally:
                _lender.reset(reset[0])
                current_loan.reset(reset[1])

    def lockstep_key(
        self, stage: Stage[Backend[Any, ModelT]], name: str, settings: DataclassInstance
    ) -> str | None:
        """Equal for calls that may be members of one `lockstep`; None for those that gain nothing,
        since their models have all networks in memory."""
        backend = find_backend(stage, name)
        if not backend.lockstep or backend.memory(settings) != "one_at_a_time":
            return None
        return _entry_name(f"{stage.name} {name}", backend.loading_values(settings))

    @contextmanager
    def lockstep(self, members: int) -> Iterator[Lockstep]:
        """For calls of one model that are carried out by a thread each; others queue meanwhile."""
        with self._working, Lockstep(members) as lockstep:
            yield lockstep

    @property
    def held_bytes(self) -> int:
        """What all models hold on the device now, as measured when they were read."""
        return sum(entry.held_bytes for entry in list(self._entries.values()))

    @cached_property
    def budget_bytes(self) -> int:
        """What they may hold."""
        given = self._budget_bytes
        return default_budget_bytes(self.device) if given is None else given

    def make_room(self) -> None:
        """Release idle models until what is held, and what the lent ones will read, is in budget.

        A model that was never read is taken to be as large as the largest so far.
        """
        with self._lock:
            self._make_room()

    def release(self) -> None:
        """Let go of all weights that are not lent; they are read again when they are wanted."""
        with self._lock:
            for name in self._idle():
                self._release(name)

    def _lend(
        self,
        title: str,
        backend: Backend[Any, ModelT],
        settings: DataclassInstance,
        exclusive: bool,
    ) -> ModelEntry[ModelT]:
        with self._lock:
            loading = backend.loading_values(settings)
            name = _entry_name(title, loading)
            entry = self._entries.pop(name, None) or self._load(backend, loading)
            for other in self._idle():
                if self._entries[other].ran_out or (exclusive and self._entries[other].exclusive):
                    self._release(other)
            self._entries[name] = entry
            entry.lent, entry.exclusive, entry.ran_out = entry.lent + 1, exclusive, False
            self._make_room()
            return entry

    def _load(self, backend: Backend[Any, ModelT], loading: dict[str, Any]) -> ModelEntry[ModelT]:
        """Loaded with the settings of `Backend.loading` alone, so that it can use no others."""
        model = backend.load(backend.settings(**loading), self.device)
        held = None if backend.held is None else backend.held(model)
        known_bytes = network_bytes(model) if held is None else None
        return ModelEntry(model, backend.loading is not None, held, known_bytes)

    def _take_back(self, entry: ModelEntry[Any]) -> None:
        with self._lock:
            entry.lent -= 1
            entry.known_bytes = entry.held_bytes or entry.known_bytes
            self._make_room()

    def _make_room(self) -> None:
        for name in self._idle()[:-MAX_IDLE_MODELS]:
            self._release(name)
            self._entries.pop(name, None)
        for name in self._idle():
            entries = self._entries.values()
            largest = max(e.known_bytes or 0 for e in entries)
            if sum(e.expected_bytes(largest) for e in entries) <= self.budget_bytes:
                return
            if self._entries[name].held_bytes:
                self._release(name)

    def _idle(self) -> list[str]:
        return [name for name, entry in self._entries.items() if not entry.lent]

    def _release(self, name: str) -> None:
        """Let go of a model's weights, or of all of it where it cannot do without them."""
        held = self._entries[name].held
        if held is None:
            del self._entries[name]
        else:
            held.release()


def _entry_name(title: str, loading: Mapping[str, Any]) -> str:
    return canonical_json([title, loading])


# The pool that lent what this thread works with: only it knows what else can be freed.
_lender: ContextVar[ModelPool | None] = ContextVar("lender", default=None)


def _make_room() -> None:
    """Keep the pool that this thread's model comes from within its budget, now that it was read."""
    pool = _lender.get()
    if pool is not None:
        pool.make_room()


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of the failed call: an error may be kept for as long as a run, and
    would keep the networks that it passed through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


class LazyModel(Generic[Loaded]):
    """Something large that is read when it is first wanted, and again after it was released."""

    def __init__(self, name: str, load: Callable[[], Loaded], device: str) -> None:
        self._name, self._load, self._device = name, load, device
        self._value: Loaded | None = None
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get(self) -> Loaded:
        """The loaded value. Callers keep no reference after their call, so that it can go."""
        with self._lock:
            if self._value is None:
                read = partial(timed_read, self._name, self._load)
                self._value, self.held_bytes = measured(read, self._device)
            value = self._value
        _make_room()
        return value

    def release(self) -> None:
        """Let go of it, and hand its memory back to the device."""
        with self._lock:
            self._value, self.held_bytes = None, 0
        free_device_memory(self._device)


class NetworkPool:
    """The networks of one backend, lent by name; each is read from its file when first wanted.

    load: name and device -> network. Lent with "keep" a network stays on the
    device. With "one_at_a_time" only the lent one is there: the others wait in main memory, and on
    a "cpu", where that would save nothing, they are dropped and read again.

    In a lockstep a loan begins with a barrier, except between joined networks: pairs of which the
    second is borrowed after the first at once, since what a call keeps between them is large. A
    phase has all its networks on the device; revisited ones, which several phases need, then stay
    in main memory until the lockstep ends.
    """

    def __init__(
        self,
        load: Callable[[str, str], nn.Module],
        device: str,
        joined: Collection[tuple[str, str]] = (),
        revisited: Collection[str] = (),
    ) -> None:
        self.device = device
        self._load, self._joined, self._revisited = load, joined, revisited
        self._kept: dict[str, tuple[nn.Module, int]] = {}  # on the device, with their bytes
        self._waiting: dict[str, nn.Module] = {}  # in main memory
        self._lock = threading.RLock()

    @contextmanager
    def borrow(self, name: str, keeping: Keeping = "keep") -> Iterator[Any]:
        """Lend a network on the device."""
        member = current_member()
        if keeping == "keep":
            yield self._keep(name)
        elif member is not None:
            before = [(self, first) for first, second in self._joined if second == name]
            if member.last not in before:
                member.barrier((self, name))
            until_end = self.device == "cpu" and name in self._revisited
            yield member.load((self, name), partial(self._visiting, name), until_end)
        else:
            with self._lock, self._visiting(name) as network:
                yield network

    @property
    def held_bytes(self) -> int:
        """What the networks that are kept hold on the device."""
        return sum(size for _, size in list(self._kept.values()))

    def _keep(self, name: str) -> nn.Module:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = measured(partial(self._bring, name), self.device)
            network, _ = self._kept[name]
        _make_room()
        return network

    def _bring(self, name: str) -> nn.Module:
        """A network on the device, from main memory where it waits there."""
        waiting = self._waiting.pop(name, None)
        return self._read(name, self.device) if waiting is None else waiting.to(self.device)

    def _send_away(self) -> None:
        """What was kept makes room, now that there is to be one network at a time."""
        if self._kept and self.device != "cpu":
            self._waiting |= {name: network.to("cpu") for name, (network, _) in self._kept.items()}
        self._kept.clear()

    @contextmanager
    def _visiting(self, name: str) -> Iterator[nn.Module]:
        """On the device for the time of a loan; its tensors in main memory stay as they were."""
        self._send_away()
        if self.device == "cpu":
            yield self._read(name, "cpu")
            gc.collect()
            return
        if name not in self._waiting:
            self._waiting[name] = self._read(name, "cpu")
        network = self._waiting[name]
        resting = network.state_dict()
        try:
            yield network.to(self.device)
        finally:
            network.load_state_dict(resting, strict=True, assign=True)
            free_device_memory(self.device)

    def _read(self, name: str, device: str) -> nn.Module:
        return timed_read(name.replace("_", " "), lambda: self._load(name, device))

    def release(self) -> None:
        """Let go of every network."""
        with self._lock:
            self._kept.clear()
            self._waiting.clear()
        free_device_memory(self.device)


def timed_read(name: str, load: Callable[[], Loaded]) -> Loaded:
    """What load returns, and a line in the log that says how long it took."""
    started = time.monotonic()
    loaded = load()
    seconds = time.monotonic() - started
    logger.info("%s read in %.1f s", name, seconds, extra={"read": name, "seconds": seconds})
    return loaded


def put_on(network: NetworkT, device: str) -> NetworkT:
    """A network with its weights on the device."""
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
    work: Callable[[], Loaded], release: Callable[[], None], what: str, remedy: str
) -> Loaded:
    """Do work; when memory runs out, release what is held and try once more.

    release: lets go of the caller's own weights; every idle model of the pool that lent the caller
    goes with them. Raises OutOfDeviceMemory naming `what`, and the remedy in words, when that was
    not enough. A member of a lockstep only fails: its call is made again when the others have left.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or current_member() is not None:
            raise
        logger.warning("out of memory at %s: freeing and trying again (%s)", what, _line(error))
    # Outside the handlers: the exception's traceback would keep the failed call's tensors alive.
    pool = _lender.get()
    if pool is not None:
        pool.release()
    release()
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise OutOfDeviceMemory(f"out of memory at {what}, also after freeing what could be: {remedy}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
