"""A Prefect API for the time of a run: the configured server, or a private one of our own.

Prefect's own embedded server costs 8 to 22 s, shares one SQLite file between all runs, and outlives
a killed parent. This one is a child process that ends when its parent does, however that ends, and
works on a private copy of an already migrated database; only the first run on a machine migrates.

It is between two processes of ours: neither the user's Prefect settings nor a proxy have a say.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

from flows.settings import (
    ServerFailed,
    configured_settings,
    private_settings,
    read_settings,
    settings_at_a_glance,
)
from scene import child
from scene.errors import CannotRun
from scene.loopback import ADDRESS, listen
from scene.proxies import through_proxy, unusable_proxy, without_proxies
from scene.telemetry import SWITCHES

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 5
START_TIMEOUT_S = 180  # a first run migrates a database, perhaps on a busy machine
END_TIMEOUT_S = 2
KEPT_LINES = 200  # of what it logs
DATABASE = "prefect.db"
ERROR = re.compile(r"(?:[\w.]+(?:Error|Exception)|Fatal Python error): .*")
NO_SPACE = ("No space left", "disk is full", "No usable temporary directory", "disk I/O error")
REMEDY = "start one with `prefect server start` and set PREFECT_API_URL"


Meanwhile = Callable[[Callable[[], bool]], object]  # is given what says that the wait is over


class Ready(NamedTuple):
    """What a private server tells when it answers requests: its API's URL, its folder, and "" or
    why its database is not kept for later runs."""

    url: str
    folder: str
    not_kept: str


@contextlib.contextmanager
def prefect_api(meanwhile: Meanwhile | None = None) -> Iterator[str]:
    """Use the configured Prefect API, else start a private server and use that; yields its URL.

    meanwhile: called while a private server starts, which takes some seconds, and while Prefect is
    imported. Raises ServerFailed where a server does not start, does not answer, or not as one of
    Prefect.
    """
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)  # at an exit it counts what is left
    known = None if "prefect" in sys.modules else settings_at_a_glance()
    if known is not None:  # a server can start before Prefect is imported here
        meanwhile = _importing(meanwhile)
    configured, home = known or read_settings()
    if configured:
        if known is not None and meanwhile is not None:
            meanwhile(lambda: True)
        check_proxies(configured)
        with _explained(configured), configured_settings(configured):
            yield configured
        return
    with without_proxies(), private_server(home, meanwhile) as ready, _explained(None):
        with private_settings(ready.url, Path(ready.folder)):
            try:
                yield ready.url
            finally:
                _deliver_events()


def _importing(meanwhile: Meanwhile | None) -> Meanwhile:
    """The same, while Prefect is imported aside; it has been at the end."""

    def both(answered: Callable[[], bool]) -> None:
        with ThreadPoolExecutor(1) as aside:
            imported = aside.submit(_import_prefect)
            if meanwhile is not None:
                meanwhile(lambda: answered() and imported.done())
            imported.result()

    return both


def _import_prefect() -> None:
    importlib.import_module("flows.reconstruct")
    importlib.import_module("fastapi")  # as Prefect's client does when a flow starts


def check_proxies(url: str) -> None:
    """Refuse proxies that Prefect's client, made of httpx, cannot use on its way to a server."""
    import httpx

    try:
        httpx.Client(verify=False).close()
    except (ImportError, ValueError) as error:
        raise ServerFailed(unusable_proxy(url, error)) from None


@contextlib.contextmanager
def _explained(configured: str | None) -> Iterator[None]:
    """Turn what Prefect's client raises inside, when a server is not as it should be, into
    ServerFailed; `configured` is the URL of a server that is not ours."""
    from httpx import HTTPError, InvalidURL

    try:
        yield
    except (HTTPError, InvalidURL, RuntimeError) as error:
        unreached = "Failed to reach API" in str(error)
        if isinstance(error, RuntimeError) and not unreached:
            raise
        if configured is None:
            told = f"photoscene's private Prefect server broke off ({error}): run the same again"
        elif unreached:
            told = (
                f"{error}{through_proxy(configured)}: start that Prefect server, "
                "or unset PREFECT_API_URL to do without one"
            )
        else:
            told = (
                f"the Prefect server does not work ({type(error).__name__}: {error})"
                f"{through_proxy(configured)}: check PREFECT_API_URL, "
                "or unset it to do without one"
            )
        raise ServerFailed(told) from None


