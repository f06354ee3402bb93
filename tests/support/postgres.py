"""A PostgreSQL server for tests, from the programs that are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

from support.batches import kill_all, wait_for

Ask = Callable[[str], list[str]]
ACCOUNT = "postgres"  # PostgreSQL does not run as root


def programs() -> Path | None:
    """The folder of its programs, the newest of several."""
    found = shutil.which("initdb")
    folders = [str(Path(found).resolve().parent)] if found else glob("/usr/lib/postgresql/*/bin")
    return Path(max(folders)) if folders else None


def is_there() -> bool:
    """Whether a server can be started by this user."""
    return programs() is not None and (os.getuid() != 0 or _account() is not None)


@contextmanager
def postgres(
    user: str, password: str, database: str, port: int
) -> Iterator[Callable[[str], list[str]]]:
    """A server with one database of one user, on this machine's loopback address; yields what asks
    it: SQL to the lines of its answer."""
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="photoscene-postgres-"))
    as_account: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:
        shutil.chown(folder, ACCOUNT)
        as_account |= {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)

    def run(name: str, *words: str) -> list[str] | None:
        environment = {"PGPASSWORD": password, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run([bin_folder / name, *words], env=environment, capture_output=True,
                              text=True, **as_account)  # fmt: skip
        return done.stdout.splitlines() if done.returncode == 0 else None

    def ask(sql: str) -> list[str]:
        answer = run("psql", *there, "-d", database, "--tuples-only", "--no-align", "-c", sql)
        assert answer is not None
        return answer

    data, there = folder / "data", ("-h", "127.0.0.1", "-p", str(port), "-U", user)
    try:
        options = ("-U", user, f"--pwfile={folder / 'password'}", "--auth=scram-sha-256")
        assert run("initdb", "-D", str(data), "-E", "UTF8", *options) is not None
        words = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        process = subprocess.Popen(
            [bin_folder / "postgres", *words], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, **as_account,
        )  # fmt: skip
        try:
            wait_for(lambda: run("pg_isready", *there, "-d", "postgres") is not None, 120)
            assert run("createdb", *there, database) is not None
            yield ask
        finally:
            kill_all(process.pid)
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> str | None:
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError:
        return None
