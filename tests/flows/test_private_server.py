"""Does the private Prefect server start whatever the user's home, settings and folders are like?"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows import server
from flows.settings import ServerFailed, private_settings
from scene import child
from support.corpus import bad_inputs

ENVIRONMENT = {bad.name: bad for bad in bad_inputs("environment")}
UNREACHED, UNREAD = "machine without loopback", "settings that Prefect cannot read"
THEIRS = {
    "PREFECT_API_KEY": "their-key",
    "PREFECT_API_AUTH_STRING": "them:secret",
    "PREFECT_SERVER_API_AUTH_STRING": "us:secret",
    "PREFECT_API_SSL_CERT_FILE": "/nowhere.pem",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nobody@nowhere/x",
    "PREFECT_SERVER_API_PORT": "80",
    "PREFECT_SERVER_API_BASE_PATH": "/other",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "theirs"}',
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/theirs",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_API_ENABLE_HTTP2": "true",
}
ASK = """
import sys
from pathlib import Path
from flows.server import prefect_api
with prefect_api() as url:
    from prefect.client.orchestration import get_client
    with get_client(sync_client=True) as client:
        client.hello().raise_for_status()
        print(client.create_flow_from_name("x"))
    from prefect.settings import get_current_settings
    found = get_current_settings()
    assert found.results.persist_by_default is False and not found.client.custom_headers
    print(found.home)
"""


def ask(folder: Path, *before: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Use a private server from a process of its own, in a folder of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return subprocess.run(
        [*before, sys.executable, "-c", ASK],
        cwd=folder, capture_output=True, text=True,
        env={**inherited, "PREFECT_HOME": str(folder / "home"), **variables},
    )  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line with which the command would end for the error that ended a process."""
    kind, _, message = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "flows.settings.ServerFailed", done.stderr
    return f"photoscene: {message}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template as a first run leaves it, here a small database in the same mode."""
    path = tmp_path_factory.mktemp("template") / "photoscene.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE flow (id)")
        connection.execute("INSERT INTO flow VALUES (7)")
    connection.close()
    return path


def kept_template() -> Path:
    """The template of this machine, which a private server has left."""
    import prefect

    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    return home / f"photoscene-{prefect.__version__}.db"


@pytest.fixture
def places(tmp_path: Path, prefect_server: str) -> tuple[Path, Path]:
    """A folder for temporary files, and a read-only home with this machine's template."""
    temporary, home = tmp_path / "tmp ?a#b%20%C3 ü\n", tmp_path / "home"
    for folder in (temporary, home):
        folder.mkdir()
    shutil.copyfile(kept_template(), home / kept_template().name)
    home.chmod(0o555)
    return temporary, home


@pytest.mark.slow
def test_folders_of_any_name_and_settings_of_any_kind(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, home = places
    for name, value in {**THEIRS, "TMPDIR": str(temporary)}.items():
        monkeypatch.setenv(name, value)
    with server.private_server(home) as ready:
        assert Path(ready.folder).parent == temporary and ready.not_kept == ""
        with urllib.request.urlopen(f"{ready.url}/hello") as answer:
            assert answer.read() == b'"\xf0\x9f\x91\x8b"'
    assert list(temporary.iterdir()) == []
    assert [path.name for path in home.iterdir()] == [kept_template().name]


@pytest.mark.slow
def test_the_client_works_whatever_is_set(places: tuple[Path, Path], tmp_path: Path) -> None:
    done = ask(tmp_path, TMPDIR=str(places[0]), **THEIRS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("photoscene-prefect-") == 1  # the home while it lasted
    assert list(places[0].iterdir()) == []


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_the_server_inherits_no_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, THEIRS[name])
    monkeypatch.setenv(name.lower(), THEIRS[name])
    found = server._environment()
    assert not {name, name.lower()} & found.keys()
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


@pytest.mark.parametrize(
    ("setting", "value", "default"),
    [
        ("api.key", "theirs", None),
        ("api.auth_string", "a:b", None),
        ("api.request_timeout", 0.01, 60.0),
        ("client.custom_headers", {"a": "b"}, {}),
        ("client.retry_extra_codes", {418}, set()),
        ("results.persist_by_default", True, False),
        ("results.default_storage_block", "s3/x", None),
        ("flows.default_retries", 3, 0),
    ],
)
def test_the_client_goes_by_no_setting(
    setting: str, value: object, default: object, tmp_path: Path
) -> None:
    from prefect.settings import get_current_settings, temporary_settings

    theirs: dict = {setting: value, "logging.level": "DEBUG"}
    with temporary_settings(theirs), private_settings("http://127.0.0.1:1/api", tmp_path):
        found = get_current_settings()
        part, _, name = setting.partition(".")
        read = getattr(getattr(found, part), name)
        assert getattr(read, "get_secret_value", lambda: read)() == default
        assert found.api.url == "http://127.0.0.1:1/api" and found.home == tmp_path
        assert found.results.local_storage_path == tmp_path / "storage"
        assert found.logging.level == "DEBUG"  # how Prefect logs stays theirs


@pytest.mark.parametrize(
    "state", ["whole", "read-only", "locked", "missing", "cut", "text", "folder"]
)
def test_the_template_is_only_a_cache(
    state: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, work = tmp_path / "home" / "x.db", tmp_path / "work"
    kept.parent.mkdir()
    work.mkdir()
    data = {"cut": template.read_bytes()[:5000], "text": b"no database " * 500}
    if state == "folder":
        kept.mkdir()
    elif state != "missing":
        kept.write_bytes(data.get(state, template.read_bytes()))
    if state == "read-only":
        kept.chmod(0o444)
        kept.parent.chmod(0o555)
    monkeypatch.chdir(work)
    if state == "locked":
        kept.chmod(0o000)
    read = state in ("whole", "read-only") or (state == "locked" and os.getuid() == 0)
    assert server._copy_template(kept) == read
    kept.parent.chmod(0o755)
    assert [path.name for path in kept.parent.iterdir()] == ([] if state == "missing" else ["x.db"])
    if read:
        with sqlite3.connect(server.DATABASE) as connection:
            assert connection.execute("SELECT id FROM flow").fetchall() == [(7,)]
        connection.close()
    else:
        assert list(work.iterdir()) == []


@pytest.mark.parametrize("home", ["a file", "below a file", "a link to itself", "/proc", "a" * 300])
def test_a_template_that_cannot_be_kept_is_told(
    home: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "a link to itself").symlink_to("a link to itself")
    shutil.copyfile(template, tmp_path / server.DATABASE)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("a file/x" if home == "below a file" else home) / "x.db"
    why = server._keep_template(path)
    assert why and why[0].isupper() and "\n" not in why
    assert server._keep_template(tmp_path / "new" / "x.db") == ""
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.db"]


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (1, "Traceback\n  File x\nOSError: [Errno 98] in use\n", "(OSError: [Errno 98] in use): s"),
        (1, "a.b.SomeError: why\n(Background: https://x)\n", "(a.b.SomeError: why): start one"),
        (1, "Fatal Python error: streams\n\n<no Python frame>", "(Fatal Python error: streams): "),
        (
            1,
            "sqlite3.OperationalError: database or disk is full",
            "free some space there",
        ),
        (
            1,
            "FileNotFoundError: No usable temporary directory found in []",
            "or set TMPDIR to ",
        ),
        (-9, "", "(ended by SIGKILL): start one"),
        (3, "", "(status 3): start one"),
        (3, "strange words", "(strange words): start one"),
    ],
)
def test_a_start_that_fails_says_why(status: int, said: str, told: str) -> None:
    line = server._failure(status, said)
    assert line.startswith("photoscene's private Prefect server did not start (")
    assert told in line and "\n" not in line


