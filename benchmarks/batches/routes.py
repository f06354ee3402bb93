"""One batch by every way to run it: are the scenes the same, and how long does each take?"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.batches.cluster import POOL, cluster
from benchmarks.batches.commands import PHOTOSCENE, computed_twice, digests, run
from benchmarks.batches.photos import with_backends, write_batch

SCENES, SHARDS = 100, 4
ROOT = Path(__file__).parents[2]
SBATCH = ROOT / "configs" / "slurm" / "batch.sbatch"

Route = Callable[[Path, Path], None]


def measure(folder: Path, scenes: int = SCENES) -> str:
    """The table of routes."""
    env = with_backends(folder / "backends")
    manifest = write_batch(folder, scenes, lambda i: [], masks="ab", troubled=False)
    with cluster(folder / "cluster", env) as made:
        routes: dict[str, Route] = {
            "`--workers 2`": lambda out, store: whole(manifest, out, store, env, "--workers", "2"),
            f"`--shard I/{SHARDS}`, one after the other": lambda out, store: in_shards(
                manifest, out, store, env
            ),
            "`--pool`, two workers": lambda out, store: whole(
                manifest, out, store, made.client_env, "--pool", POOL,
                "--shard-size", str(-(-scenes // SHARDS)),
            ),
            "Slurm array": lambda out, store: by_slurm(manifest, out, store, env),
        }  # fmt: skip
        if "SLURM_CONF" not in os.environ and not Path("/etc/slurm/slurm.conf").exists():
            del routes["Slurm array"]
        rows = ["| way | seconds | scenes | computed twice | files like the first's |",
                "|---|---|---|---|---|"]  # fmt: skip
        expected: Mapping[str, str] = {}
        for number, (route, make) in enumerate(routes.items()):
            out, began = folder / f"out_{number}", time.monotonic()
            make(out, folder / f"store_{number}")
            seconds, found = time.monotonic() - began, digests(out)
            expected = expected or found
            same = sum(found.get(name) == sha256 for name, sha256 in expected.items())
            count = len(list(out.glob("*/scene.glb")))
            rows.append(
                f"| {route} | {seconds:.0f} | {count} | {computed_twice(out)} | "
                f"{same} of {len(expected)} |"
            )
    return "\n".join(rows)


def whole(manifest: Path, out: Path, store: Path, env: Mapping[str, str], *options: str) -> None:
    """By one command."""
    made = run(manifest, out, "--store", store, *options, env=env)
    assert made.status == 0, made.messages


def in_shards(manifest: Path, out: Path, store: Path, env: Mapping[str, str]) -> None:
    """By commands that know nothing of one another."""
    for shard in range(1, SHARDS + 1):
        whole(manifest, out, store, env, "--shard", f"{shard}/{SHARDS}")


def by_slurm(manifest: Path, out: Path, store: Path, env: Mapping[str, str]) -> None:
    """By an array of jobs; waits for the last."""
    subprocess.run(
        ["sbatch", "--wait", f"--array=1-{SHARDS}", "--export=ALL",
         str(SBATCH), str(manifest), str(out), "--store", str(store)],
        env={**os.environ, **env, "PATH": f"{Path(PHOTOSCENE).parent}:{os.environ['PATH']}"},
        check=True, cwd=out.parent,
    )  # fmt: skip
