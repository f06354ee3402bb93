"""The kinds of place that a store may have: what its tests have to hold for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scene.object_blobs import ObjectBlobs, open_blobs
from scene.store import Store

OBSTORE = pytest.mark.extra("obstore")
PLACES = (
    "folder",
    pytest.param("folder by obstore", marks=OBSTORE),
    pytest.param("s3", marks=OBSTORE),
)


@contextmanager
def new_places(kind: str, folder: Path) -> Iterator[Callable[[], Store]]:
    """Opens an empty store; each call is another machine, which has kept nothing of it."""
    numbers = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        if kind == "folder":
            yield lambda: Store(folder / "store")
            return
        if kind == "folder by obstore":
            from obstore.store import LocalStore  # pyright: ignore[reportMissingImports]

            root = folder / "store"
            remote = ObjectBlobs(str(root), LocalStore(root, mkdir=True))
            yield lambda: Store(folder / f"kept_{next(numbers)}", remote)
            return
        from support.object_server import object_server

        with object_server(patch) as server:
            yield lambda: Store(folder / f"kept_{next(numbers)}", open_blobs(server.url))
