"""Would the official networks run here? Tiny ones of the same classes go through every path.

Their weights are random, a few megabytes written to a temporary folder, so that it is known before
77 GB are pulled. What the device computes is compared with the CPU; a CPU is compared with itself
in another type.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from photoscene.self_test import (
    cupid_parts,
    direct3d_parts,
    memory_parts,
    model_parts,
    pixal3d_parts,
)
from photoscene.self_test.bench import Bench, Part

State = Literal["works", "not run", "cannot work"]
PARTS: tuple[Part, ...] = (
    *memory_parts.PARTS, *pixal3d_parts.PARTS, *direct3d_parts.PARTS, *cupid_parts.PARTS,
    *model_parts.PARTS,
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What became of a part: detail says what was found, what lacks, or what is wrong."""

    part: str
    state: State
    detail: str
    seconds: float


def run_self_test(device: str, parts: Sequence[Part]) -> Iterator[Finding]:
    """Carry parts out on a device, one after another; one that fails ends no other."""
    with tempfile.TemporaryDirectory(prefix="photoscene-") as folder, _quietly():
        bench = Bench(device, Path(folder))
        for part in parts:
            yield carried_out(part, bench)


def carried_out(part: Part, bench: Bench) -> Finding:
    """What becomes of a part."""
    lacking = {m: pip for m, pip in part.needs.items() if importlib.util.find_spec(m) is None}
    if lacking:
        remedies = "; ".join(dict.fromkeys(lacking.values()))
        return Finding(part.name, "not run", f"needs {', '.join(lacking)}: {remedies}", 0.0)
    started = time.monotonic()
    try:
        state, detail = "works", part.check(bench)
    except Exception as error:  # whatever goes wrong is what was looked for
        state, detail = "cannot work", _line(error)
    return Finding(part.name, state, detail, round(time.monotonic() - started, 3))


def _line(error: Exception) -> str:
    """An error in one line, with its class where that is none of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = ("photoscene", "scene", "stages", "sparse3d", "pixal3d", "cupid")
    ours = type(error).__module__.split(".")[0] in own
    words = lines[0] if lines else ""
    return words if ours and words else f"{type(error).__name__}: {words}".rstrip(": ")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what libraries and stages log: a part's line says what there is to say."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
