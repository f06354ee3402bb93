"""A Prefect API for the time of a run: the configured server, or a private one of our own.

Prefect's own embedded server costs 8 to 22 s, shares one SQLite file between all runs, and outlives
a killed parent. This one is a child process that ends when its parent does, however that ends, and
works on a private copy of an already migrated database; only the first run on a machine migrates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scene.errors import CannotRun

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 5
START_TIMEOUT_S = 180  # a first run migrates a database, perhaps on a busy machine


class ServerFailed(CannotRun):
    """The private Prefect server did not start."""


@contextlib.contextmanager
def prefect_api() -> Iterator[str]:
    """Use the configured Prefect API, else start a private server and use that; yields its URL.

    A flow called here has no heartbeat: it ends with its caller, and Prefect's heartbeat thread
    would add up to a second to every flow. Flows that a deployment's worker runs keep theirs.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        temporary_settings,
    )

    configured = PREFECT_API_URL.value()
    with contextlib.ExitStack() as stack:
        url = configured or stack.enter_context(private_server(PREFECT_HOME.value()))
        own: dict[Any, Any] = {PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        if not configured:
            stack.callback(_deliver_events)
        stack.enter_context(temporary_settings(own))
        yield url


def _deliver_events() -> None:
    """Let Prefect send what it has queued while its server is still there to take it."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=DRAIN_TIMEOUT_S, at_exit=False)


@contextlib.contextmanager
def private_server(home: Path) -> Iterator[str]:
    """Start a server of our own; its migrated database template lies in `home`. Yields its URL."""
    import prefect

    template = home / f"photoscene-{prefect.__version__}.db"
    if not template.exists():
        logger.info("preparing Prefect's database, once on this machine (about 10 s)")
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(template)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{_await_port(child, errors)}/api"
        finally:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.close()  # the child watches this pipe and ends with it
            child.stdout.close()
            child.wait()


def _await_port(child: subprocess.Popen[bytes], errors: IO[bytes]) -> int:
    """Read the port that the child prints once it answers requests."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], START_TIMEOUT_S)
    line = child.stdout.readline() if ready else b""
    if not line.strip().isdigit():
        child.kill()
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
        raise ServerFailed(
            f"Prefect's embedded server did not start ({''.join(last) or 'no answer'}); "
            "start one with `prefect server start` and set PREFECT_API_URL"
        )
    return int(line)


def serve(template: Path) -> None:
    """Serve the API on a free loopback port, print the port, end when standard input closes."""
    with tempfile.TemporaryDirectory(prefix="photoscene-prefect-") as folder:
        threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
        database = Path(folder) / "prefect.db"
        migrated = _is_database(template)
        if migrated:
            shutil.copyfile(template, database)
        asyncio.run(_serve(database, None if migrated else template))


def _is_database(template: Path) -> bool:
    """Whether the template is there and whole; a damaged one is made anew."""
    if not template.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(template)) as connection:
            return connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


def _end_with_parent(folder: str) -> None:
    """Wait for the parent to close the pipe, by intent or by dying; then leave nothing behind."""
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


async def _serve(database: Path, template: Path | None) -> None:
    """Run the server; a database that it had to migrate is kept as the template of later runs."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import (
        PREFECT_API_BLOCKS_REGISTER_ON_START,
        PREFECT_API_DATABASE_CONNECTION_URL,
        PREFECT_API_DATABASE_MIGRATE_ON_START,
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
        temporary_settings,
    )

    # Events are written down for people who look later: nobody looks at a server that ends with
    # its run, and they are four fifths of its work.
    own: dict[Any, Any] = {
        PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}",
        PREFECT_API_DATABASE_MIGRATE_ON_START: template is not None,
        PREFECT_API_BLOCKS_REGISTER_ON_START: False,
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
    }
    with temporary_settings(own):
        app = create_app(ephemeral=True, final=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started and not serving.done():
                await asyncio.sleep(0.02)
            if template is not None:
                _keep_template(database, template)
            sys.stdout.write(f"{listener.getsockname()[1]}\n")
            sys.stdout.flush()
            await serving


def _keep_template(database: Path, template: Path) -> None:
    """Copy the live database through SQLite's own backup, and publish it by a rename."""
    template.parent.mkdir(parents=True, exist_ok=True)
    temporary = template.with_name(f".{template.name}-{uuid.uuid4().hex}")
    with contextlib.closing(sqlite3.connect(database)) as source:
        with contextlib.closing(sqlite3.connect(temporary)) as target:
            source.backup(target)
    os.replace(temporary, template)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
