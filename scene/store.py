"""The content-addressed store: artifacts named by their sha256, results found by their key.

    ROOT/artifacts/ab/abcdef....png     a file, named by the sha256 of its bytes
    ROOT/results/12/123456....json      a manifest: which artifacts a stage call with this key made
    ROOT/claims                         locks: which keys are being computed now

Both are published by an atomic rename, artifacts before the manifest that names them, so a process
may die at any moment. Nothing in the store holds a path: it may be moved, copied or shared.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scene.claims import claims_at
from scene.errors import CannotRun
from scene.files import CODECS
from scene.keys import canonical_json, digest
from scene.types import Artifact

T = TypeVar("T")
SHA256, SUFFIX = re.compile("[0-9a-f]{64}"), re.compile(r"(\.[a-z0-9]{1,8})?")
logger = logging.getLogger(__name__)


class DamagedArtifact(CannotRun):
    """An artifact is missing from the store or its bytes are not what its name says."""


@dataclass(frozen=True)
class Manifest:
    """What a stage call read, how it was set, and the artifacts it made; `seconds` of its run."""

    key: str
    stage: str
    subject: str
    backend: str
    version: str
    settings: Mapping[str, Any]
    weights: str
    seed: int
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Artifact]
    seconds: float = 0.0


@dataclass(frozen=True)
class Store:
    """A folder of artifacts and manifests. `checked` remembers which files were verified."""

    root: Path
    checked: dict[Artifact, tuple[int, int]] = field(default_factory=dict, compare=False)

    @property
    def address(self) -> str:
        """What `open_store` takes, in another process too."""
        return str(self.root)

    def save(self, value: Any) -> Artifact:
        """Write a value as an ordinary file and return its name; saving it twice writes it once."""
        codec = CODECS.get(type(value))
        if codec is None:
            raise TypeError(f"no file format for {type(value).__name__}")
        return self.save_bytes(codec.encode(value), codec.kind, codec.suffix)

    def save_bytes(self, data: bytes, kind: str, suffix: str) -> Artifact:
        """Write bytes under their own sha256."""
        artifact = Artifact(kind, digest(data), suffix)
        if not self._intact(artifact):
            write_atomically(self.path(artifact), data)
        return artifact

    def load(self, artifact: Artifact, as_type: type[T]) -> T:
        """Read an artifact back; DamagedArtifact when it is missing or its checksum differs."""
        codec = CODECS[as_type]
        if artifact.kind != codec.kind:
            raise TypeError(f"artifact is a {artifact.kind}, expected a {codec.kind}")
        return codec.decode(self.read(artifact))

    def read(self, artifact: Artifact) -> bytes:
        """The verified bytes of an artifact."""
        try:
            data = self.path(artifact).read_bytes()
        except FileNotFoundError:
            raise DamagedArtifact(
                f"{self.path(artifact)} is missing; run again to remake it"
            ) from None
        if digest(data) != artifact.sha256:
            raise DamagedArtifact(f"{self.path(artifact)} is damaged; run again to remake it")
        return data

    def path(self, artifact: Artifact) -> Path:
        """Where an artifact lies now. Paths are never stored."""
        name = artifact.sha256
        return self.root / "artifacts" / name[:2] / f"{name}{artifact.suffix}"

    def publish(self, manifest: Manifest) -> None:
        """Make a result findable by its key; its artifacts must have been saved before."""
        write_atomically(self._manifest_path(manifest.key), _sealed(asdict(manifest)))

    def lookup(self, key: str) -> Manifest | None:
        """The result of a key, or None when it is absent or any of its artifacts is damaged."""
        path = self._manifest_path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        manifest = _unsealed(data)
        if manifest is None or manifest.key != key:
            logger.warning("result %s is damaged and will be computed again", key[:12])
            return None
        for name, artifact in manifest.outputs.items():
            if not self._intact(artifact):
                logger.warning(
                    "%s of %s %s is missing or damaged and will be computed again",
                    name, manifest.stage, manifest.subject,
                )  # fmt: skip
                return None
        return manifest

    def claim(self, key: str, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
        """Keep others from computing the result of a key while inside; see `scene/claims.py`."""
        return claims_at(self.root.absolute() / "claims").claim(key, wait)

    def verify(self) -> list[str]:
        """Re-read every file and list the damaged ones, one line each; an intact store gives []."""
        damaged = []
        for path in _files(self.root / "artifacts"):
            if digest(path.read_bytes()) != path.name.split(".")[0]:
                damaged.append(f"{path}: checksum differs")
        for path in _files(self.root / "results"):
            manifest = _unsealed(path.read_bytes())
            if manifest is None:
                damaged.append(f"{path}: not a readable result")
                continue
            damaged += [
                f"{path}: {name} {artifact.sha256[:12]} is missing"
                for name, artifact in manifest.outputs.items()
                if not self.path(artifact).exists()
            ]
        return damaged

    def _intact(self, artifact: Artifact) -> bool:
        """Whether the file is there with the right bytes; re-read only if it changed since."""
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

    def _manifest_path(self, key: str) -> Path:
        return self.root / "results" / key[:2] / f"{key}.json"


def open_store(address: str) -> Store:
    """The store at an address, today the path of a folder."""
    return Store(Path(address))


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


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _writing_path(target)
    try:
        write_bytes(temporary, data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # still there only if something failed


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file where nobody reads yet; an error names the folder."""
    try:
        path.write_bytes(data)
    except OSError as error:
        error.filename = error.filename or str(path.parent)  # a full disk does not say which
        raise


def _writing_path(target: Path) -> Path:
    return target.parent / f".writing-{uuid.uuid4().hex}"


def artifact_from_json(value: Mapping[str, str]) -> Artifact:
    """The inverse of `dataclasses.asdict` for an artifact; TypeError where it could name a path."""
    if not (SHA256.fullmatch(value["sha256"]) and SUFFIX.fullmatch(value["suffix"])):
        raise TypeError(f"{value['sha256']!r} with suffix {value['suffix']!r} is no artifact")
    return Artifact(value["kind"], value["sha256"], value["suffix"])


def manifest_from_json(value: Mapping[str, Any]) -> Manifest:
    """The inverse of `dataclasses.asdict` for a manifest."""
    named = {
        group: {name: artifact_from_json(a) for name, a in value[group].items()}
        for group in ("inputs", "outputs")
    }
    return Manifest(**{**value, **named})


def _sealed(body: dict[str, Any]) -> bytes:
    """JSON text with a checksum over its body, so that a flipped byte is noticed."""
    seal = digest(canonical_json(body).encode())
    return (json.dumps({"sha256": seal, "result": body}, indent=1, sort_keys=True) + "\n").encode()


def _unsealed(data: bytes) -> Manifest | None:
    try:
        text = json.loads(data)
        if digest(canonical_json(text["result"]).encode()) != text["sha256"]:
            return None
        return manifest_from_json(text["result"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    """All finished files below a folder, in order."""
    if folder.exists():
        yield from sorted(p for p in folder.glob("*/*") if not p.name.startswith("."))
