"""What does a scene cost beside its steps, and what does a batch that has nothing to do?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from benchmarks.batches.commands import run, step_seconds
from benchmarks.batches.photos import with_backends, write_batch

COUNTS = (100, 300, 1000)
MORE, SHARDS = 10_000, 20
MIB = 1 << 20


def orchestration(folder: Path, counts: tuple[int, ...] = COUNTS) -> str:
    """Seconds beside steps of trivial scenes in 20 shards, one after the other, on one core each
    for the supervisor and its worker."""
    env = with_backends(folder / "backends")
    rows = ["| scenes | wall | steps | beside steps, a scene |", "|---|---|---|---|"]
    beside = []
    for count in counts:
        at = folder / str(count)
        manifest = write_batch(at, count, lambda i: [])
        began = time.monotonic()
        for shard in range(1, SHARDS + 1):
            made = run(manifest, at / "out", "--store", at / "store", "--shard",
                       f"{shard}/{SHARDS}", env=env)  # fmt: skip
            assert made.status == 0, made.messages
        wall, steps = time.monotonic() - began, step_seconds(at / "out")
        beside.append(wall - steps)
        rows.append(f"| {count} | {wall:.0f} s | {steps:.0f} s | {beside[-1] / count:.3f} s |")
    slope, start = np.polyfit(counts, beside, 1)
    rows += ["", f"A line through them: {start:.0f} s and {slope:.3f} s a scene; for {MORE:,} "
             f"scenes {(start + slope * MORE) / MORE:.3f} s a scene."]  # fmt: skip
    return "\n".join(rows)


def cached(folder: Path, count: int = COUNTS[-1]) -> str:
    """The same command again, and again with the records gone but the store and folders there."""
    env = with_backends(folder / "backends")
    manifest = write_batch(folder, count, lambda i: [], masks="abc")
    options = ("--store", folder / "store", "--workers", os.cpu_count() or 1)
    first = run(manifest, folder / "out", *options, env=env)
    again = run(manifest, folder / "out", *options, env=env)
    assert first.status == again.status == 0, first.messages + again.messages
    page = folder / "out" / "index.html"
    return (
        f"{count} scenes of 3 objects, 2 workers: {first.seconds:.0f} s; the same command again: "
        f"{again.seconds:.1f} s. index.html has {page.stat().st_size / MIB:.1f} MiB."
    )
