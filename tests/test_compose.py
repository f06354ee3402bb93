"""The commands of compose.yaml without containers: a batch by database, server, store, worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scene import child
from support import ROOT
from support.batches import kill_all, wait_for, write_photos
from support.extras import program
from support.postgres import postgres
from support.small_photo import SmallPhoto

pytestmark = [
    pytest.mark.slow, pytest.mark.extra("seaweedfs"), pytest.mark.extra("postgresql"),
]  # fmt: skip
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
# Of SeaweedFS beside the one of S3: it takes gRPC's from them, by adding 10000.
PORTS = ("s3", "master", "volume", "filer")
MAX_PORT = 55_000


class Machine:
    """All services on this machine: free ports for their own, folders for their volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scenes = folder, folder / "scenes"
        self.ports = {name: free_port() for name in ("prefect", "database", *PORTS)}
        for name in ("home", "scenes", "data"):
            (folder / name).mkdir(exist_ok=True)

    def text(self, value: str) -> str:
        """An argument or a variable as it is here."""
        here = {"prefect:4200": f"127.0.0.1:{self.ports['prefect']}",
                "127.0.0.1:4200": f"127.0.0.1:{self.ports['prefect']}",
                "database:5432": f"127.0.0.1:{self.ports['database']}",
                "store:8333": f"127.0.0.1:{self.ports['s3']}", "-ip=store": "-ip=127.0.0.1",
                "-dir=/data": f"-dir={self.folder / 'data'}", "0.0.0.0": "127.0.0.1",
                "/etc/s3.json": str(ROOT / "deploy" / "s3.json")}  # fmt: skip
        for old, new in here.items():
            value = value.replace(old, new)
        return value

    def words(self, name: str) -> list[str]:
        """The command of a service."""
        service = SERVICES[name]
        words = [self.text(word) for word in (*service.get("entrypoint", ()), *service["command"])]
        if name == "store":  # the image's entry point is the program itself
            return [
                str(program("weed")),
                *words,
                *(f"-{port}.port={self.ports[port]}" for port in PORTS),
            ]
        if name == "prefect":
            words += ["--port", str(self.ports["prefect"]), "--no-ui"]
        return [str(Path(sys.executable).with_name(words[0])), *words[1:]]

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, with a home of its own."""
        given = {k: self.text(v) for k, v in SERVICES[name].get("environment", {}).items()}
        home = self.folder / "home"
        own = {"HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "no_proxy": "*",
               "PREFECT_WORKER_QUERY_SECONDS": "1"}  # fmt: skip
        return {**child.environment(), **given, **own}

    def finish(self, name: str, *more: str) -> None:
        """Run a service to its end."""
        done = subprocess.run(
            [*self.words(name), *more], env=self.environment(name), cwd=self.scenes,
            capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr  # 1: no object was found

    @contextmanager
    def started(self, name: str) -> Iterator[None]:
        """A service that goes on until it is ended."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.words(name), env=self.environment(name), cwd=self.scenes, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            kill_all(process.pid)
            process.wait()

    def is_healthy(self, words: Sequence[str]) -> bool:
        """Whether a health check of compose.yaml says so."""
        command = [self.text(word) for word in words[1:]]
        environment = {**os.environ, "no_proxy": "*"}
        return subprocess.run(command, capture_output=True, env=environment).returncode == 0


def free_port() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        if port < MAX_PORT:
            return port


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.request.HTTPError:  # type: ignore[attr-defined]
        return True
    except OSError:
        return False
    return True


def test_a_batch_by_all_services(small_photo: SmallPhoto, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    write_photos(machine.scenes / "photos", small_photo, 2)
    for mask in small_photo.masks.values():
        (machine.scenes / "photos" / mask.name).unlink()
    health: Any = SERVICES["prefect"]["healthcheck"]["test"]
    user, password, name = SERVICES["database"]["environment"].values()
    with ExitStack() as services:
        ask = services.enter_context(postgres(user, password, name, machine.ports["database"]))
        services.enter_context(machine.started("store"))
        services.enter_context(machine.started("prefect"))
        wait_for(lambda: machine.is_healthy(health), 300)
        wait_for(lambda: answers(f"http://127.0.0.1:{machine.ports['s3']}/"), 120)
        machine.finish("pool")
        services.enter_context(machine.started("worker"))
        machine.finish("batch", "--set", "generate.backend=relief", "--set", "generate.grid=8")
        states = ask("select state_type, count(*) from flow_run group by state_type")
    assert [state.split("|")[0] for state in states] == ["COMPLETED"]
    summary = json.loads((machine.scenes / "out" / "batch.json").read_text())
    assert summary["counts"]["failed"] == 0 and summary["counts"]["scenes"] == 2
    assert not (tmp_path / "home" / ".cache" / "photoscene" / "results").exists()
    assert list((tmp_path / "data").iterdir())
