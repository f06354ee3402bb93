"""How much memory a cleaning takes of a store with very many records: the place is made up as it is
listed, what is done with it is not."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.store.server import FORK
from scene.blobs import Entry, FolderBlobs
from scene.keys import digest
from scene.manifests import ARTIFACTS, RESULTS, Manifest, artifact_name, result_name, sealed
from scene.store import Store
from scene.types import Artifact
from scene.upkeep import Rules, clean, stats

AGE_S = 100 * 86400.0
OUTPUTS = 2  # artifacts of a record
MIB = 1 << 20


@dataclass(frozen=True)
class MadeUp(FolderBlobs):
    """A place with so many records, each of which names two artifacts."""

    count: int = 0

    def listed(self, below: str) -> Iterator[Entry]:
        """See `Blobs`."""
        written_s = time.time() - AGE_S
        for number in range(self.count):
            if below == RESULTS:
                yield Entry(result_name(_key(number)), 1000, written_s)
            elif below == ARTIFACTS:
                for artifact in _artifacts(number):
                    yield Entry(artifact_name(artifact), 50_000, written_s)

    def read(self, name: str) -> bytes:
        """See `Blobs`."""
        key = Path(name).stem
        outputs = {str(i): a for i, a in enumerate(_artifacts(int(key[-12:], 16)))}
        return sealed(Manifest(key, "place", "scene", "a", "1", {}, "", 0, {}, outputs))


def listing_table(records: int, folder: Path) -> str:
    """A row per command, each in a process of its own."""
    rows = ["| command | memory beside the start, MiB | seconds |", "|---|---|---|"]
    commands = {
        "`store stats`": stats_of,
        "`store gc --dry-run`": clean_of,
        "`store gc --older-than 30d --dry-run`": clean_old_of,
    }
    for name, command in commands.items():
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_measured, args=(command, records, folder, theirs))
        process.start()
        mib, seconds = ours.recv()
        process.join()
        rows.append(f"| {name} | {mib:.0f} | {seconds:.0f} |")
    return "\n".join([f"{records:,} records, {OUTPUTS * records:,} artifacts.", "", *rows])


def stats_of(store: Store) -> None:
    """Count."""
    stats(store)


def clean_of(store: Store) -> None:
    """Find what no record names."""
    clean(store, Rules(), dry_run=True)


def clean_old_of(store: Store) -> None:
    """Find what was unused for a month."""
    clean(store, Rules(older_than_s=30 * 86400), dry_run=True)


def _measured(command: Any, records: int, folder: Path, pipe: Any) -> None:
    before, began = _peak_mib(), time.monotonic()
    command(Store(folder, MadeUp(folder / "place", count=records)))
    pipe.send((_peak_mib() - before, time.monotonic() - began))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def _key(number: int) -> str:
    return digest(f"{number}".encode())[:52] + f"{number:012x}"


def _artifacts(number: int) -> list[Artifact]:
    return [Artifact("json", digest(f"{number}/{i}".encode()), ".json") for i in range(OUTPUTS)]
