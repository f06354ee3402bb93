"""One file from the hub into a folder: goes on where it stopped, and is checked before it counts.

huggingface_hub's own `hf_hub_download` and `snapshot_download` (2.4, with and without xet) write to
a name of their own in every process and delete it when they fail, so that a killed download begins
again at the first byte. Their `http_get` does resume, from a file that its caller keeps: this one
is FILE.CONTENT.incomplete beside the target, where CONTENT is what the hub calls the content.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from photoscene.models.digests import content_of
from photoscene.models.hub import Hub, HubRefused, HubUnreachable, RemoteFile, explained
from photoscene.models.progress import Progress
from scene.errors import CannotRun
from stages.model_table import ModelEntry

ATTEMPTS = 5  # in a row without a byte


class NotThePublishedFile(CannotRun):
    """What arrived is not what the hub states, twice."""


class AlreadyPulling(CannotRun):
    """Another process fetches this file."""


@dataclass(frozen=True)
class Source:
    """A model's repository at a commit of a hub."""

    hub: Hub
    entry: ModelEntry
    commit: str


def fetch_file(source: Source, file: RemoteFile, folder: Path, progress: Progress) -> str:
    """Fetch one file into a folder and return its sha256.

    Raises HubRefused, HubUnreachable, NotThePublishedFile or AlreadyPulling; what has arrived by
    then is kept for the next time.
    """
    target = inside(folder, file.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(target, file)
    with _locked(partial) as opened:
        for again in (False, True):
            resumed = _complete(source, file, opened, progress)
            content = content_of(partial, progress, git=not file.sha256)
            if content.named(file.content_name):
                break
            opened.truncate(0)
            if again or not resumed:
                raise NotThePublishedFile(
                    f"{file.name} of {source.entry.repo} arrived with other bytes than "
                    f"{source.hub.endpoint} states: try again, or another HF_ENDPOINT"
                )
        os.fsync(opened.fileno())
        os.replace(partial, target)
    for stale in target.parent.glob(f"{escape(target.name)}.*.incomplete"):
        stale.unlink(missing_ok=True)  # of another commit
    return content.sha256


def partial_path(target: Path, file: RemoteFile) -> Path:
    """Where a file is while it is not whole; another content has another name."""
    return target.with_name(f"{target.name}.{file.content_name[:12]}.incomplete")


def bytes_there(target: Path, file: RemoteFile) -> int:
    """How much of a file has arrived already."""
    try:
        return min(partial_path(target, file).stat().st_size, file.bytes)
    except OSError:
        return 0


def inside(folder: Path, name: str) -> Path:
    """The path of a repository's file; HubRefused for a name that leaves the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise HubRefused(f"the repository has a file {name!r}, which may not be written")
    return folder.joinpath(*parts)


def _complete(source: Source, file: RemoteFile, opened: BinaryIO, progress: Progress) -> bool:
    """Append what is missing; returns whether a part was there before."""
    if opened.seek(0, os.SEEK_END) > file.bytes:
        opened.truncate(0)
    before = opened.seek(0, os.SEEK_END)
    progress.begin(file.name, file.bytes, before)
    idle = 0
    while (size := opened.seek(0, os.SEEK_END)) < file.bytes:
        try:
            _append(source, file, opened, progress)
        except HubUnreachable:
            opened.flush()
            idle = 0 if opened.seek(0, os.SEEK_END) > size else idle + 1
            if idle >= ATTEMPTS:
                raise
    opened.flush()
    progress.end()
    return before > 0


def _append(source: Source, file: RemoteFile, opened: BinaryIO, progress: Progress) -> None:
    """One request for the rest of a file."""
    from huggingface_hub.file_download import hf_hub_url, http_get
    from huggingface_hub.utils import build_hf_headers

    size = opened.seek(0, os.SEEK_END)
    url = hf_hub_url(
        source.entry.repo, file.name, revision=source.commit, endpoint=source.hub.endpoint
    )
    # A compressed answer has no ranges.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}

    def bar(**_: object) -> _Bar:
        return _Bar(progress)

    with explained(source.hub, source.entry, source.commit):
        http_get(
            url, opened, resume_size=size, headers=headers, expected_size=file.bytes,
            displayed_filename=file.name, tqdm_class=bar,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip


class _Bar:
    """Hands what the library reports to a tqdm bar on to ours."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, count: int) -> None:
        self.progress.advance(count)


@contextmanager
def _locked(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, opened to append, for one process at a time; a kill frees it."""
    with partial.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyPulling(
                f"another process is fetching {partial.parent / partial.name}: wait for it"
            ) from None
        yield opened
