"""Who computes what just now, in a store without locks: claims that their holder has to renew.

A key's first claim is the object KEY.1, which only one can create. One that was not renewed for a
minute, by the store's own clock, has lapsed: its holder is gone, or cut off. Whoever then creates
KEY.2 holds the key. Claims save work and no more: two that compute the same publish one result.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from scene.blobs import Blobs, Entry
from scene.errors import CannotRun

FOLDER = "claims"
LAPSE_S, RENEWAL_S = 60.0, 15.0
FIRST_PAUSE_S, MAX_PAUSE_S = 0.2, 5.0  # between two looks at a claim that somebody holds
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Held:
    """A claim of this process; `renewed_s` by its monotonic clock."""

    name: str
    owner: bytes
    renewed_s: float = field(default_factory=time.monotonic)
    released: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class ExpiringClaims:
    """The claims on the keys of one store, and the thread that renews those of this process."""

    def __init__(
        self,
        blobs: Blobs,
        lapse_s: float = LAPSE_S,
        renewal_s: float = RENEWAL_S,
        folder: str = FOLDER,
    ) -> None:
        self._blobs, self._folder = blobs, folder
        self._lapse_s, self._renewal_s = lapse_s, renewal_s
        self._held: dict[str, _Held] = {}  # by key; the threads of a process exclude each other
        self._mutex = threading.Lock()
        self._renewing: threading.Thread | None = None

    @contextlib.contextmanager
    def claim(self, key: str, wait: bool = True) -> Iterator[bool]:
        """Hold a key while inside; without wait False where somebody holds it."""
        pause_s = FIRST_PAUSE_S
        while (held := self._take(key)) is None and wait:
            time.sleep(pause_s)
            if pause_s < MAX_PAUSE_S <= 2 * pause_s:
                logger.info("waiting for another process, which computes the same just now")
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        try:
            yield held is not None
        finally:
            if held is not None:
                self._let_go(key, held)

    def wait_until_free(self, key: str) -> None:
        """Return when nobody holds a key."""
        while self._is_held(key):
            time.sleep(FIRST_PAUSE_S)

    def _is_held(self, key: str) -> bool:
        for generation in itertools.count(1):
            entry = self._blobs.entry(self._name(key, generation))
            if entry is None:
                return False
            if self._is_live(entry):
                return True
        raise AssertionError("numbers have no end")

    def _name(self, key: str, generation: int) -> str:
        return f"{self._folder}/{key}.{generation}"

    def _is_live(self, entry: Entry) -> bool:
        return self._blobs.now_s() - entry.written_s < self._lapse_s

    def _take(self, key: str) -> _Held | None:
        with self._mutex:
            if key in self._held:
                return None
            found = self._create(key)
            if found is not None:
                self._held[key] = found
                if self._renewing is None:
                    self._renewing = threading.Thread(target=self._renew, daemon=True)
                    self._renewing.start()
            return found

    def _create(self, key: str) -> _Held | None:
        """Create the first generation that is free, unless one is held."""
        owner = uuid.uuid4().hex.encode()
        for generation in itertools.count(1):
            name = self._name(key, generation)
            while not self._blobs.create(name, owner):
                with contextlib.suppress(FileNotFoundError):  # released since
                    if self._blobs.read(name) == owner:  # the answer to our request was lost
                        return _Held(name, owner)
                entry = self._blobs.entry(name)
                if entry is not None and self._is_live(entry):
                    return None
                if entry is not None:
                    break
            else:
                return _Held(name, owner)
        raise AssertionError("numbers have no end")

    def _let_go(self, key: str, held: _Held) -> None:
        """Remove the claim; one that has lapsed stays, since another may have been built on it."""
        with self._mutex, held.lock:
            held.released = True
            self._held.pop(key, None)
            if time.monotonic() - held.renewed_s < self._lapse_s:
                with contextlib.suppress(CannotRun):  # the work is done; the claim will lapse
                    self._blobs.remove(held.name)

    def _renew(self) -> None:
        """Renew what is held, as long as anything is."""
        while True:
            time.sleep(self._renewal_s)
            with self._mutex:
                current = list(self._held.values())
                if not current:
                    self._renewing = None
                    return
            for held in current:
                self._renew_one(held)

    def _renew_one(self, held: _Held) -> None:
        with held.lock:
            if held.released:
                return
            try:
                self._blobs.write(held.name, held.owner)
            except CannotRun as error:  # tried again at the next renewal
                logger.warning("a claim could not be renewed: %s", error)
            else:
                held.renewed_s = time.monotonic()


def live_claims(blobs: Blobs, lapse_s: float = LAPSE_S) -> int:
    """How many keys are held just now, by anybody."""
    now_s = blobs.now_s()
    return sum(now_s - entry.written_s < lapse_s for entry in blobs.listed(FOLDER))
