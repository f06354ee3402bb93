"""What is in a file? Its sha256, and the id that git gives to the same bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from photoscene.models.progress import Progress

CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Content:
    """A file's content: bytes, sha256, and its git blob id (sha1 of a header and the content)."""

    bytes: int
    sha256: str
    git_id: str

    def named(self, name: str) -> bool:
        """Whether a name by content (64 or 40 hex digits) is this content's."""
        return name in (self.sha256, self.git_id)


def content_of(file: Path, progress: Progress, git: bool = True) -> Content:
    """Read a file once. git: also the git id (a second digest, for small files)."""
    size = file.stat().st_size
    sha256, git_id = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    progress.begin(f"checking {file.name}", size)
    read = 0
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            sha256.update(chunk)
            if git:
                git_id.update(chunk)
            read += len(chunk)
            progress.advance(len(chunk))
    progress.end()
    return Content(read, sha256.hexdigest(), git_id.hexdigest() if git else "")
