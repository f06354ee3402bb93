"""Does a second worker halve the time of a batch?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.batches.commands import computed_twice, digests, run, step_seconds
from benchmarks.batches.photos import with_backends, write_batch

SCENES = 100
WAIT_S = 1.5
TARGETS = {"waits": 0.55, "computes": 0.6}


def measure(folder: Path, scenes: int = SCENES) -> str:
    """The table of both kinds of work, with one worker and two."""
    env = with_backends(folder / "backends")
    kinds = {
        "waits": write_batch(
            folder / "waits", scenes, lambda i: [f"generate.seconds={WAIT_S}"], masks="a"
        ),
        "computes": write_batch(
            folder / "computes", scenes, lambda i: [], masks="a", troubled=False
        ),
    }  # fmt: skip
    rows = [
        "| work | 1 worker | 2 workers | ratio | at most | beside steps | computed twice |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, manifest in kinds.items():
        at = manifest.parents[1]
        store = ("--store", at / "store_1"), ("--store", at / "store_2")
        # One process on one core of its own, each.
        one = run(manifest, at / "one", *store[0], env=env, prefix=("taskset", "-c", "0"))
        two = run(manifest, at / "two", *store[1], "--workers", 2, env=env)
        assert one.counts["done"] == two.counts["done"] == scenes, (one.messages, two.messages)
        assert digests(at / "one") == digests(at / "two")
        beside = (one.seconds - step_seconds(at / "one")) / scenes
        rows.append(
            f"| {kind} | {one.seconds:.0f} s | {two.seconds:.0f} s | "
            f"{two.seconds / one.seconds:.2f} | {TARGETS[kind]} | {beside:.2f} s a scene | "
            f"{computed_twice(at / 'one') + computed_twice(at / 'two')} |"
        )
    return "\n".join(rows)
