"""ModelPool: loads each backend once, keeps it, and lends it for the time of one call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scene.keys import canonical_json
from stages.backends import find_backend, make_settings


class ModelPool:
    """The models of one process on one device. On "cpu" calls may overlap; elsewhere they queue."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._loaded: dict[str, Any] = {}
        self._loading = threading.Lock()
        self._working = threading.Lock()

    @contextmanager
    def borrow(self, stage: str, backend: str, settings: Mapping[str, Any]) -> Iterator[Any]:
        """Lend the loaded backend; loading happens once per (stage, backend, settings)."""
        model = self._load(stage, backend, settings)
        if self.device == "cpu":
            yield model
        else:
            with self._working:
                yield model

    def _load(self, stage: str, backend: str, settings: Mapping[str, Any]) -> Any:
        name = canonical_json([stage, backend, dict(settings)])
        with self._loading:
            if name not in self._loaded:
                typed = make_settings(stage, backend, settings)
                self._loaded[name] = find_backend(stage, backend).load(typed, self.device)
            return self._loaded[name]
