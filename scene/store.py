"""The content-addressed store: artifacts named by their sha256, results found by their key.

    artifacts/ab/abcdef....png     a file, named by the sha256 of its bytes
    results/12/123456....json      a manifest: which artifacts a stage call with this key made
    claims                         which keys are being computed now (`scene/claims.py`)

It is a folder, or an object store behind a folder that keeps what was read and written (`scene/
blobs.py`). Artifacts are written before the manifest that names them, each as a whole, so a process
may die at any moment. Nothing in the store holds a path: it may be moved, copied or shared.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from scene.atomic import write_atomically
from scene.blobs import Blobs, Entry, FolderBlobs
from scene.claims import Claims, claims_at
from scene.errors import CannotRun
from scene.expiring_claims import ExpiringClaims, live_claims
from scene.files import CODECS
from scene.keys import digest
from scene.manifests import (
    ARTIFACTS,
    RESULTS,
    Manifest,
    artifact_name,
    result_name,
    sealed,
    unsealed,
)
from scene.object_blobs import open_blobs
from scene.types import Artifact

S = TypeVar("S")
T = TypeVar("T")
# What was read from stores at URLs and written there; it may be removed at any time.
KEPT_HERE = Path("~/.cache/photoscene/kept")
# A file that is used again counts as used now if it is older than the first; what was used within
# the second is never removed. Between them a run may rely on what it found.
USED_AGAIN_S, RECENT_S = 6 * 3600.0, 48 * 3600.0
JUST_NOW_S = 600.0  # longer than a round of a cleaning takes
CLEANING = "cleaning"  # the folder and the key of the claim of those who remove files
REPLACED = "replaced"  # a file for every key whose record was: archives may have an older one
REQUESTS_AT_ONCE = 16  # of one process, to a place that is not a folder
logger = logging.getLogger(__name__)


class DamagedArtifact(CannotRun):
    """An artifact is missing from the store or its bytes are not what its name says."""


@dataclass(frozen=True)
class _Record:
    """A manifest as it is stored."""

    manifest: Manifest
    data: bytes
    entry: Entry


@dataclass(frozen=True)
class Store:
    """Artifacts and manifests in a folder, or in a place behind it, whose files the folder keeps.

    checked: which of the folder's files were verified; damaged: which artifacts were found so;
    recalled: results that an archive has (`scene/archives.py`); archived: all artifacts that these
    name; noted: the results that are found and published, where somebody wants to know.
    """

    root: Path
    remote: Blobs | None = None
    checked: dict[Artifact, tuple[int, int]] = field(default_factory=dict, compare=False)
    damaged: set[Artifact] = field(default_factory=set, compare=False)
    recalled: dict[str, Manifest] = field(default_factory=dict, compare=False)
    archived: set[Artifact] = field(default_factory=set, compare=False)
    noted: list[Manifest] | None = field(default=None, compare=False)

    @property
    def blobs(self) -> Blobs:
        """Where the artifacts and manifests are."""
        return self.remote or FolderBlobs(self.root)

    @property
    def address(self) -> str:
        """What `open_store` takes, in another process too."""
        return self.blobs.address

    @property
    def kept_here(self) -> Store:
        """The folder alone: what is saved in it is not in the place behind it."""
        return Store(self.root, checked=self.checked)

    def save(self, value: Any) -> Artifact:
        """Write a value as an ordinary file and return its name; saving it twice writes it once."""
        codec = CODECS.get(type(value))
        if codec is None:
            raise TypeError(f"no file format for {type(value).__name__}")
        return self.save_bytes(codec.encode(value), codec.kind, codec.suffix)

    def save_bytes(self, data: bytes, kind: str, suffix: str) -> Artifact:
        """Write bytes under their own sha256."""
        artifact = Artifact(kind, digest(data), suffix)
        known = self._is_intact_here(artifact)
        if not known:
            write_atomically(self.path(artifact), data)
        if (known or self.remote is not None) and artifact not in self.archived:
            self._keep(artifact, data, known)
        return artifact

    def load(self, artifact: Artifact, as_type: type[T]) -> T:
        """Read an artifact back; DamagedArtifact when it is missing or its checksum differs."""
        codec = CODECS[as_type]
        if artifact.kind != codec.kind:
            raise TypeError(f"artifact is a {artifact.kind}, expected a {codec.kind}")
        return codec.decode(self.read(artifact))

    def read(self, artifact: Artifact) -> bytes:
        """The verified bytes of an artifact."""
        name, state = artifact_name(artifact), "missing"
        for place in (FolderBlobs(self.root), self.remote):
            try:
                data = None if place is None else place.read(name)
            except FileNotFoundError:
                data = None
            if data is not None and digest(data) == artifact.sha256:
                if place is self.remote:
                    write_atomically(self.path(artifact), data)
                return data
            state = state if data is None else "damaged"
        self.damaged.add(artifact)
        raise DamagedArtifact(f"{self.blobs.location(name)} is {state}; run again to remake it")

    def path(self, artifact: Artifact) -> Path:
        """Where an artifact lies here once it was read or saved. Paths are never stored."""
        return self.root / artifact_name(artifact)

    def has(self, artifact: Artifact) -> bool:
        """Whether an artifact is there, with the right bytes."""
        if self._is_intact_here(artifact) or self.remote is None:
            return self._is_intact_here(artifact)
        try:
            self.read(artifact)
        except DamagedArtifact:
            return False
        return True

    def publish(self, manifest: Manifest, replace: bool = False) -> Manifest:
        """Make a result findable by its key; its artifacts must have been saved before.

        The first one that is whole stays, and is returned, unless it is to be replaced.
        """
        for artifact in self.archived & {*manifest.inputs.values(), *manifest.outputs.values()}:
            self._keep(artifact, self.read(artifact), known=True)  # the archive alone may have it
        name, data = result_name(manifest.key), sealed(manifest)
        if replace or not self.blobs.create(name, data):
            first = None if replace else self.lookup(manifest.key)
            if first is not None:
                return first
            self.recalled.pop(manifest.key, None)
            if self.remote is not None:
                self.remote.write(f"{REPLACED}/{manifest.key}", b"")
            self.blobs.write(name, data)
        self._note([manifest])
        return manifest

    def lookup(self, key: str) -> Manifest | None:
        """The result of a key, or None when it is absent or any of its artifacts is damaged."""
        return self.lookup_all([key])[key]

    def lookup_all(self, keys: Iterable[str]) -> dict[str, Manifest | None]:
        """As `lookup`, for many keys at once."""
        unique = list(dict.fromkeys(keys))
        recalled = {key: self.recalled[key] for key in unique if key in self.recalled}
        asked = [key for key in unique if key not in recalled]
        read = {k: r for k, r in zip(asked, self.each(self._record, asked), strict=True) if r}
        manifests = {**recalled, **{key: record.manifest for key, record in read.items()}}
        artifacts = list({a for m in manifests.values() for a in m.outputs.values()})
        intact = dict(zip(artifacts, self.each(self.has, artifacts), strict=True))
        whole = {key: m for key, m in manifests.items() if _is_whole(m, intact)}
        used = [record for key, record in read.items() if key in whole]
        gone = self.each(lambda r: self.used_again(r.entry, r.data), used)
        again = [r.manifest.key for r, waited in zip(used, list(gone), strict=True) if waited]
        for key in recalled.keys() - whole.keys():  # the archive lacks what the store lost
            del self.recalled[key]
            again.append(key)
        found = {key: whole.get(key) for key in unique}
        self._note(m for key, m in whole.items() if key not in again)
        return {**found, **self.lookup_all(again)} if again else found

    def recall(self, manifests: Iterable[Manifest]) -> None:
        """Answer with these results, as long as what they name is there."""
        for manifest in manifests:
            self.recalled[manifest.key] = manifest
            self.archived.update((*manifest.inputs.values(), *manifest.outputs.values()))

    def forget(self) -> None:
        """Answer with no result that was recalled."""
        self.recalled.clear()
        self.archived.clear()

    def _note(self, manifests: Iterable[Manifest]) -> None:
        if self.noted is not None:
            self.noted.extend(manifests)

    def upload(self, artifacts: Iterable[Artifact]) -> None:
        """See to it that the place behind the folder has these, too."""
        unique = list(dict.fromkeys(artifacts))
        list(self.each(lambda a: self.save_bytes(self.read(a), a.kind, a.suffix), unique))

    def claim(self, key: str, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
        """Keep others from computing the result of a key while inside; see `scene/claims.py`
        and, for what is no folder, `scene/expiring_claims.py`."""
        return self._claims.claim(key, wait)

    @cached_property
    def cleaning(self) -> ExpiringClaims:
        """Held by those who remove files, while they do."""
        return ExpiringClaims(self.blobs, folder=CLEANING)

    def is_being_computed(self) -> bool:
        """Whether anybody holds a claim on any key."""
        if self.remote is not None:
            return live_claims(self.remote) > 0
        return claims_at(self.root.absolute() / "claims").any_held()

    def verify(self) -> list[str]:
        """Re-read every file and list the damaged ones, one line each; an intact store gives []."""
        damaged = []
        for entry in self.blobs.listed(ARTIFACTS):
            if digest(self.blobs.read(entry.name)) != Path(entry.name).name.split(".")[0]:
                damaged.append(f"{self.blobs.location(entry.name)}: checksum differs")
        for entry in self.blobs.listed(RESULTS):
            where, manifest = self.blobs.location(entry.name), unsealed(self.blobs.read(entry.name))
            if manifest is None:
                damaged.append(f"{where}: not a readable result")
                continue
            damaged += [
                f"{where}: {name} {artifact.sha256[:12]} is missing"
                for name, artifact in manifest.outputs.items()
                if self.blobs.entry(artifact_name(artifact)) is None
            ]
        return damaged

    @cached_property
    def _claims(self) -> Claims | ExpiringClaims:
        if self.remote is None:
            return claims_at(self.root.absolute() / "claims")
        return ExpiringClaims(self.remote)

    def _record(self, key: str) -> _Record | None:
        """What is kept of a key, whether or not its artifacts are there."""
        try:
            data, entry = self.blobs.open(result_name(key))
        except FileNotFoundError:
            return None
        manifest = unsealed(data)
        if manifest is None or manifest.key != key:
            logger.warning("result %s is damaged and will be computed again", key[:12])
            return None
        return _Record(manifest, data, entry)

    def _is_intact_here(self, artifact: Artifact) -> bool:
        """Whether the folder has the right bytes; they are only read if the file changed since."""
        try:
            stat = self.path(artifact).stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if self.checked.get(artifact) != mark:
                if digest(self.path(artifact).read_bytes()) != artifact.sha256:
                    return False
                self.checked[artifact] = mark
        except FileNotFoundError:
            return False
        return True

    def _keep(self, artifact: Artifact, data: bytes, known: bool) -> None:
        """See to it that the store has an artifact whole, and that it counts as used.

        known: the folder had it, so that the place behind it has it most likely: it is asked first.
        """
        name, place = artifact_name(artifact), self.blobs
        if not known and place.create(name, data):
            return
        entry = place.entry(name)
        if entry is None or entry.size != len(data) or artifact in self.damaged:
            place.write(name, data)
            self.damaged.discard(artifact)
        elif self.used_again(entry, data):
            place.create(name, data)

    def used_again(self, entry: Entry, data: bytes) -> bool:
        """Record the use of a file that is there; whether it was removed meanwhile.

        A cleaning removes nothing that it finds renewed. One that looked before that has removed
        the file by the time that nobody cleans, or leaves it. Another may have renewed a file of
        just now, after a cleaning looked.
        """
        age_s = self.blobs.age_s(entry)
        if JUST_NOW_S <= age_s < USED_AGAIN_S:
            return False
        try:
            if age_s >= USED_AGAIN_S and not self.blobs.renew(entry, data):
                return True
        except (OSError, CannotRun) as error:  # a store that can only be read
            logger.info("the use of %s could not be recorded: %s", entry.name, error)
            return False
        self.cleaning.wait_until_free(CLEANING)
        return self.blobs.entry(entry.name) is None

    def each(self, function: Callable[[S], T], values: Sequence[S]) -> Iterable[T]:
        """A function of many values: by many requests at once where each has to travel."""
        if self.remote is None or len(values) < 2:
            return map(function, values)
        return _threads().map(function, values)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS_AT_ONCE, "store")


def _is_whole(manifest: Manifest, intact: Mapping[Artifact, bool]) -> bool:
    """Whether all that a stage call made is there."""
    for name, artifact in manifest.outputs.items():
        if not intact[artifact]:
            logger.warning(
                "%s of %s %s is missing or damaged and will be computed again",
                name, manifest.stage, manifest.subject,
            )  # fmt: skip
            return False
    return True


def open_store(address: str) -> Store:
    """The store at an address: the path of a folder, or a URL."""
    scheme, _, path = address.partition("://")
    if not path:
        return Store(Path(address))
    return Store(Path(unquote(path))) if scheme == "file" else _remote_store(address)


@cache
def _remote_store(url: str) -> Store:
    """The one object of this process for a URL: its server is checked once."""
    return Store(KEPT_HERE.expanduser(), open_blobs(url))


def holds(target: Path, sha256: str) -> bool:
    """Whether a file is there and has this checksum."""
    try:
        return digest(target.read_bytes()) == sha256
    except FileNotFoundError:
        return False


def copy_artifact(store: Store, artifact: Artifact, target: Path) -> None:
    """Put an artifact's bytes at a path outside the store, unless they are there already."""
    if not holds(target, artifact.sha256):
        write_atomically(target, store.read(artifact))