def test_a_server_that_breaks_off_says_so() -> None:
    import httpx

    for error in (httpx.ConnectError("refused"), RuntimeError("Failed to reach API at x")):
        with pytest.raises(ServerFailed, match=r"broke off \(.+\): run the same again"):
            with server._explained(None):
                raise error
    with pytest.raises(RuntimeError, match="of ours"), server._explained(None):
        raise RuntimeError("of ours")


def without_network(*commands: str) -> list[str]:
    """What runs a command in a network namespace of its own, in which these were run before."""
    script = "; ".join([*commands, 'exec "$@"'])
    return ["unshare", "-rn", "sh", "-c", script, "sh"]


def can_unshare() -> bool:
    try:
        return subprocess.run([*without_network(), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


IPV6_ONLY = ("ip link set lo up", "ip address del 127.0.0.1/8 dev lo")
LISTEN = """
from scene.errors import CannotRun
from scene.loopback import listen
try:
    listen().close()
    print("listens")
except CannotRun as error:
    print(error)
"""


@pytest.mark.skipif(not can_unshare(), reason="network namespaces are not permitted here")
@pytest.mark.parametrize(
    ("commands", "told"),
    [
        (("ip link set lo up",), "listens"),
        ((), "Network is unreachable"),
        (IPV6_ONLY, "Cannot assign requested address"),
    ],
)
def test_a_machine_without_loopback_is_told(commands: tuple[str, ...], told: str) -> None:
    command = [*without_network(*commands), sys.executable, "-c", LISTEN]
    done = subprocess.run(command, capture_output=True, text=True, env=child.environment())
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
    if told != "listens":
        assert ENVIRONMENT[UNREACHED].answers(f"photoscene: {done.stdout.strip()}", {})


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="network namespaces are not permitted here")
def test_a_server_without_loopback_says_so(tmp_path: Path) -> None:
    done = ask(tmp_path, *without_network())
    assert ENVIRONMENT[UNREACHED].answers(last_line(done), {})


@pytest.mark.slow
def test_a_home_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    done = ask(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home").read_bytes() == b""


BROKEN = {
    "profiles.toml": ("home/profiles.toml", b"active = [broken"),
    "profiles.toml of another kind": ("home/profiles.toml", b"profiles = 5"),
    "pyproject.toml": ("pyproject.toml", b"x = ["),
    "prefect.toml": ("prefect.toml", b"[api]\nrequest_timeout = 'soon'"),
    ".env": (".env", b"\xff\xfe\x00"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_settings_that_prefect_cannot_read_are_told(name: str, tmp_path: Path) -> None:
    file, content = BROKEN[name]
    (tmp_path / "home").mkdir()
    (tmp_path / file).write_bytes(content)
    done = ask(tmp_path)
    assert ENVIRONMENT[UNREAD].answers(last_line(done), {})
    assert "Failed to initialize" not in done.stderr
