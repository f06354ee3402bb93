"""Proxies that the environment names: none before our own servers, and the one that is to blame."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from scene.loopback import ADDRESS


def through_proxy(url: str) -> str:
    """Words on the proxy that stands before a URL, "" for none."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    proxy = getproxies().get(scheme) or getproxies().get("all")
    if not proxy or proxy_bypass(host):
        return ""
    return f" through the proxy {proxy} (no_proxy={host.rpartition(':')[0] or host} goes past it)"


def unusable_proxy(url: str, error: Exception) -> str:
    """What to do about proxies of which httpx, on its way to a URL, cannot make anything."""
    why = " ".join(str(error).split()).partition(" Make sure")[0].rstrip(".")
    socks = "`pip install socksio`, " if isinstance(error, ImportError) else ""
    return (
        f"{url} cannot be asked, because of a proxy that cannot be used ({why}): {socks}"
        "change http_proxy, https_proxy or all_proxy (socks5://HOST:PORT, http://HOST:PORT), "
        "or go without by no_proxy=*"
    )


def exempt_from_proxies() -> None:
    """Let programs started from here, a text browser say, ask no proxy for this machine."""
    before = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # as urllib reads them
    exempt = before == "*" or ADDRESS in before.split(",")
    os.environ["no_proxy"] = before if exempt else ",".join(filter(None, (before, ADDRESS)))


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
