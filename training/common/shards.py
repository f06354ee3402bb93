"""How is training data drawn once? Missing folders of it, on all cores, each whole or not there."""

from __future__ import annotations

import logging
import multiprocessing
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

logger = logging.getLogger(__name__)


class Job(Protocol):
    """What is in a shard depends on its job alone."""

    @property
    def folder(self) -> Path:
        """Where the shard appears."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


def draw_missing(
    jobs: Sequence[AnyJob], draw: Callable[[AnyJob], None], processes: int | None = None
) -> None:
    """Draw the shards that are not there, in this order; `draw` is a module's function.

    processes: None for one per core.
    """
    missing = [job for job in jobs if not job.folder.exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        drawing = [pool.submit(draw, job) for job in missing]
        for done, drawn in enumerate(as_completed(drawing), 1):
            drawn.result()
            logger.info("%d of %d shards", done, len(missing))


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write to that takes the name `folder` once the block has ended well."""
    unfinished = folder.with_name(folder.name + ".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    yield unfinished
    unfinished.rename(folder)


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder of the archive's index.json, unpacked once."""
    if not folder.exists():
        with appearing(folder) as unfinished, tarfile.open(archive) as file:
            file.extractall(unfinished, filter="data")
    return next(folder.rglob("index.json")).parent
