"""A Prefect server, a work pool and its workers, as on a cluster, all on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.batches import descendants

POOL = "photos"
PREFECT = str(Path(sys.executable).with_name("prefect"))
START_S = 180.0


@dataclass
class Cluster:
    """Processes by name, each of which can be killed and started again.

    env: of every process. The server's database is the one of
    PREFECT_SERVER_DATABASE_CONNECTION_URL, else SQLite in folder.
    """

    folder: Path
    env: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0

    @property
    def client_env(self) -> dict[str, str]:
        """What a command needs to find the server."""
        url = f"http://127.0.0.1:{self.port}/api"
        home = str(self.folder / "prefect")
        return {**self.env, "PREFECT_API_URL": url, "PREFECT_HOME": home, "DO_NOT_TRACK": "1"}

    def start_server(self) -> None:
        """Start it, and wait until it answers."""
        env = {**self.client_env, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        words = ("server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui")
        self._start("server", words, env)
        until = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError(f"no server after {START_S:g} s: {self.folder / 'server.log'}")
            time.sleep(0.2)

    def start_worker(self, name: str) -> None:
        """Start a worker of the pool that makes one shard at a time."""
        words = ("worker", "start", "--pool", POOL, "--limit", "1", "--name", name)
        self._start(name, words, self.client_env)

    def kill(self, name: str) -> None:
        """SIGKILL one process, not those that it started."""
        self.processes[name].kill()
        self.processes[name].wait()

    def command(self, *words: str) -> None:
        """Run a command of Prefect."""
        subprocess.run([PREFECT, *words], env={**os.environ, **self.client_env}, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/api/health", timeout=2):
                return True
        except OSError:
            return False

    def _start(self, name: str, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [PREFECT, *words], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
            )  # fmt: skip


@contextlib.contextmanager
def cluster(folder: Path, env: Mapping[str, str], workers: int = 2) -> Iterator[Cluster]:
    """A server with one work pool and so many workers; all of their processes end at the end."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Cluster(folder, env, port=port)
    try:
        made.start_server()
        made.command("work-pool", "create", POOL, "--type", "process", "--overwrite")
        for number in range(1, workers + 1):
            made.start_worker(f"worker_{number}")
        yield made
    finally:
        pids = [pid for process in made.processes.values() for pid in descendants(process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in made.processes.values():
            process.wait()
