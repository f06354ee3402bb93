"""Two writers of one store that are killed at random: is a record ever without its artifacts, or
wrong?

Each writer is a process. It looks keys up, computes what is missing under a claim, and archives all
of them, as a batch does. Claims lapse within a second, so that writers often compute the same.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.store.server import FORK, server_process
from scene.archives import damaged_archives, keep, recall
from scene.expiring_claims import ExpiringClaims
from scene.keys import digest
from scene.manifests import Manifest
from scene.object_blobs import ObjectBlobs, library, open_blobs
from scene.store import Store

KEYS_AT_ONCE, PARTS, PART_BYTES = 4, 2, 20_000
ROUNDS_OF_KEYS = 2  # rounds that go on with the keys of the one before
LAPSE_S, RENEWAL_S = 1.0, 0.3
MAX_LIFE_S = 0.4  # of a writer that is killed
PART_S = 0.01  # what it takes to compute an artifact
PLACES = ("file", "file by obstore", "s3")


@dataclass(frozen=True)
class Outcome:
    """What became of one place: killed: writers; computed: results, by all; wrong: one line for
    each finding."""

    killed: int
    keys: int
    computed: int
    wrong: list[str]


def kill_writers(place: str, kills: int, folder: Path, seed: int = 0) -> Outcome:
    """Kill so many writers of one place, two of which are at work at any time.

    After each kill the other one ends its work. What is there then is checked from an empty folder.
    """
    chance, killed, done, wrong = random.Random(seed), 0, 0, []
    with _server(place, folder) as where:
        if place != "file":
            library()  # imported once; used by children only
        while killed < kills:
            keys = _keys(done // ROUNDS_OF_KEYS)
            log = folder / "computed"
            writers = [
                FORK.Process(target=_write, args=(where, folder / f"kept_{i}", keys, seed, log))
                for i, seed in enumerate(chance.sample(range(1_000_000), 2))
            ]
            for writer in writers:
                writer.start()
            for writer in writers[: chance.choice((1, 1, 2))]:
                time.sleep(chance.uniform(0, MAX_LIFE_S))
                if writer.is_alive():
                    os.kill(writer.pid, signal.SIGKILL)
                    killed += 1
            for writer in writers:
                writer.join()
            wrong += [f"round {done}: {line}" for line in _check(where, folder, keys)]
            failed = [w for w in writers if w.exitcode not in (0, -signal.SIGKILL)]
            wrong += [f"round {done}: a writer failed" for _ in failed]
            done += 1
    computed = len((folder / "computed").read_text().splitlines())
    return Outcome(killed, KEYS_AT_ONCE * -(-done // ROUNDS_OF_KEYS), computed, wrong)


def kills_table(kills: int, folder: Path) -> str:
    """A row for each kind of place."""
    rows = []
    for place in PLACES:
        found = kill_writers(place, kills, folder / place.replace(" ", "_"))
        rows.append(
            f"| {place} | {found.killed} | {found.keys} | {found.computed} | {len(found.wrong)} |"
        )
        print(*found.wrong, sep="\n")
    head = "| place | writers killed | keys | results computed | records that lack or are wrong |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


@contextmanager
def _server(place: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The kind of a place and its address; a server of its own where it needs one."""
    folder.mkdir(parents=True)
    if place != "s3":
        yield place, str(folder / "store")
        return
    with server_process() as server:
        yield place, server.url


def _open(where: tuple[str, str], kept: Path) -> Store:
    place, address = where
    if place == "file":
        return Store(Path(address))
    if place == "s3":
        store = Store(kept, open_blobs(address))
    else:
        from obstore.store import LocalStore  # pyright: ignore[reportMissingImports]

        store = Store(kept, ObjectBlobs(address, LocalStore(address, mkdir=True)))
    assert store.remote is not None
    vars(store)["_claims"] = ExpiringClaims(store.remote, LAPSE_S, RENEWAL_S)
    return store


def _keys(number: int) -> list[str]:
    return [digest(f"{number}/{i}".encode()) for i in range(KEYS_AT_ONCE)]


def _write(where: tuple[str, str], kept: Path, keys: list[str], seed: int, log: Path) -> None:
    """Make all results that are missing, in an order of its own, and archive them."""
    store = _open(where, kept)
    (known,) = recall(store, [keys[0]])
    found: dict[str, Manifest] = {}
    for key in random.Random(seed).sample(keys, len(keys)):
        while key not in found:
            manifest = store.lookup(key)
            if manifest is not None:
                found[key] = manifest
                continue
            with store.claim(key, wait=False) as claimed:
                if claimed and store.lookup(key) is None:
                    found[key] = _publish(store, key, seed)
                    with log.open("a") as file:
                        file.write(f"{key}\n")
            if not claimed:
                time.sleep(0.05)
    keep(store, keys[0], found.values(), known)


def _publish(store: Store, key: str, seed: int) -> Manifest:
    """A result whose artifacts tell of what and by whom they are."""
    time.sleep(PARTS * PART_S)
    filler = random.Random(f"{key}{seed}").randbytes(PART_BYTES).hex()
    outputs = {
        str(part): store.save({"key": key, "writer": seed, "part": part, "filler": filler})
        for part in range(PARTS)
    }
    return store.publish(Manifest(key, "place", "scene", "a", "1", {}, "", seed, {}, outputs))


def _check(where: tuple[str, str], folder: Path, keys: list[str]) -> list[str]:
    """What is wrong, as a machine finds that has nothing of the store; in a process of its own."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_find_wrong, args=(where, folder / "fresh", keys, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return ["the check failed"]
    finally:
        process.join()
        shutil.rmtree(folder / "fresh", ignore_errors=True)


def _find_wrong(where: tuple[str, str], kept: Path, keys: list[str], pipe: Any) -> None:
    singly, archived = _open(where, kept / "singly"), _open(where, kept / "archived")
    wrong = [*singly.verify(), *damaged_archives(singly)]
    recall(archived, [keys[0]])
    by_key, again = singly.lookup_all(keys), archived.lookup_all(keys)
    if by_key != again:
        wrong.append("an archive has other results than the store")
    for key, manifest in by_key.items():
        if manifest is not None and not _is_right(key, manifest, singly):
            wrong.append(f"{key}: not its result")
        if manifest is None and singly.blobs.entry(f"results/{key[:2]}/{key}.json"):
            wrong.append(f"{key}: a record that nobody can use")
    pipe.send(wrong)


def _is_right(key: str, manifest: Manifest, store: Store) -> bool:
    parts: list[Mapping[str, Any]] = [store.load(a, dict) for a in manifest.outputs.values()]
    expected = [(key, manifest.seed, part) for part in range(PARTS)]
    return manifest.key == key and expected == [(p["key"], p["writer"], p["part"]) for p in parts]
