"""Workers are killed at random moments, and the Prefect server three times: is anything lost?"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.batches.cluster import POOL, Cluster, cluster
from benchmarks.batches.commands import computed_twice, digests, finish, run, start
from benchmarks.batches.photos import with_backends, write_batch
from support.batches import children, descendants

SCENES, KILLS = 100, 30
SHORTEST_S, LONGEST_S = 0.3, 4.0  # between two kills
STEP_S = 0.6
# By a pool: a run takes some ten seconds to begin.
SHORTEST_POOL_S, LONGEST_POOL_S, RESTART_S = 3.0, 12.0, 2.0
SHARD, SERVER_KILLS = 10, 3
ROLES = {b"photoscene.batch.worker": "worker processes", b"batch_shard": "shard processes",
         b"prefect.engine": "flow runs", b"start": "pool workers"}  # fmt: skip


def measure(folder: Path, scenes: int = SCENES, kills: int = KILLS) -> str:
    """A batch whose workers are killed, beside one that nobody disturbs."""
    env = with_backends(folder / "backends")
    manifest = write_batch(folder, scenes, lambda i: [f"generate.seconds={STEP_S}"])
    undisturbed = run(manifest, folder / "calm", "--store", folder / "calm_store",
                      "--workers", 2, env=env)  # fmt: skip
    began = time.monotonic()
    process = start(manifest, folder / "out", "--store", folder / "store", "--workers", 2, env=env)
    killed = kill_at_random(lambda: children(process.pid), kills, lambda: process.poll() is None)
    disturbed = finish(process, began)
    return report(folder, killed, disturbed.counts["done"], undisturbed.counts["done"], scenes)


def measure_pool(folder: Path, scenes: int = SCENES, kills: int = KILLS) -> str:
    """The same by a work pool: also its workers, their runs and three times the server are killed.

    Whoever keeps servers and workers alive (systemd, say) starts them again after RESTART_S.
    """
    env = with_backends(folder / "backends")
    manifest = write_batch(folder, scenes, lambda i: [f"generate.seconds={STEP_S}"])
    calm = run(manifest, folder / "calm", "--store", folder / "calm_store",
               "--workers", 2, env=env)  # fmt: skip
    with cluster(folder / "cluster", env) as made:
        began = time.monotonic()
        process = start(manifest, folder / "out", "--store", folder / "store", "--pool", POOL,
                        "--shard-size", SHARD, env=made.client_env)  # fmt: skip
        kept = threading.Thread(target=_keep_alive, args=(made, process))
        kept.start()
        killed: Counter[str] = Counter()
        chance = random.Random(0)
        for number in range(1, kills + 1):
            time.sleep(chance.uniform(SHORTEST_POOL_S, LONGEST_POOL_S))
            if process.poll() is not None:
                break
            if number % (kills // SERVER_KILLS) == 0:
                made.kill("server")
                killed["server"] += 1
                continue
            names = [name for name in made.processes if name != "server"]
            pids = [pid for name in names for pid in descendants(made.processes[name].pid)]
            pid = chance.choice(pids)
            killed[_role(pid)] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        disturbed = finish(process, began)
        kept.join()
    whom = ", ".join(f"{count} {role}" for role, count in killed.items())
    done = disturbed.counts["done"]
    return f"By a pool with two workers; killed: {whom}.\n\n" + report(
        folder, killed.total() - killed["server"], done, calm.counts["done"], scenes
    )


def _keep_alive(made: Cluster, process: subprocess.Popen[str]) -> None:
    """Start again what died, until the batch has ended."""
    while process.poll() is None:
        time.sleep(RESTART_S)
        for name, each in [*made.processes.items()]:
            if each.poll() is not None:
                made.start_server() if name == "server" else made.start_worker(name)


def _role(pid: int) -> str:
    """What a process is, by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    for part, role in ROLES.items():
        if any(part in word for word in words):
            return role
    return "others"


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
