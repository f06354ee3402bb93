"""Two batches over the same photos at once, on one store: what was computed twice, and is the store
whole?

Each has its own home, Prefect home and local cache, as on two machines. The server answers well,
lists late, or loses and doubles requests at random.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.batches.commands import digests, finish, start, steps
from benchmarks.batches.photos import write_batch
from benchmarks.store.server import ServerProcess, server_process
from scene.archives import damaged_archives
from scene.object_blobs import open_blobs
from scene.store import Store

SETTINGS = ["generate.backend=relief", "generate.grid=8", "complete.backend=inpaint"]
FAULTS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "listings lag by 30 s": {"lag_s": 30.0},
    "one answer in ten is lost": {"lost": 0.1},
    "one request in ten arrives twice": {"doubled": 0.1},
    "both": {"lost": 0.05, "doubled": 0.05},
}


def together_table(
    scenes: int, folder: Path, kinds: Mapping[str, Mapping[str, float]] = FAULTS
) -> str:
    """A row for each kind of fault. RuntimeError where batches differ or the store is damaged."""
    manifest = write_batch(folder, scenes, lambda i: SETTINGS, masks="ab", troubled=False)
    rows = [
        "| faults of the server | steps of both batches | computed | of them twice | requests |",
        "|---|---|---|---|---|",
    ]
    for number, (name, faults) in enumerate(kinds.items()):
        with server_process() as server:
            server.set(**faults)
            done, twice = _at_once(manifest, folder / str(number), server)
            count = len(server.requests())
            server.set(lost=0.0, doubled=0.0)
            _check(folder / str(number), server)
        computed = sum(result == "computed" for *_, result in done)
        rows.append(f"| {name} | {len(done)} | {computed} | {twice} | {count} |")
    return "\n".join(rows)


def _at_once(
    manifest: Path, folder: Path, server: ServerProcess
) -> tuple[list[tuple[str, str, str, str]], int]:
    """All steps of both batches, with what came of them; how many both computed."""
    began, processes = time.monotonic(), []
    for name in ("one", "other"):
        home = folder / name / "home"
        home.mkdir(parents=True)
        env = {**server.environment, "HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
        output = folder / name / "out"
        processes.append(start(manifest, output, "--store", server.url, "--workers", 1, env=env))
    for process in processes:
        made = finish(process, began)
        if made.status != 0:
            raise RuntimeError(f"{made.counts}: {made.messages}")
    done = [
        (s["scene"], s["stage"], s["subject"], s["result"])
        for name in ("one", "other")
        for s in steps(folder / name / "out")
    ]
    by_step = Counter((scene, stage, o) for scene, stage, o, result in done if result == "computed")
    return done, sum(count - 1 for count in by_step.values())


def _check(folder: Path, server: ServerProcess) -> None:
    store = Store(folder / "fresh", open_blobs(server.url))
    damaged = [*store.verify(), *damaged_archives(store)]
    one, other = (digests(folder / name / "out") for name in ("one", "other"))
    if damaged or not one or one != other:
        raise RuntimeError(f"damaged: {damaged}; the same scenes: {one == other}")
