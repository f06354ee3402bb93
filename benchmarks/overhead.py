"""What Prefect adds to the stages of one scene: the same command with and without it.

Every figure is the wall time of a whole process on a fresh store, least of several, so that imports
count where they are paid.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flows.calls import Outcome, StageCall
from flows.compute import produce
from flows.plan import carry_out, plan_scene
from flows.server import private_server
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import check_files
from photoscene.runs.writing import Reconstruction, write_run
from scene.store import Store
from stages.devices import ModelPool

ROUNDS = 3


@dataclass(frozen=True)
class Overhead:
    """rows: what was run and its seconds; plain_s: the stages alone; stages: seconds by stage."""

    rows: list[tuple[str, float]]
    plain_s: float
    stages: dict[str, float]


def run_plainly(arguments: Arguments, store: Store, folder: Path) -> list[Outcome]:
    """All that `photoscene run` does, on a plain thread pool: the cost without an orchestrator."""
    pool = ModelPool()
    request = build_request(arguments, store)
    check_files(request, store)
    with ThreadPoolExecutor(os.cpu_count() or 2) as threads:

        def run(calls: list[StageCall]) -> list[Outcome]:
            return list(threads.map(lambda call: produce(call, store, pool), calls))

        scene, outcomes = carry_out(plan_scene(request, store), run)
    write_run(folder, Reconstruction(request, scene, outcomes, arguments.photo.name, 0.0), store)
    return outcomes


def measure_overhead(arguments: Arguments) -> Overhead:
    """Time the command line with a running server, with our own, and the stages alone."""
    with tempfile.TemporaryDirectory() as work:
        home = Path(work) / "home"
        first = _command_s(arguments, {"PREFECT_HOME": str(home)})
        embedded = min(_command_s(arguments, {"PREFECT_HOME": str(home)}) for _ in range(ROUNDS))
        with private_server(home) as (url, _, _):
            server = min(_command_s(arguments, {"PREFECT_API_URL": url}) for _ in range(ROUNDS))
        plain = min(_plain_s(arguments) for _ in range(ROUNDS))
        again = _command_again_s(arguments)
        outcomes = run_plainly(arguments, Store(Path(work) / "store"), Path(work) / "run")
    stages: dict[str, float] = {}
    for outcome in outcomes:
        assert outcome.manifest is not None
        stage = outcome.call.stage
        stages[stage] = stages.get(stage, 0.0) + outcome.manifest.seconds
    rows = [
        ("stages alone, plain threads", plain),
        ("`photoscene run`, running Prefect server", server),
        ("`photoscene run`, embedded server", embedded),
        ("`photoscene run`, embedded server, first run on a machine", first),
        ("`photoscene run`, second identical run", again),
        ("`photoscene --help`", _min_s([_photoscene(), "--help"])),
    ]
    return Overhead(rows, plain, stages)


def options(arguments: Arguments) -> list[str]:
    """Arguments as typed after `photoscene run`."""
    typed = [str(arguments.photo)]
    for mask in arguments.masks:
        typed += ["--mask", str(mask)]
    for name, value in (("--camera", arguments.camera), ("--pointmap", arguments.point_map)):
        typed += [name, str(value)] if value else []
    return typed


def _command_s(arguments: Arguments, environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as work:
        return _photoscene_s(arguments, Path(work), environment)


def _command_again_s(arguments: Arguments) -> float:
    with tempfile.TemporaryDirectory() as work:
        _photoscene_s(arguments, Path(work), {})
        return min(_photoscene_s(arguments, Path(work), {}) for _ in range(ROUNDS))


def _photoscene_s(arguments: Arguments, work: Path, environment: dict[str, str]) -> float:
    command = [_photoscene(), "run", *options(arguments),
               "--store", str(work / "store"), "-o", str(work / "run")]  # fmt: skip
    return _process_s(command, environment)


def _photoscene() -> str:
    return str(Path(sys.executable).parent / "photoscene")


def _min_s(command: list[str]) -> float:
    return min(_process_s(command, {}) for _ in range(ROUNDS))


def _plain_s(arguments: Arguments) -> float:
    """A process of its own that runs the stages on plain threads."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "benchmarks.overhead", work, *options(arguments)]
        return _process_s(command, {})


def _process_s(command: list[str], environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **environment}
    )  # fmt: skip
    return time.monotonic() - started


def _main() -> None:
    work, photo, *rest = sys.argv[1:]
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    named = dict(pairs)
    run_plainly(
        Arguments(
            Path(photo),
            masks=tuple(Path(v) for k, v in pairs if k == "--mask"),
            camera=Path(named["--camera"]) if "--camera" in named else None,
            point_map=Path(named["--pointmap"]) if "--pointmap" in named else None,
        ),
        Store(Path(work) / "store"),
        Path(work) / "run",
    )


if __name__ == "__main__":
    _main()
