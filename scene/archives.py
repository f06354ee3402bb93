"""All that a store keeps of one scene in one file: a store far away is asked once, not a hundred
times.

    archives/12/123456....zip    records and artifacts, under the names that they have in the store

What lies in the store by itself stays the truth. An archive is a copy of it, believed as far as its
checksums go; whatever it lacks is looked up singly. Its key stands for all that decides which
results a scene has, so scenes that ask for the same have one archive.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from scene.atomic import write_atomically
from scene.blobs import Blobs, Entry
from scene.errors import CannotRun
from scene.keys import digest
from scene.manifests import ARTIFACT_NAME, Manifest, artifact_name, result_name, sealed, unsealed
from scene.store import REPLACED, USED_AGAIN_S, Store

ARCHIVES = "archives"
# An archive is read as a whole, by as many threads as there are requests at once.
MAX_ARTIFACT_BYTES, MAX_ARCHIVE_BYTES = 8_000_000, 32_000_000
TAIL_BYTES = 262_144  # the list of two thousand files, which is at the end of a ZIP file
WRITTEN = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same scene, whenever
BROKEN = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError)
logger = logging.getLogger(__name__)


def archive_name(key: str) -> str:
    """Where the archive with a key lies."""
    return f"{ARCHIVES}/{key[:2]}/{key}.zip"


def recall(store: Store, keys: Sequence[str]) -> list[set[str] | None]:
    """Let a store answer from the archives with these keys; it keeps their artifacts in its folder.

    Returns the keys of the results that each has, None where there is none. A folder needs none.
    """
    if store.remote is None:
        return [None for _ in keys]
    replaced = {PurePath(entry.name).name for entry in store.remote.listed(REPLACED)}
    return list(store.each(partial(_recall, store, store.remote, replaced), keys))


def keep(
    store: Store, key: str, manifests: Iterable[Manifest], known: Collection[str] | None
) -> None:
    """Write the archive of these results, unless all are `known` to be in it, as `recall` returned.

    What they name must have been saved or looked up before. Where it cannot be, there is none.
    """
    by_key = {manifest.key: manifest for manifest in manifests}
    if store.remote is None or (known is not None and by_key.keys() <= {*known}):
        return
    try:
        data = _packed(store, [by_key[key] for key in sorted(by_key)])
        name, mine = archive_name(key), True
        if known is not None:
            store.remote.write(name, data)
        else:
            mine = store.remote.create(name, data)
        entry = store.remote.entry(name) if mine else None
        if entry is not None and entry.size == len(data):  # nobody's else
            _keep_here(store, key, entry, list(by_key.values()))
    except CannotRun as error:
        logger.warning("a scene has no archive: %s", error)


def results_in(blobs: Blobs, entry: Entry) -> list[str]:
    """The names of the records in an archive, [] where it is damaged or gone; of a large one only
    the end is read."""
    for start in {max(0, entry.size - TAIL_BYTES): None, 0: None}:
        try:
            data = blobs.read_range(entry, start)
        except FileNotFoundError:
            return []
        # Outside of the reading: a store that does not answer is no damaged archive.
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return [name for name in archive.namelist() if not ARTIFACT_NAME.fullmatch(name)]
        except BROKEN:
            continue
    return []


def damaged_archives(store: Store) -> list[str]:
    """Re-read every archive; one line for each that is not whole."""
    return [
        f"{store.blobs.location(entry.name)}: not a whole archive"
        for entry in store.blobs.listed(ARCHIVES)
        if _unpacked(store.blobs.read(entry.name)) is None
    ]


@dataclass(frozen=True)
class _Contents:
    """What an archive has: artifacts by their names in the store."""

    manifests: Sequence[Manifest]
    artifacts: Mapping[str, bytes]


def _packed(store: Store, manifests: Sequence[Manifest]) -> bytes:
    """An archive of results. What is too large is left out, to be fetched beside it."""
    artifacts = {a for m in manifests for a in m.outputs.values()}
    named = sorted((artifact_name(artifact), store.read(artifact)) for artifact in artifacts)
    small = [(name, data) for name, data in named if len(data) <= MAX_ARTIFACT_BYTES]
    records = [(result_name(m.key), sealed(m)) for m in manifests]
    packed, left = io.BytesIO(), MAX_ARCHIVE_BYTES
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (*records, *sorted(small, key=lambda file: len(file[1]))):
            left -= len(data)
            if left >= 0:
                archive.writestr(zipfile.ZipInfo(name, WRITTEN), data)
    return packed.getvalue()


def _unpacked(data: bytes) -> _Contents | None:
    """The inverse of `_packed`; None where anything is damaged, or is not what its name says."""
    manifests, artifacts = [], {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED:  # such a one was not written here
                    return None
                content, artifact = archive.read(info), ARTIFACT_NAME.fullmatch(info.filename)
                manifest = None if artifact else unsealed(content)
                if manifest is not None and result_name(manifest.key) == info.filename:
                    manifests.append(manifest)
                elif artifact is not None and digest(content) == artifact[1]:
                    artifacts[info.filename] = content
                else:
                    return None
    except BROKEN:
        return None
    return _Contents(manifests, artifacts)


def _recall(store: Store, remote: Blobs, replaced: Collection[str], key: str) -> set[str] | None:
    manifests = _kept_here(store, remote, key)
    if manifests is None:
        try:
            data, entry = remote.open(archive_name(key))
        except FileNotFoundError:
            return None
        contents = _unpacked(data)
        if contents is None:
            logger.warning("archive %s is damaged and will be written again", key[:12])
            return set()
        if store.used_again(entry, data):
            return None
        manifests = contents.manifests
        for name, content in contents.artifacts.items():
            if not (store.root / name).exists():
                write_atomically(store.root / name, content)
        _keep_here(store, key, entry, manifests)
    store.recall(m for m in manifests if m.key not in replaced)
    return {manifest.key for manifest in manifests}


def _kept_here(store: Store, remote: Blobs, key: str) -> Sequence[Manifest] | None:
    """The results in an archive that was read before and is there as it was."""
    try:
        kept = json.loads((store.root / archive_name(key)).with_suffix(".json").read_bytes())
        manifests = [unsealed(record.encode()) for record in kept["records"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    entry = remote.entry(archive_name(key))
    if entry is None or _mark(entry) != kept["mark"]:
        return None
    if store.blobs.age_s(entry) >= USED_AGAIN_S or store.used_again(entry, b""):
        return None  # it is read, to be renewed
    whole = [manifest for manifest in manifests if manifest is not None]
    return whole if len(whole) == len(manifests) else None


def _keep_here(store: Store, key: str, entry: Entry, manifests: Sequence[Manifest]) -> None:
    kept = {"mark": _mark(entry), "records": [sealed(manifest).decode() for manifest in manifests]}
    path = (store.root / archive_name(key)).with_suffix(".json")
    write_atomically(path, json.dumps(kept).encode())


def _mark(entry: Entry) -> str:
    """What changes with an archive's content."""
    return entry.tag or f"{entry.written_s}"
