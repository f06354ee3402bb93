"""Where workers run: each has a GPU of its own, or an equal part of the machine's cores."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from scene.cores import VARIABLE, usable_cores
from scene.errors import CannotRun

Place = Mapping[str, str]  # the environment variables that are a worker's own
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = (VARIABLE, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
QUERY = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
LOCKS = f"photoscene-gpus-{os.getuid()}"  # the folder of lock files, in the one for temporary files


@contextlib.contextmanager
def worker_places(
    workers: int, device: str, environment: Mapping[str, str]
) -> Iterator[list[Place]]:
    """The places of at most so many workers, theirs while inside.

    device: "cpu", "cuda" for any of this machine's GPUs, "cuda:1" for one; environment: this
    process's. A GPU has one process: its lock file keeps other batches of this user from it. Raises
    CannotRun where none is free.
    """
    if device == "cpu":
        yield [cpu_place(workers, environment)] * workers
        return
    with contextlib.ExitStack() as held:
        ids = _asked_gpus(device, environment)
        free = itertools.islice((id for id in ids if held.enter_context(_locked(id))), workers)
        places: list[Place] = [{VISIBLE: id, **cpu_place(len(ids), environment)} for id in free]
        if not places:
            raise CannotRun(
                f"other batches have {', '.join(ids)}: wait for them, or use --device cpu"
            )
        yield places


def cpu_place(workers: int, environment: Mapping[str, str]) -> Place:
    """An equal part of the cores that this process may use, unless variables say otherwise."""
    equal = str(max(1, usable_cores() // workers))
    return {name: environment.get(name, equal) for name in THREADS} | {VARIABLE: equal}


def _asked_gpus(device: str, environment: Mapping[str, str]) -> list[str]:
    """The ids of the GPUs that a device's name means, as CUDA_VISIBLE_DEVICES takes them."""
    listed = environment.get(VISIBLE)
    ids = [id.strip() for id in listed.split(",") if id.strip()] if listed else _all_gpus()
    _, _, number = device.partition(":")
    if not number:
        return ids
    if not number.isdecimal() or int(number) >= len(ids):
        raise CannotRun(f"--device {device}: this machine shows {len(ids)} GPUs")
    return [ids[int(number)]]


def _all_gpus() -> list[str]:
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ["0"]  # the driver's tool is missing; CUDA itself found a device
    return done.stdout.split() or ["0"]


@contextlib.contextmanager
def _locked(id: str) -> Iterator[bool]:
    """Hold a GPU's lock file while inside; False where another process does."""
    folder = Path(tempfile.gettempdir()) / LOCKS
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / re.sub(r"[^\w-]", "_", id)).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held
