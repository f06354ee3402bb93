"""A store's bytes in an object store: S3 and what speaks its protocol, Google's and Azure's.

Two machines that write one name must not both believe that they were first. So a server is asked,
before the first write, whether it refuses to create what is there.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from scene.blobs import Entry
from scene.errors import BadInput, CannotRun

T = TypeVar("T")
SCHEMES = ("s3", "gs", "az")
PROBES = "probes"
CONNECT_TIMEOUT, TIMEOUT = timedelta(seconds=10), timedelta(minutes=5)
TRIES, RETRY_TIMEOUT = 6, timedelta(minutes=1)  # of a request that the server's side fails
# Pauses after a refusal that obstore does not retry itself: two writers of one name at once (409).
CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
CONFLICT_SIGNS = ("409", "Conflict", "503", "SlowDown")
LISTED_AT_ONCE = 1000  # what a server returns for one request
MAX_REASON_LENGTH = 300
logger = logging.getLogger(__name__)


class StoreFailed(CannotRun):
    """The object store does not answer, or does not do what a shared store needs."""


@dataclass(frozen=True)
class ObjectBlobs:
    """A bucket, or what is below a prefix in it; see `scene/blobs.py` for what is asked of it.

    server: obstore's object for it.
    """

    address: str
    server: Any
    _state: _State = field(default_factory=lambda: _State(), compare=False)

    def location(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.address.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """See `Blobs`."""
        return self.open(name)[0]

    def open(self, name: str) -> tuple[bytes, Entry]:
        """See `Blobs`."""
        obstore = library()

        def request() -> tuple[bytes, Entry]:
            found = obstore.get(self.server, name)
            return found.bytes().to_bytes(), _entry(found.meta)

        return self._ask(request)

    def read_range(self, entry: Entry, start: int) -> bytes:
        """See `Blobs`."""
        obstore, end = library(), entry.size

        def request() -> bytes:
            found = obstore.get_range(self.server, entry.name, start=start, end=end)
            return found.to_bytes()

        return self._ask(request)

    def renew(self, entry: Entry, data: bytes) -> bool:
        """See `Blobs`."""
        exceptions = library().exceptions
        try:
            self._put(entry.name, data, {"e_tag": entry.tag})
        except (exceptions.PreconditionError, StoreFailed) as error:
            if isinstance(error, StoreFailed) and self.entry(entry.name) is not None:
                raise
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """See `Blobs`."""
        self.check()
        self._put(name, data, "overwrite")

    def create(self, name: str, data: bytes) -> bool:
        """See `Blobs`. Where the server's answer is lost, what this call wrote counts as taken."""
        self.check()
        return self._create(name, data)

    def entry(self, name: str) -> Entry | None:
        """See `Blobs`."""
        obstore = library()
        try:
            return _entry(self._ask(lambda: obstore.head(self.server, name)))
        except FileNotFoundError:
            return None

    def listed(self, below: str) -> Iterator[Entry]:
        """See `Blobs`; one page of the server's answer is in memory at a time."""
        pages = iter(library().list(self.server, below, chunk_size=LISTED_AT_ONCE))
        while (page := self._ask(lambda: next(pages, None))) is not None:
            yield from map(_entry, page)

    def remove(self, name: str) -> None:
        """See `Blobs`."""
        obstore = library()
        try:
            self._ask(lambda: obstore.delete(self.server, name))
        except FileNotFoundError:
            pass  # Google and Azure report it

    def now_s(self) -> float:
        """See `Blobs`: as the server's clock went when the first write was made, and this machine's
        since."""
        self.check()
        return time.monotonic() + self._state.server_ahead_s

    def age_s(self, entry: Entry) -> float:
        """See `Blobs`; while the server's clock is unknown this machine's own has to do."""
        return (self.now_s() if self._state.checked else time.time()) - entry.written_s

    def check(self) -> None:
        """See `Blobs`. Once: whether the server refuses a second create, and how its clock goes."""
        with self._state.lock:
            if self._state.checked:
                return
            name, owner = f"{PROBES}/{uuid.uuid4().hex}", uuid.uuid4().hex.encode()
            if not self._create(name, owner) and self.read(name) != owner:
                raise StoreFailed(f"store {self.address}: a new name is taken; check the server")
            if self._create(name, b"second"):
                raise StoreFailed(
                    f"store {self.address}: the server ignores conditional writes, so machines "
                    "could overwrite each other's results; use one that knows If-None-Match"
                )
            entry = self.entry(name)
            written_s = time.time() if entry is None else entry.written_s
            self._state.server_ahead_s = written_s - time.monotonic()
            self.remove(name)
            self._state.checked = True

    def _create(self, name: str, data: bytes) -> bool:
        for pause_s in (*CONFLICT_PAUSES_S, None):
            try:
                self._put(name, data, "create")
                return True
            except library().exceptions.AlreadyExistsError as error:
                # S3's 409 only says that another request was at the name just now.
                if "409" not in str(error) or self.entry(name) is not None:
                    return False
                if pause_s is None:
                    raise StoreFailed(self._failure(error)) from error
            self._pause(pause_s)
        raise AssertionError("the last try returns")

    def _put(self, name: str, data: bytes, mode: str | dict[str, str]) -> None:
        obstore = library()
        try:
            self._ask(lambda: obstore.put(self.server, name, data, mode=mode, use_multipart=False))
        except FileNotFoundError as error:  # no such bucket
            raise StoreFailed(self._failure(error)) from error

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer to a request; what obstore does not retry, but may pass, is tried again."""
        exceptions = library().exceptions
        for pause_s in (*CONFLICT_PAUSES_S, None):
            try:
                return request()
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                raise
            except exceptions.BaseError as error:
                passing = any(sign in str(error) for sign in CONFLICT_SIGNS)
                if pause_s is None or not passing:
                    raise StoreFailed(self._failure(error)) from error
            self._pause(pause_s)
        raise AssertionError("the last try returns")

    def _pause(self, pause_s: float) -> None:
        time.sleep(pause_s * self._state.spread.uniform(0.5, 1.5))

    def _failure(self, error: Exception) -> str:
        why = _one_line(error)
        return f"store {self.address}: {why}; check the address, the network and the credentials"


@dataclass
class _State:
    """What is known of a server since it was checked: how far its clock is ahead of the monotonic
    one of this machine."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    checked: bool = False
    server_ahead_s: float = 0.0
    spread: random.Random = field(default_factory=random.Random)  # so that writers part