def _deliver_events() -> None:
    """Let Prefect send what it has queued while its server is still there to take it."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=DRAIN_TIMEOUT_S, at_exit=False)


@contextlib.contextmanager
def private_server(home: Path, meanwhile: Meanwhile | None = None) -> Iterator[Ready]:
    """Start a server of our own; its migrated database template lies in `home`."""
    template = home.absolute() / f"photoscene-{metadata.version('prefect')}.db"
    if not _is_there(template):
        logger.info("preparing Prefect's database, once on this machine (about 10 s)")
    process = subprocess.Popen(
        child.python("flows.server", str(template)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, env=_environment(),
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    stderr: deque[bytes] = deque(maxlen=KEPT_LINES)
    listener = threading.Thread(target=stderr.extend, args=(process.stderr,), daemon=True)
    listener.start()
    try:
        if meanwhile is not None:
            meanwhile(partial(_has_answered, process.stdout))
        ready = _await_ready(process.stdout)
        if ready is None:
            process.kill()
            status = process.wait()
            listener.join(END_TIMEOUT_S)
            raise ServerFailed(_failure(status, b"".join(stderr).decode(errors="replace")))
        if ready.not_kept:
            logger.info(
                f"Prefect's database cannot be kept in {home} ({ready.not_kept}): every run "
                "prepares it anew; set PREFECT_HOME to a folder that can be written to"
            )
        yield ready
    finally:
        process.stdin.close()  # the child watches this pipe and ends with it
        process.stdout.close()
        process.wait()
        listener.join(END_TIMEOUT_S)
        process.stderr.close()


def _is_there(template: Path) -> bool:
    try:
        return template.exists()
    except OSError:  # a folder that may not be entered
        return False


def _environment() -> dict[str, str]:
    """What a private server inherits: nothing that was set for other Prefect servers."""
    theirs = child.environment().items()
    kept = {name: value for name, value in theirs if not name.upper().startswith("PREFECT_")}
    return kept | SWITCHES | {"PREFECT_LOGGING_LEVEL": "ERROR"}


def _has_answered(answers: IO[bytes]) -> bool:
    """Whether the child has told something, or ended."""
    return bool(select.select([answers], [], [], 0)[0])


def _await_ready(answers: IO[bytes]) -> Ready | None:
    """What the child tells once it answers requests; None where it ends before, or never does.

    Raises the child's own CannotRun.
    """
    readable, _, _ = select.select([answers], [], [], START_TIMEOUT_S)
    line = answers.readline() if readable else b""
    if not line.startswith(b"{"):
        return None
    told = json.loads(line)
    if "failed" in told:
        raise ServerFailed(told["failed"])
    return Ready(**told)


def _failure(status: int, stderr: str) -> str:
    """Why a server did not start, by its status and its log."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    ended = f"status {status}" if status >= 0 else f"ended by {signal.Signals(-status).name}"
    reason = (errors or lines or [ended])[-1]
    remedy = REMEDY
    if any(words in reason for words in NO_SPACE):
        remedy = "free some space there, or set TMPDIR to a folder that can be written to"
        reason += f", temporary files in {tempfile.gettempdir()}"
    return f"photoscene's private Prefect server did not start ({reason}): {remedy}"


def serve(template: Path) -> None:
    """Serve the API on a free loopback port, tell of it, end when standard input closes."""
    with tempfile.TemporaryDirectory(prefix="photoscene-prefect-") as folder:
        threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
        # Where one works, Prefect looks for settings; and a name without a folder needs no quoting
        # in the database's URL.
        os.chdir(folder)
        os.environ["PREFECT_HOME"] = folder
        migrated = _copy_template(template)
        try:
            asyncio.run(_serve(folder, None if migrated else template))
        except CannotRun as error:
            _write_message({"failed": str(error)})


def _write_message(what: dict[str, str]) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def _copy_template(template: Path) -> bool:
    """Copy the template's database to here; whether it was there and whole."""
    try:
        shutil.copyfile(template, DATABASE)
        with contextlib.closing(sqlite3.connect(DATABASE)) as connection:
            if connection.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return True
    except (OSError, sqlite3.DatabaseError):
        pass  # it is only a cache: the database is made anew
    Path(DATABASE).unlink(missing_ok=True)
    return False


def _end_with_parent(folder: str) -> None:
    """Wait for the parent to close the pipe, by intent or by dying; then leave nothing behind."""
    while os.read(0, 1):  # Python's own reader would be in the way of an early end
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


async def _serve(folder: str, template: Path | None) -> None:
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
        PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{DATABASE}",
        PREFECT_API_DATABASE_MIGRATE_ON_START: template is not None,
        PREFECT_API_BLOCKS_REGISTER_ON_START: False,
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
    }
    with temporary_settings(own):
        app = create_app(ephemeral=True, final=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        with listen() as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started and not serving.done():
                await asyncio.sleep(0.02)
            if not server.started:
                return  # uvicorn has said why
            not_kept = "" if template is None else _keep_template(template)
            url = f"http://{ADDRESS}:{listener.getsockname()[1]}/api"
            _write_message(Ready(url, folder, not_kept)._asdict())
            await serving


def _keep_template(template: Path) -> str:
    """Copy the live database through SQLite's own backup, and publish it by a rename; returns ""
    or why that cannot be done."""
    temporary = template.with_name(f".{template.name}-{uuid.uuid4().hex}")
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # says what is wrong more clearly than SQLite
        with contextlib.closing(sqlite3.connect(DATABASE)) as source:
            with contextlib.closing(sqlite3.connect(temporary)) as target:
                source.backup(target)
        os.replace(temporary, template)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return getattr(error, "strerror", None) or str(error)
    return ""


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
