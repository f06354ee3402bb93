"""`PYTHONPATH=tests python -m benchmarks.repeats`: how many different results has the same work?

NAF at 256 pixels and Pixal3D's whole cascade with tiny random weights, again and again, on one and
on two threads; in every fifth run other processes are busy on all cores. A result counts as
another where any of its bits differs. Writes a section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.narrow import table
from benchmarks.report import replace_section

DOCUMENT, TITLE = Path("docs/benchmarks.md"), "The same work again and again"
THREADS = (1, 2)
NAF_RUNS, CASCADE_RUNS = 500, 200
SIDE_PX, FEATURES_SIDE, FEATURES = 256, 16, 64
Work = Callable[[], list[torch.Tensor]]


def main() -> None:
    """Repeat both and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--naf", type=int, default=NAF_RUNS)
    parser.add_argument("--cascade", type=int, default=CASCADE_RUNS)
    parser.add_argument("--dry", action="store_true", help="print only")
    asked = parser.parse_args()
    rows = []
    for name, prepare, runs in (
        (f"NAF, {SIDE_PX} px", naf_work, asked.naf), ("tiny cascade", cascade_work, asked.cascade)
    ):  # fmt: skip
        for threads in THREADS:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                counts, largest = process.submit(repeated, prepare, runs, threads).result()
            again = f"{runs - max(counts.values())} of {runs}"
            rows.append([name, str(threads), str(runs), str(len(counts)), again, f"{largest:.1e}"])
            print(rows[-1], flush=True)
    heads = ["work", "threads", "runs", "different results", "not as most", "largest difference"]
    if not asked.dry:
        replace_section(DOCUMENT, TITLE, table(heads, rows))


def repeated(prepare: Callable[[], Work], runs: int, threads: int) -> tuple[Counter[str], float]:
    """How often each result came, by its digest, and the largest difference from the first."""
    torch.set_num_threads(threads)
    work = prepare()
    first, counts, largest = work(), Counter[str](), 0.0
    counts[_digest(first)] += 1
    for number in range(1, runs):
        with _company(number % 5 == 4):
            found = work()
        counts[_digest(found)] += 1
        largest = max([largest, *map(_difference, found, first)])
    return counts, largest


def _difference(found: torch.Tensor, first: torch.Tensor) -> float:
    if found.shape != first.shape:
        return float("inf")
    return (found.double() - first.double()).abs().max().item()


def naf_work() -> Work:
    """NAF with random weights at all pixels of a map."""
    from sparse3d.naf import attend_at_pixels, build_naf

    torch.manual_seed(0)
    naf = build_naf({}).eval()
    image = torch.rand(3, SIDE_PX, SIDE_PX)
    features = torch.randn(FEATURES, FEATURES_SIDE, FEATURES_SIDE)
    rows, columns = torch.arange(SIDE_PX).repeat_interleave(SIDE_PX), torch.arange(SIDE_PX)
    columns = columns.repeat(SIDE_PX)

    def work() -> list[torch.Tensor]:
        with torch.inference_mode():
            guide = naf.guide(image, (SIDE_PX, SIDE_PX), (FEATURES_SIDE, FEATURES_SIDE))
            return [guide.queries, guide.keys, attend_at_pixels(guide, features, rows, columns)]

    return work


def cascade_work() -> Work:
    """Pixal3D from a cut-out to the mesh, one step a flow."""
    import pixal3d
    from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint
    from support.posed_views import cutout

    folder = Path(tempfile.mkdtemp(prefix="photoscene-repeats-"))
    checkpoint = pixal3d.open_checkpoint(write_tiny_checkpoint(folder / "weights"))
    lend = pixal3d.keep_loaded(checkpoint)
    samplers = {name: replace(s, steps=1) for name, s in checkpoint.samplers.items()}
    options = pixal3d.GenerationOptions(seed=42, samplers=samplers)
    images = pixal3d.from_cutout(cutout(), 0.6)

    def work() -> list[torch.Tensor]:
        made = pixal3d.generate(images, checkpoint, options, borrow=lend)
        return [made.vertices, made.faces, made.attributes.coords, made.attributes.values]

    return work


@contextmanager
def _company(busy: bool) -> Iterator[None]:
    """A busy process for every core while inside."""
    spawn = multiprocessing.get_context("fork")
    others = [spawn.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for other in others if busy else ():
        other.start()
    try:
        yield
    finally:
        for other in others if busy else ():
            other.kill()
            other.join()


def _burn() -> None:
    value = 1.0
    while True:
        value = value * 1.0000001 % 7


def _digest(tensors: list[torch.Tensor]) -> str:
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


if __name__ == "__main__":
    main()
