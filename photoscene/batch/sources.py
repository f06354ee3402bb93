"""Where the scenes of a batch come from: a folder of photos, or a manifest with a line per scene.

All files of a batch lie below one root, the folder or the manifest's own; the name of a scene is
its photo's path below it without the suffix, and its run folder's below the output folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from photoscene.batch.entries import Entry, name_of_photo, named_apart
from photoscene.batch.manifest import manifest_entries
from photoscene.inputs.request import Arguments
from photoscene.runs.ownership import unchecked_record
from scene.errors import BadInput
from scene.text import printable

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif",
                            ".tiff", ".bmp"))  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """Which of the entries are wanted: globs over their photos' paths, and how many at most."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    limit: int | None = None


def read_entries(
    source: Path, root: Path | None, defaults: Arguments, chosen: Chosen, output: Path
) -> list[Entry]:
    """The scenes of a folder or a manifest, in the order of their names or lines.

    root: the folder that a manifest's paths are relative to, None for its own; defaults: what holds
    for every scene; output: left out where it lies in the folder. A line that cannot be used is an
    entry with its fault. Raises BadInput for a source that cannot be read or has no scene.
    """
    if source.is_dir():
        if root is not None:
            raise BadInput(f"--root {root} is for manifests: {source} is a folder; leave it out")
        root = source
        unread: list[OSError] = []
        photos = sorted(_photos_below(source, output, unread.append))
        found = [_photo_entry(name, defaults, root) for name in photos]
        found += [_unread_entry(error, root) for error in unread]
        empty = f"{source} has no photo ({' '.join(sorted(PHOTO_SUFFIXES))})"
    else:
        root = source.parent if root is None else root
        found = manifest_entries(source, defaults, root)
        empty = f"{source} has no line: write one per scene"
    if not found:
        raise BadInput(empty)
    # A scene has the same name whichever others are chosen with it.
    wanted = [entry for entry in named_apart(found) if _is_chosen(entry.photo, chosen)]
    if not wanted:
        raise BadInput(f"--include and --exclude leave none of {len(found)} scenes")
    return wanted[: chosen.limit]


def _photos_below(folder: Path, output: Path, unread: Callable[[OSError], None]) -> Iterator[str]:
    """The paths of all photos below a folder, relative to it; hidden ones, and those in run folders
    and in the batch's own output, are none. unread: called for a folder that cannot be read."""
    beyond = os.path.realpath(output)
    for where, folders, files in os.walk(folder, onerror=unread):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and os.path.realpath(os.path.join(where, name)) != beyond
            and unchecked_record(Path(where, name)) is None
        ]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES:
                yield Path(where, name).relative_to(folder).as_posix()


def _photo_entry(name: str, defaults: Arguments, root: Path) -> Entry:
    shown = printable(name.encode("utf-8", "replace").decode())
    return Entry(name_of_photo(name), None, shown, replace(defaults, photo=root / name))


def _unread_entry(error: OSError, root: Path) -> Entry:
    """A folder whose photos are not known, as a scene that cannot be made."""
    folder = os.path.relpath(error.filename, root)
    return Entry(
        "", None, folder, None, f"folder cannot be read ({error.strerror}): make it readable"
    )


def _is_chosen(photo: str, chosen: Chosen) -> bool:
    """A glob without a slash is for the file's name, one with a slash for its path."""

    def matches(globs: Sequence[str]) -> bool:
        name = PurePosixPath(photo).name
        return any(fnmatchcase(photo if "/" in glob else name, glob) for glob in globs)

    return (not chosen.include or matches(chosen.include)) and not matches(chosen.exclude)
