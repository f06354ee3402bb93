"""A place for a store whose clock a test sets, and whose every request it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scene.blobs import Entry, FolderBlobs


@dataclass(frozen=True)
class Clocked(FolderBlobs):
    """A folder with a clock of its own, which stands still unless it is set."""

    clock: dict[str, float] = field(default_factory=lambda: {"now": 1e6}, compare=False)
    times: dict[str, float] = field(default_factory=dict, compare=False)
    step: Callable[[], None] = field(default=lambda: None, compare=False)

    def now_s(self) -> float:
        return self.clock["now"]

    def age_s(self, entry: Entry) -> float:
        return self.clock["now"] - entry.written_s

    def read(self, name: str) -> bytes:
        return self.open(name)[0]

    def open(self, name: str) -> tuple[bytes, Entry]:
        self.step()
        data = super().read(name)
        return data, Entry(name, len(data), self.times[name])

    def write(self, name: str, data: bytes) -> None:
        self.step()
        super().write(name, data)
        self.times[name] = self.clock["now"]

    def renew(self, entry: Entry, data: bytes) -> bool:
        self.step()
        if super().entry(entry.name) is None:
            return False
        self.times[entry.name] = self.clock["now"]
        return True

    def create(self, name: str, data: bytes) -> bool:
        self.step()
        created = super().create(name, data)
        if created:
            self.times[name] = self.clock["now"]
        return created

    def entry(self, name: str) -> Entry | None:
        self.step()
        found = super().entry(name)
        return found and Entry(name, found.size, self.times[name])

    def remove(self, name: str) -> None:
        self.step()
        super().remove(name)
