"""What a batch costs that was made before, on a machine that has nothing of the store.

The server answers 20 ms late. Its own time is that of the same requests without a batch, as many at
once as two workers make. What the batch does beside requests it does with a warm cache, too.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.batches.commands import Finished, run
from benchmarks.batches.photos import write_batch
from benchmarks.store.server import FORK, ServerProcess, server_process
from benchmarks.store.together import SETTINGS
from scene.archives import ARCHIVES
from scene.object_blobs import open_blobs
from scene.store import Store

LATENCY_S = 0.02
WORKERS = 2
METHODS = ("GET", "HEAD", "PUT", "DELETE")


def cached_table(scenes: int, folder: Path) -> str:
    """Requests and seconds: with nothing here, with the same and no archives, and with all here."""
    manifest = write_batch(folder, scenes, lambda i: SETTINGS, masks="abc", troubled=False)
    with server_process() as server:
        _batch(manifest, folder, "first", server)
        server.set(latency_s=LATENCY_S)
        cold = _batch(manifest, folder, "other", server, output="nothing is here")
        asked = server.requests()
        repeated_s = _repeated(folder / "alone", server, asked)
        rows = [_row("nothing is here", scenes, asked, cold, repeated_s)]
        warm = _batch(manifest, folder, "first", server, output="all is here")
        rows.append(_row("all is here", scenes, server.requests(), warm, None))
        _remove_archives(folder / "tidying", server)
        made = _batch(manifest, folder, "third", server, output="no archives")
        rows.append(_row("nothing is here, no archives", scenes, server.requests(), made, None))
    more_s = cold.seconds - warm.seconds
    return "\n".join([
        f"| {scenes} scenes of 3 objects, {WORKERS} workers | requests a scene | of them "
        f"{', '.join(METHODS)} | batch, s | its requests alone, s |",
        "|---|---|---|---|---|", *rows, "",
        f"With nothing here the batch takes {more_s:.1f} s longer than with all here: "
        f"{more_s / repeated_s:.2f} times what the server needs for these requests alone.",
    ])  # fmt: skip


def _row(
    name: str,
    scenes: int,
    requests: list[tuple[str, str]],
    made: Finished,
    alike_s: float | None,
) -> str:
    counts = Counter(method for method, _ in requests)
    each = ", ".join(f"{counts[method] / scenes:.1f}" for method in METHODS)
    alone = "" if alike_s is None else f"{alike_s:.1f}"
    return f"| {name} | {len(requests) / scenes:.1f} | {each} | {made.seconds:.1f} | {alone} |"


def _batch(
    manifest: Path, folder: Path, home: str, server: ServerProcess, output: str = "first out"
) -> Finished:
    """Run a batch on the machine with this home. RuntimeError where it computed what there is."""
    (folder / home).mkdir(exist_ok=True)
    server.set()
    env = {**server.environment, "HOME": str(folder / home)}
    options = ("--store", server.url, "--workers", WORKERS)
    made = run(manifest, folder / output, *options, env=env)
    computed = sum(scene["computed"] for scene in made.summary["scenes"])
    if made.status != 0 or (computed and output != "first out"):
        raise RuntimeError(f"status {made.status}, {computed} steps computed: {made.messages}")
    return made


def _repeated(folder: Path, server: ServerProcess, requests: list[tuple[str, str]]) -> float:
    """Seconds that the requests that read take without a batch."""
    start = f"/{server.url.removeprefix('s3://')}/"
    reads = [(m, p.removeprefix(start)) for m, p in requests if m in ("GET", "HEAD") and start in p]
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_repeat, args=(folder, server.url, reads, theirs))
    process.start()
    seconds = ours.recv()
    process.join()
    return seconds


def _repeat(folder: Path, url: str, reads: list[tuple[str, str]], pipe: Any) -> None:
    store = Store(folder, open_blobs(url))
    store.blobs.entry("warmed up")

    def repeat(request: tuple[str, str]) -> None:
        method, name = request
        if method == "HEAD":
            store.blobs.entry(name)
            return
        with suppress(FileNotFoundError):
            store.blobs.read(name)

    began = time.monotonic()
    list(store.each(repeat, reads))
    pipe.send(time.monotonic() - began)


def _remove_archives(folder: Path, server: ServerProcess) -> None:
    process = FORK.Process(target=_remove, args=(folder, server.url))
    process.start()
    process.join()


def _remove(folder: Path, url: str) -> None:
    store = Store(folder, open_blobs(url))
    for entry in list(store.blobs.listed(ARCHIVES)):
        store.blobs.remove(entry.name)
