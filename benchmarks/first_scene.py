"""`python -m benchmarks.first_scene OTHER`: seconds of a first scene, here and in another checkout.

Both run with their own .venv, by turns: the demo's photo with its prompts and a fresh store, with
the private Prefect server and with one that runs already; the same once more, answered from the
store; --help; and segmentation by 30 prompts. The whole is repeated on one core. Prefect's database
and compiled Python are there before. Writes a section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.narrow import table
from benchmarks.report import replace_section
from scene.loopback import ADDRESS

ROOT = Path(__file__).parents[1]
DOCUMENT, TITLE = Path("docs/benchmarks.md"), "A first scene"
PHOTO, PROMPTS = "examples/breakfast.jpg", "examples/breakfast.prompts.json"
ROUNDS = 5
SHIFTS_PX = (-6, -3, 0, 3, 6)  # of the demo's six boxes, which makes thirty
START_TIMEOUT_S = 120

# Runs in either checkout, and so uses only what both have.
SEGMENT = """
import json, sys, time
from pathlib import Path
from scene.images import decode_photo
from scene.types import ObjectPrompt
from stages.segment import lite
photo, _ = decode_photo(Path(sys.argv[1]).read_bytes(), 2048)
boxes = [o["box"] for o in json.loads(Path(sys.argv[2]).read_text())["objects"]]
prompts = tuple(ObjectPrompt(box=tuple(v + int(s) for v in box))
                for s in sys.argv[3:] for box in boxes)
backend = lite.load(lite.Settings(), "cpu")
started = time.perf_counter()
masks = backend.segment(photo, prompts, ())
assert len(masks) == len(prompts)
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure both checkouts and write the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout of another commit, with its .venv")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="on all cores")
    parser.add_argument("--rounds-on-one", type=int, default=ROUNDS, help="on one core")
    parser.add_argument("--dry", action="store_true", help="print only")
    asked = parser.parse_args()
    checkouts = {"before": asked.other.absolute(), "now": ROOT}
    texts = []
    one_core = ["taskset", "-c", "0"]
    for title, command, rounds in (
        ("all cores", [], asked.rounds), ("one core", one_core, asked.rounds_on_one)
    ):  # fmt: skip
        seconds, pieces, bytes_ = measured(checkouts, rounds, command)
        texts += [
            f"On {title}, {os.cpu_count()} in all; median of {rounds}. scene.glb {_same(bytes_)}.",
            ratios(seconds), pieces_table(pieces),
        ]  # fmt: skip
        print(*texts[-3:], sep="\n\n", flush=True)
    if not asked.dry:
        replace_section(DOCUMENT, TITLE, "\n\n".join(texts))


Seconds = dict[tuple[str, str], list[float]]  # by what is done, and the checkout


def measured(
    checkouts: Mapping[str, Path], rounds: int, command: list[str]
) -> tuple[Seconds, Seconds, set[str]]:
    """Seconds of everything, of the pieces of a fresh run, and the digests of the scenes.

    command: what each process is started by.
    """
    seconds: Seconds = {}
    pieces: Seconds = {}
    digests: set[str] = set()
    with prefect_server() as url, tempfile.TemporaryDirectory() as work:
        for number in range(-1, rounds):  # the first is not counted
            for name, checkout in checkouts.items():
                place = Path(work) / f"{name}_{number}"
                own: dict[str, float] = {}
                run = [*command, checkout / ".venv/bin/photoscene", "run", PHOTO]
                run += ["--prompts", PROMPTS]
                own["fresh"] = timed(checkout, [*run, "-o", place / "a", "--store", place / "s"])
                own_pieces = pieces_of(place / "a", own["fresh"])
                own["cached"] = timed(checkout, [*run, "-o", place / "a", "--store", place / "s"])
                own["fresh, with a server"] = timed(
                    checkout, [*run, "-o", place / "b", "--store", place / "t"],
                    {"PREFECT_API_URL": url},
                )  # fmt: skip
                own["--help"] = timed(checkout, [*command, run[len(command)], "--help"])
                own["segment, 30 prompts"] = segmented(checkout, command)
                digests |= {_digest(place / folder / "scene.glb") for folder in "ab"}
                if number < 0:
                    continue
                for what, value in own.items():
                    seconds.setdefault((what, name), []).append(value)
                for piece, value in own_pieces.items():
                    pieces.setdefault((piece, name), []).append(value)
    return seconds, pieces, digests


def timed(
    checkout: Path, command: list[str | Path], variables: Mapping[str, str] | None = None
) -> float:
    """Seconds that a command takes in a checkout; it has to succeed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    subprocess.run(
        [str(word) for word in command], cwd=checkout, check=True, capture_output=True,
        env=environment | dict(variables or {}),
    )  # fmt: skip
    return time.perf_counter() - started


def segmented(checkout: Path, command: list[str]) -> float:
    """Seconds of the backend alone."""
    shifts = [str(s) for s in SHIFTS_PX]
    words = [*command, str(checkout / ".venv/bin/python"), "-c", SEGMENT, PHOTO, PROMPTS, *shifts]
    done = subprocess.run(words, cwd=checkout, check=True, capture_output=True, text=True)
    return float(done.stdout)


def pieces_of(folder: Path, whole: float) -> dict[str, float]:
    """Seconds of each stage's steps, added up, and of what is before and after all of them."""
    record = json.loads((folder / "run.json").read_text())
    found: dict[str, float] = {}
    for step in record["steps"]:
        found[step["stage"]] = found.get(step["stage"], 0.0) + step["seconds"]
    return {**found, "from command to scene": record["seconds"], "whole command": whole}


@contextmanager
def prefect_server() -> Iterator[str]:
    """The URL of a Prefect server that runs, with a home of its own."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
    url = f"http://{ADDRESS}:{port}/api"
    words = ["-m", "prefect", "server", "start", "--host", ADDRESS, "--port", str(port)]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "ERROR"}
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, cwd=home,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=5).close())
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_for(ask: Callable[[], None]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return ask()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def ratios(seconds: Seconds) -> str:
    """A row per thing that is done: both medians, and now over before."""
    rows = []
    for what in dict.fromkeys(what for what, _ in seconds):
        before, now = (statistics.median(seconds[what, name]) for name in ("before", "now"))
        rows.append([what, f"{before:.2f}", f"{now:.2f}", f"{now / before:.2f}"])
    return table(["seconds of", "before", "now", "ratio"], rows)


def pieces_table(pieces: Seconds) -> str:
    """A row per piece of the fresh run; steps side by side are added up."""
    rows = [
        [what, *(f"{statistics.median(pieces[what, name]):.2f}" for name in ("before", "now"))]
        for what in dict.fromkeys(what for what, _ in pieces)
    ]
    return table(["piece of the fresh run, seconds", "before", "now"], rows)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _same(digests: set[str]) -> str:
    return "is the same in all of them" if len(digests) == 1 else "is NOT the same in all of them"


if __name__ == "__main__":
    main()
