"""What does one object cost a generate backend? Run as a process of its own, so that memory counts.

`python -m benchmarks.lite.cost BACKEND CUTOUT` prints seconds and the process's peak memory as
JSON.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from scene.images import decode_cutout
from stages import generate
from stages.crops import cutout_crop
from stages.devices import ModelPool
from stages.settings import make_settings

FOV_DEG = 30.0
ROUNDS = 3


def main() -> None:
    """Generate one cut-out a few times."""
    backend, cutout = sys.argv[1], Path(sys.argv[2])
    crop = cutout_crop(decode_cutout(cutout.read_bytes()), math.radians(FOV_DEG))
    crop = replace(crop, depth=np.ones_like(crop.depth))  # the relief asks for some
    settings = make_settings(generate.STAGE, backend, {})
    seconds = []
    with ModelPool().borrow(generate.STAGE, backend, settings) as generator:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            generate.run(generator, crop, 0)
            seconds.append(time.perf_counter() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": min(seconds), "peak_mb": peak_mb}))


def cost_of(backend: str, cutout: Path) -> tuple[float, float]:
    """Seconds (the least of a few rounds) and peak memory in MB, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.lite.cost", backend, str(cutout)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["peak_mb"]


if __name__ == "__main__":
    main()
