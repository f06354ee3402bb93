"""Cooperative scheduling: threads that work one at a time, so that each network is loaded once.

Each thread is a member of a `Lockstep`. It works until it reaches a barrier, where it names what it
needs next: a network. Once all members wait at a barrier or have left, a phase begins. It loads
what the member needs that has been in the fewest phases; then every member that needs the same goes
on, one after another, each to its next barrier. The end of a phase unloads what it has loaded. Thus
many objects that go through the same networks load each of them once, not once for each object.

The order depends on the members' numbers and needs alone, never on when a thread gets there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

START = "start"  # what a member needs that only waits for the others


class Lockstep:
    """Members by number, all of which count from the beginning: nothing is loaded before each of
    them has reached its first barrier, or has left."""

    def __init__(self, members: int) -> None:
        lock = threading.Lock()
        self._lock = lock
        self._resumed = [threading.Condition(lock) for _ in range(members)]
        self._present = set(range(members))
        self._needs: dict[int, Hashable] = {}  # of those at a barrier
        self._active: int | None = None  # who works
        self._phase: Hashable = None  # what those need that go on in it
        self._entered: set[int] = set()  # who was in this phase
        self._phases = [0] * members  # how many each has been in
        self._loaded: dict[Hashable, Any] = {}
        self._unload, self._unload_at_end = ExitStack(), ExitStack()

    def __enter__(self) -> Lockstep:
        return self

    def __exit__(self, *error: object) -> None:
        """Unload everything; all members have left."""
        self._loaded.clear()
        with self._unload_at_end, self._unload:
            pass

    @contextmanager
    def member(
        self,
        number: int,
        paused: Callable[[], None] = lambda: None,
        resumed: Callable[[], None] = lambda: None,
    ) -> Iterator[Member]:
        """Make this thread a member; it leaves at the end, if it has not before.

        paused, resumed: called when it comes to a barrier, and when it goes on.
        """
        member = Member(self, number, paused, resumed)
        reset = _current.set(member)
        try:
            yield member
        finally:
            _current.reset(reset)
            self._leave(number)

    def _wait(self, number: int, need: Hashable) -> None:
        with self._lock:
            self._present.add(number)
            self._needs[number] = need
            self._active = None if self._active == number else self._active
            self._resume_next()
            self._resumed[number].wait_for(lambda: self._active == number)

    def _leave(self, number: int) -> None:
        with self._lock:
            if number in self._present:
                self._present.remove(number)
                self._needs.pop(number, None)
                self._active = None if self._active == number else self._active
                self._resume_next()

    def _resume_next(self) -> None:
        """Let the next member work, if none does and none is still on its way to a barrier."""
        if not self._needs or len(self._needs) < len(self._present):
            return
        able = [n for n in self._needs if self._needs[n] == self._phase and n not in self._entered]
        try:
            if not able:
                able = [min(self._needs, key=lambda n: (self._phases[n], n))]
                self._phase = self._needs[able[0]]
                self._entered.clear()
                self._unload.close()
        finally:  # an error while unloading is this thread's; the others go on
            number = min(able)
            del self._needs[number]
            self._entered.add(number)
            self._phases[number] += 1
            self._active = number
            self._resumed[number].notify()

    def _load(
        self, name: Hashable, load: Callable[[], AbstractContextManager[Any]], until_end: bool
    ) -> Any:
        if name not in self._loaded:
            unload = self._unload_at_end if until_end else self._unload
            self._loaded[name] = unload.enter_context(load())
            if not until_end:
                unload.callback(self._loaded.pop, name, None)  # before the manager's own end
        return self._loaded[name]


@dataclass(eq=False)
class Member:
    """One thread of a lockstep. last: what it was given last; paused_s: how long it has waited."""

    _lockstep: Lockstep
    _number: int
    _paused: Callable[[], None]
    _resumed: Callable[[], None]
    last: Hashable = None
    paused_s: float = 0.0

    def __enter__(self) -> None:
        """Begin to work, when all members have come."""
        self.barrier(START)

    def __exit__(self, *error: object) -> None:
        """Leave: the others do not wait for this thread any more."""
        self._lockstep._leave(self._number)

    def barrier(self, need: Hashable) -> None:
        """Let the others work, until a phase comes that loads what this one needs."""
        self._paused()
        began = time.monotonic()
        self._lockstep._wait(self._number, need)
        self.paused_s += time.monotonic() - began
        self._resumed()

    def load(
        self,
        name: Hashable,
        load: Callable[[], AbstractContextManager[Any]],
        until_end: bool = False,
    ) -> Any:
        """What load's context manager gives, entered by the first that needs it in this phase and
        left when the phase ends; until_end: when the lockstep does."""
        self.last = name
        return self._lockstep._load(name, load, until_end)


_current: ContextVar[Member | None] = ContextVar("member", default=None)


def current_member() -> Member | None:
    """What this thread is a member by, if it is one."""
    return _current.get()


def working_clock() -> float:
    """Seconds on a clock that stands still while this thread waits at a barrier."""
    member = current_member()
    return time.monotonic() - (0.0 if member is None else member.paused_s)
