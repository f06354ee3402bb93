"""Workers are killed at random moments, and the Prefect server three times: is anything lost?"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.batches.commands import computed_twice, digests, finish, run, start, workers_of
from benchmarks.batches.photos import with_backends, write_batch

SCENES, KILLS = 100, 30
SHORTEST_S, LONGEST_S = 0.3, 4.0  # between two kills
STEP_S = 0.6


def measure(folder: Path, scenes: int = SCENES, kills: int = KILLS) -> str:
    """A batch whose workers are killed, beside one that nobody disturbs."""
    env = with_backends(folder / "backends")
    manifest = write_batch(folder, scenes, lambda i: [f"generate.seconds={STEP_S}"])
    undisturbed = run(manifest, folder / "calm", "--store", folder / "calm_store",
                      "--workers", 2, env=env)  # fmt: skip
    began = time.monotonic()
    process = start(manifest, folder / "out", "--store", folder / "store", "--workers", 2, env=env)
    killed = kill_at_random(lambda: workers_of(process), kills, lambda: process.poll() is None)
    disturbed = finish(process, began)
    return report(folder, killed, disturbed.counts["done"], undisturbed.counts["done"], scenes)


def kill_at_random(found: Callable[[], list[int]], kills: int, goes_on: Callable[[], bool]) -> int:
    """SIGKILL one of the processes now and then while the batch goes on; how many were."""
    chance, killed = random.Random(0), 0
    while killed < kills and goes_on():
        time.sleep(chance.uniform(SHORTEST_S, LONGEST_S))
        pids = found()
        if pids:
            os.kill(chance.choice(pids), signal.SIGKILL)
            killed += 1
    return killed


def report(folder: Path, killed: int, done: int, undisturbed: int, scenes: int) -> str:
    """What came of both batches."""
    equal = digests(folder / "out") == digests(folder / "calm")
    return (
        f"{killed} workers killed by SIGKILL at random moments: {done} of {scenes} scenes done "
        f"({undisturbed} undisturbed), {computed_twice(folder / 'out')} published steps computed "
        f"again, bytes {'equal' if equal else 'NOT EQUAL'} to those of the undisturbed batch."
    )
