"""Where a store's bytes lie: what every place can do, and how a folder does it.

A name is a path below the place, such as `results/12/123456....json`. The other kind of place, an
object store, is in `scene/object_blobs.py`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scene.atomic import create_atomically, write_atomically


@dataclass(frozen=True)
class Entry:
    """What a place says of one file: its name, its size, and when it was written, by the place's
    own clock; tag: what changes with every writing, "" in a folder."""

    name: str
    size: int
    written_s: float
    tag: str = ""


class Blobs(Protocol):
    """A place for files that are written whole: readers find the old bytes or the new ones."""

    @property
    def address(self) -> str:
        """What `open_store` takes, in another process too."""
        ...

    def location(self, name: str) -> str:
        """How people find a file."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file; FileNotFoundError where there is none."""
        ...

    def open(self, name: str) -> tuple[bytes, Entry]:
        """The bytes of a file and what else is known of it, as of one moment."""
        ...

    def read_range(self, entry: Entry, start: int) -> bytes:
        """The bytes of a file from one on; FileNotFoundError where there is none."""
        ...

    def renew(self, entry: Entry, data: bytes) -> bool:
        """Make a file with these bytes count as written now; False where it is gone or changed."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of the one that has its name."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless its name is taken; False where it is."""
        ...

    def entry(self, name: str) -> Entry | None:
        """What is known of a file without reading it; None where there is none."""
        ...

    def listed(self, below: str) -> Iterator[Entry]:
        """All files below a folder, in the order of their names."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def check(self) -> None:
        """Raise CannotRun where the place cannot be what a store needs."""
        ...

    def now_s(self) -> float:
        """The time by the place's own clock, to compare `Entry.written_s` with."""
        ...

    def age_s(self, entry: Entry) -> float:
        """How long ago a file was written, to within some minutes."""
        ...


@dataclass(frozen=True)
class FolderBlobs:
    """A folder of a file system."""

    root: Path

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self.root)

    def location(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """See `Blobs`."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> tuple[bytes, Entry]:
        """See `Blobs`."""
        with (self.root / name).open("rb") as file:
            stat = os.fstat(file.fileno())
            return file.read(), Entry(name, stat.st_size, stat.st_mtime)

    def read_range(self, entry: Entry, start: int) -> bytes:
        """See `Blobs`."""
        with (self.root / entry.name).open("rb") as file:
            file.seek(start)
            return file.read()

    def renew(self, entry: Entry, data: bytes) -> bool:
        """See `Blobs`; nothing is written."""
        try:
            os.utime(self.root / entry.name)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """See `Blobs`."""
        write_atomically(self.root / name, data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Blobs`; on a file system without hard links the last of two at once wins."""
        return create_atomically(self.root / name, data)

    def entry(self, name: str) -> Entry | None:
        """See `Blobs`."""
        try:
            stat = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return Entry(name, stat.st_size, stat.st_mtime)

    def listed(self, below: str) -> Iterator[Entry]:
        """See `Blobs`; what is hidden or being written is left out."""
        folder = self.root / below
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = f"{below}/{path.name}"
            if path.name.startswith("."):
                continue
            if path.is_dir():
                yield from self.listed(name)
            elif entry := self.entry(name):
                yield entry

    def remove(self, name: str) -> None:
        """See `Blobs`."""
        (self.root / name).unlink(missing_ok=True)

    def check(self) -> None:
        """See `Blobs`: any folder will do that can be written, which its first file will tell."""

    def now_s(self) -> float:
        """See `Blobs`: the folder may be another machine's."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.root, prefix=".clock-") as file:
            return os.fstat(file.fileno()).st_mtime

    def age_s(self, entry: Entry) -> float:
        """See `Blobs`: by this machine's clock."""
        return time.time() - entry.written_s
