"""Does a run that is killed at any moment leave a store from which the same command goes on?"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from scene.store import Store
from support.small_photo import SmallPhoto

pytestmark = pytest.mark.slow

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
STEPS = 15  # of three objects; each is a line of the log
FRESH_KILLS, CHAINS, KILLS_IN_CHAIN = 7, 1, 4  # 11 kills in all
OWN_SERVER_EVERY = 5  # one run in so many has a server of its own
MUST_DIE = 9  # the others had finished before their moment came
TIMEOUT_S = 600  # generous: it ends a test that would wait for ever
MARK = "PHOTOSCENE_KILL_TEST"  # in the environment of a run and of all that it starts


def _listen_to_interrupts() -> None:
    """A suite started in the background ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Attempt:
    """Where one command works: its store, run folder, log, and folder for temporary files."""

    folder: Path
    photo: SmallPhoto
    server: str | None

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    @property
    def steps(self) -> int:
        """How many steps have been computed, each with a line of its own."""
        return len(re.findall(r" \d+\.\d\d s$", self.log, re.MULTILINE))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own, its output in a file."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(self.temporary), MARK: str(self.folder)}
        if self.server:
            environment["PREFECT_API_URL"] = self.server
        command = [PHOTOSCENE, "run", *self.photo.options()]
        command += ["--store", self.store, "-o", self.run]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=_listen_to_interrupts,
            )

    def finish(self) -> float:
        """Run the command to its end; the seconds it took."""
        started = time.monotonic()
        assert self.start().wait(TIMEOUT_S) == 0, self.log
        return time.monotonic() - started

    def kill_after(self, steps: int, more_s: float, kill: Callable[[int, int], None]) -> bool:
        """Start the command and kill it so long after it has computed so many steps; False when it
        had come to its end before."""
        child = self.start()
        while self.steps < steps and child.poll() is None:
            time.sleep(0.01)
        try:
            assert child.wait(more_s) == 0, self.log
            return False
        except subprocess.TimeoutExpired:
            kill(child.pid, signal.SIGKILL)
            return child.wait() == -signal.SIGKILL

    def survivors(self) -> list[str]:
        """The command lines of running processes that this attempt started."""
        mark, found = f"{MARK}={self.folder}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it ended meanwhile
        return found

    def assert_nothing_survives(self) -> None:
        """All processes of a killed run end, and their temporary files with them."""
        until = time.monotonic() + TIMEOUT_S
        while self.survivors() and time.monotonic() < until:
            time.sleep(0.05)
        assert self.survivors() == []
        assert list(self.temporary.iterdir()) == []

    def results(self) -> dict[str, bytes]:
        """All finished files of the run folder but run.json and the report, which have times."""
        return {
            str(p.relative_to(self.run)): p.read_bytes()
            for p in self.run.rglob("*")
            if p.is_file()
            and p.name not in ("run.json", "report.html")
            and not p.name.startswith(".writing-")
        }


@dataclass(frozen=True)
class Undisturbed:
    """What a run makes that nobody kills, and how long it takes."""

    results: Mapping[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    shared, own = (
        Attempt(tmp_path_factory.mktemp("undisturbed"), small_photo, server)
        for server in (prefect_server, None)
    )
    seconds = shared.finish()
    own.finish()
    assert {"scene.glb", "scene.json", "overlay.png"} < set(shared.results())
    assert shared.results() == own.results()
    assert shared.steps == own.steps == STEPS
    return Undisturbed(shared.results(), seconds)


KILLS = (os.kill, os.killpg)


def test_a_killed_run_goes_on_where_it_was(
    undisturbed: Undisturbed, small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    died, left_over = 0, 0
    rng, kill_number = np.random.default_rng(50), 0
    # A fresh run dies once, after 0, 2, 4, ... steps; one in a chain soon after it has gone on.
    rounds = [("fresh", [2 * int(number)]) for number in rng.permutation(FRESH_KILLS)]
    rounds += [("chain", rng.integers(0, 4, KILLS_IN_CHAIN).tolist()) for _ in range(CHAINS)]
    for number, (name, kills) in enumerate(rounds):
        server = None if number % OWN_SERVER_EVERY == 3 else prefect_server
        folder = tmp_path / f"{name}_{number:02d}"
        folder.mkdir()
        attempt = Attempt(folder, small_photo, server)
        for steps in kills:
            more_s = rng.random() * undisturbed.seconds / (4 if steps == 0 else STEPS)
            died += attempt.kill_after(steps, more_s, KILLS[kill_number % 2])
            kill_number += 1
            attempt.assert_nothing_survives()
            assert Store(attempt.store).verify() == []
        attempt.finish()
        attempt.assert_nothing_survives()
        assert Store(attempt.store).verify() == []
        assert attempt.results() == undisturbed.results
        left_over += len(list(folder.rglob(".writing-*")))
    print(f"{died} of {kill_number} runs died, {left_over} half-written files were left behind")
    assert kill_number == FRESH_KILLS + CHAINS * KILLS_IN_CHAIN
    assert died >= MUST_DIE


@pytest.mark.parametrize("own_server", [False, True])
def test_an_interrupted_run_says_so_and_goes_on(
    own_server: bool,
    undisturbed: Undisturbed,
    small_photo: SmallPhoto,
    prefect_server: str,
    tmp_path: Path,
) -> None:
    attempt = Attempt(tmp_path, small_photo, None if own_server else prefect_server)
    child = attempt.start()
    until = time.monotonic() + TIMEOUT_S
    while "crop" not in attempt.log:
        assert child.poll() is None and time.monotonic() < until, attempt.log
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(TIMEOUT_S) == 130, attempt.log
    assert attempt.log.splitlines()[-1].startswith("photoscene: stopped;")
    assert "Traceback" not in attempt.log
    attempt.assert_nothing_survives()
    attempt.finish()
    assert attempt.results() == undisturbed.results


def test_a_run_uses_the_configured_prefect_server(
    undisturbed: Undisturbed, small_photo: SmallPhoto, tmp_path: Path
) -> None:
    with ordinary_server(tmp_path / "home") as url:
        attempt = Attempt(tmp_path, small_photo, url)
        attempt.finish()
        assert attempt.results() == undisturbed.results
        flow_runs = ask(f"{url}/flow_runs/filter")
        task_runs = ask(f"{url}/task_runs/filter")
    assert [run["state_type"] for run in flow_runs] == ["COMPLETED"]
    assert len(task_runs) == 15
    assert {run["state_type"] for run in task_runs} == {"COMPLETED"}


@contextmanager
def ordinary_server(home: Path) -> Iterator[str]:
    """A Prefect server as its manual starts it; yields the URL of its API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("prefect"), "server", "start", "--no-ui"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PREFECT_HOME": str(home)}, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        await_answer(f"{url}/health")
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(TIMEOUT_S)


def await_answer(url: str) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < until, f"{url} does not answer"
            time.sleep(0.2)


def ask(url: str) -> list[dict[str, object]]:
    """What a server lists under a filter that lets everything through."""
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)
