"""An S3 server in a process of its own: its faults are set and its requests read from here."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from support.object_server import ObjectServer, object_server

# Forked before anything has threads: they would be missing in the child.
FORK: Any = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class ServerProcess:
    """Its URL, and what a process has to have in its environment to reach it."""

    url: str
    environment: dict[str, str]
    pipe: Any

    def set(self, **values: Any) -> None:
        """Set attributes of `ObjectServer`, and forget the requests so far."""
        self.pipe.send(values)
        self.pipe.recv()

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of all requests since the last `set`."""
        self.pipe.send(None)
        return self.pipe.recv()


@contextmanager
def server_process() -> Iterator[ServerProcess]:
    """A server with an empty bucket, which this process and its children reach by its URL."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    url, environment = ours.recv()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            yield ServerProcess(url, environment, ours)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Any) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, object_server(patch) as server:
        pipe.send((server.url, server.environment()))
        while True:
            _obey(server, pipe)


def _obey(server: ObjectServer, pipe: Any) -> None:
    values = pipe.recv()
    if values is None:
        pipe.send(list(server.requests))
        return
    for name, value in values.items():
        setattr(server, name, value)
    server.requests.clear()
    pipe.send(None)