def open_blobs(url: str) -> ObjectBlobs:
    """The object store at a URL; nothing is asked of it yet. Its settings and credentials are read
    from the environment, under the names that its own tools use."""
    obstore = library()
    try:
        server = obstore.store.from_url(
            url,
            client_options={
                "allow_http": True,  # only where an endpoint of the user's own is http://
                "connect_timeout": CONNECT_TIMEOUT,
                "timeout": TIMEOUT,
            },
            retry_config={"max_retries": TRIES, "retry_timeout": RETRY_TIMEOUT},
        )
    except obstore.exceptions.BaseError as error:
        raise BadInput(f"store {url}: {_one_line(error)}") from None
    return ObjectBlobs(url, server)


@cache
def library() -> ModuleType:
    """obstore, which only stores of this kind need."""
    try:
        import obstore  # pyright: ignore[reportMissingImports]
        import obstore.exceptions  # pyright: ignore[reportMissingImports]
        import obstore.store  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CannotRun(
            "a store at a URL needs the library obstore: pip install 'photoscene[cluster]'"
        ) from None
    return obstore


def _one_line(error: Exception) -> str:
    """What obstore says, less the server's whole answer and its own record of it."""
    return " ".join(re.split("Debug source:|: <", str(error))[0].split())[:MAX_REASON_LENGTH]


def _entry(meta: Any) -> Entry:
    written_s, tag = meta["last_modified"].timestamp(), meta["e_tag"] or ""
    return Entry(meta["path"], meta["size"], written_s, tag)
