"""Does a worker's memory grow with the scenes that it has made?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

import numpy as np

from benchmarks.batches.commands import start
from benchmarks.batches.photos import write_photos
from scene.types import Float64
from support import TESTS
from support.batches import children, write_manifest

SCENES, FITTED = 200, 150  # the last of them
BOXES = ([18, 70, 103, 124], [171, 96, 219, 144])  # of two of the small photo's objects
FIGURE = Path("docs/batch_memory.png")
ENDED = re.compile(r"\d+/\d+  ")  # a line of progress about a scene


def measure(folder: Path, scenes: int = SCENES, fitted: int = FITTED, figure: Path = FIGURE) -> str:
    """The resident memory of one worker that is never replaced, after each scene; with a figure."""
    _, names = write_photos(folder / "photos", scenes)
    lines = [{"photo": name, "box": [*BOXES], "fov": 55} for name in names]
    manifest = write_manifest(folder / "photos" / "all.jsonl", lines)
    process = start(
        manifest, folder / "out", "--store", folder / "store", "--workers", 1, "--recycle", 0,
        env={"PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    sizes_mb = np.array([*_sizes_mb(process)])
    slope, at_first = np.polyfit(np.arange(len(sizes_mb))[-fitted:], sizes_mb[-fitted:], 1)
    _draw(sizes_mb, slope, at_first, fitted, figure)
    return (
        f"{scenes} scenes of {len(BOXES)} objects, profile `lite`, one worker that is not "
        f"replaced: {sizes_mb[0]:.0f} MB after the first scene, {sizes_mb[-1]:.0f} MB after the "
        f"last; over the last {fitted} {slope:+.3f} MB a scene by least squares."
    )


def _sizes_mb(process: Popen[str]) -> Iterator[float]:
    """The worker's resident memory whenever a scene has ended. Raises RuntimeError if any fails."""
    assert process.stdout is not None and process.stderr is not None
    messages = []
    with ThreadPoolExecutor(1) as reader:
        reader.submit(process.stdout.read)  # else the batch waits for somebody to read it
        for line in process.stderr:
            messages.append(line)
            if ENDED.match(line):
                yield from (_resident_mb(worker) for worker in children(process.pid))
    if process.wait():
        raise RuntimeError("".join(messages))


def _resident_mb(process: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def _draw(sizes_mb: Float64, slope: float, at_first: float, fitted: int, figure: Path) -> None:
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    last = np.arange(len(sizes_mb))[-fitted:]
    drawn, axis = pyplot.subplots(figsize=(7, 3))
    axis.plot(np.arange(len(sizes_mb)) + 1, sizes_mb, linewidth=1)
    axis.plot(last + 1, at_first + slope * last, linestyle=":", color="black")
    axis.set_ylim(0, 1.2 * float(sizes_mb.max()))
    axis.set_xlabel("scenes that the worker has made")
    axis.set_ylabel("resident memory, MB")
    axis.set_title(f"{slope:+.3f} MB a scene over the last {len(last)}")
    drawn.tight_layout()
    drawn.savefig(figure, dpi=80, metadata={"Software": None})
    pyplot.close(drawn)
