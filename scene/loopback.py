"""Servers of our own on this machine: where they listen, and that no proxy stands before them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scene.errors import CannotRun

ADDRESS = "127.0.0.1"
TRY_S = 5


def listen() -> socket.socket:
    """A socket that listens on a free port of this machine; CannotRun where nobody reaches it."""
    try:
        listening = socket.create_server((ADDRESS, 0))
        # An interface that is down lets one listen, and nobody connect.
        with socket.create_connection(listening.getsockname(), TRY_S):
            listening.accept()[0].close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "no answer"
        raise CannotRun(
            f"this machine does not reach itself at {ADDRESS} ({why}): "
            "bring its loopback interface up with that address, as by `ip link set lo up`"
        ) from None
    return listening


def exempt_from_proxies() -> None:
    """Let programs started from here, a text browser say, ask no proxy for this machine."""
    before = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if before != "*" and ADDRESS not in before.split(","):
        os.environ["no_proxy"] = ",".join(filter(None, (before, ADDRESS)))


@dataclass
class _Unproxied:
    """How many are inside `without_proxies`, and what the first of them found."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: str | None = None


_UNPROXIED = _Unproxied()


@contextmanager
def without_proxies() -> Iterator[None]:
    """Let no HTTP client that is made inside ask for a proxy, whatever the environment names.

    httpx refuses proxies that it does not know even where `no_proxy` names the host, and Prefect
    does not hand on its `trust_env`; all clients take `*` to mean that there are none. It holds for
    the whole process until the last one leaves.
    """
    with _UNPROXIED.lock:
        if _UNPROXIED.inside == 0:
            _UNPROXIED.before = os.environ.get("no_proxy")
            os.environ["no_proxy"] = "*"
        _UNPROXIED.inside += 1
    try:
        yield
    finally:
        with _UNPROXIED.lock:
            _UNPROXIED.inside -= 1
            if _UNPROXIED.inside == 0 and _UNPROXIED.before is None:
                del os.environ["no_proxy"]
            elif _UNPROXIED.inside == 0:
                os.environ["no_proxy"] = _UNPROXIED.before or ""
