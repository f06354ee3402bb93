"""Who computes what just now: a lock per key, held by a process and gone with it.

All locks are bytes of one file that is never written: byte-range locks (POSIX `fcntl`) work between
processes and, on a shared file system with locks, between machines. They save work and no more:
without them two processes compute the same thing, and publish the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 1.0  # between two looks at a lock that somebody holds
OFFSET_DIGITS = 15  # hexadecimal digits of a key that name a byte: offsets have 63 bits
logger = logging.getLogger(__name__)


class Claims:
    """The locks of one file. A process has one such object per file: closing a file lets go of all
    locks that the process has on it, whichever object set them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._held: set[int] = set()  # by this process: its threads share its locks
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def claim(self, key: str, wait: bool = True) -> Iterator[bool]:
        """Hold a key's lock while inside; without wait False where somebody holds it.

        True, too, where the file system has no locks or takes no file.
        """
        offset, pause_s = int(key[:OFFSET_DIGITS], 16), FIRST_PAUSE_S
        while not (taken := self._take(offset)) and wait:
            time.sleep(pause_s)
            if pause_s < MAX_PAUSE_S <= 2 * pause_s:
                logger.info("waiting for another process, which computes the same just now")
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        try:
            yield taken
        finally:
            if taken:
                self._let_go(offset)

    def any_held(self) -> bool:
        """Whether anybody holds any key."""
        with self._mutex:
            descriptor = self._open() if self._path.exists() else None
            if self._held or descriptor is None:
                return bool(self._held)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return True
            except OSError:
                return False  # this file system has no locks
            finally:
                self._close_if_idle()
            return False

    def _take(self, offset: int) -> bool:
        with self._mutex:
            if offset in self._held:
                return False
            descriptor = self._open()
            if descriptor is not None:
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
                except (BlockingIOError, PermissionError):  # POSIX allows either for a held lock
                    self._close_if_idle()
                    return False
                except OSError:
                    pass  # this file system has no locks
            self._held.add(offset)
            return True

    def _let_go(self, offset: int) -> None:
        with self._mutex:
            self._held.discard(offset)
            if self._descriptor is not None:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, offset)
            self._close_if_idle()

    def _open(self) -> int | None:
        """The file's descriptor, open while a lock is held; None where no such file can be."""
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        return self._descriptor

    def _close_if_idle(self) -> None:
        """An open file would keep its disk from being unmounted."""
        if not self._held and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@functools.cache
def claims_at(path: Path) -> Claims:
    """The one object of this process for a file."""
    return Claims(path)
