"""An S3 server for tests: moto's, behind a layer that counts requests and makes faults."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "bucket"


@dataclass
class ObjectServer:
    """What the server does besides answering; all of it may be changed while it runs.

    lost, doubled: the fraction of writing requests whose answer never comes, or which arrive twice;
    refused: answers (statuses) that the next writing requests get instead; lag_s: how old listings
    are; unconditional: the server overlooks If-None-Match.
    """

    url: str = ""
    endpoint: str = ""
    latency_s: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    lag_s: float = 0.0
    unconditional: bool = False
    refused: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and path
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listings: dict[str, list[tuple[float, Any]]] = field(default_factory=dict)

    def counts(self) -> Counter[str]:
        """How many requests came, by method."""
        return Counter(method for method, _ in self.requests)

    def environment(self) -> dict[str, str]:
        """What a process has to have in its environment to reach it."""
        account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        place = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}
        return {**account, **place, "no_proxy": "*"}

    def answer(self, app: Any, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer one request, as a WSGI application."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.latency_s:
            time.sleep(self.latency_s)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        writes = method in ("PUT", "DELETE", "POST")
        if self.unconditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:  # moto itself does not keep two creations apart
            self.requests.append((method, path))
            if writes and self.refused:
                start(self.refused.pop(0), [("Content-Length", "0")])
                return []
            doubled = writes and self.chance.random() < self.doubled
            for _ in range(1 + doubled):
                caught, data = _answer(app, environ, body)
            if writes and self.chance.random() < self.lost:
                caught, data = ("500 Lost", [("Content-Length", "0")]), b""
            if "list-type" in environ.get("QUERY_STRING", "") and self.lag_s:
                caught, data = self._lagging(environ["QUERY_STRING"], (caught, data))
        start(*caught)
        return [data]

    def _lagging(self, query: str, current: Any) -> Any:
        """The newest answer to a listing that is old enough, else the oldest."""
        kept = self._listings.setdefault(query, [])
        kept.append((time.monotonic(), current))
        old = [answer for at, answer in kept if time.monotonic() - at >= self.lag_s]
        return old[-1] if old else kept[0][1]


def _answer(app: Any, environ: dict[str, Any], body: bytes) -> tuple[tuple[Any, ...], bytes]:
    """Status and headers, and the bytes, of an application's answer."""
    caught: list[tuple[Any, ...]] = []

    def start(*head: Any) -> None:
        """Keep them."""
        caught.append(head)

    data = b"".join(app({**environ, "wsgi.input": io.BytesIO(body)}, start))
    return caught[-1], data


@contextmanager
def object_server(patch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """A server with an empty bucket, which this process and its children reach by its URL."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    made = ObjectServer()
    app = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        return made.answer(app, environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.endpoint = f"http://127.0.0.1:{server.server_port}"
    for name, value in made.environment().items():
        patch.setenv(name, value)
    try:
        made.url = f"s3://{_new_bucket(made.endpoint)}/store"
        made.requests.clear()
        yield made
    finally:
        server.shutdown()
        thread.join(60)


def _new_bucket(endpoint: str) -> str:
    """moto keeps its buckets for the whole process: each server's has a name of its own."""
    import urllib.request
    import uuid

    name = f"{BUCKET}-{uuid.uuid4().hex[:8]}"
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=60).close()
    return name
