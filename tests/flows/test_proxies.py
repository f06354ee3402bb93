"""Does everything on this machine work whatever proxies the environment names, and ask none?"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.reconstruct import run_flow
from flows.server import prefect_api
from flows.settings import ServerFailed
from photoscene.choosing import browser
from photoscene.models.hub import Hub, HubUnreachable, check_reachable
from scene import proxies
from scene.loopback import ADDRESS
from scene.proxies import exempt_from_proxies, through_proxy, without_proxies
from support.corpus import bad_inputs
from support.small_photo import SmallPhoto, call

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# What people's machines have set; PROXY is a listening one's HOST:PORT.
SETTINGS = {
    "http": {"http_proxy": "http://PROXY"},
    "capitals": {"HTTP_PROXY": "http://PROXY", "HTTPS_PROXY": "http://PROXY"},
    "https": {"https_proxy": "http://PROXY"},
    "all": {"all_proxy": "http://PROXY"},
    "socks5": {"all_proxy": "socks5://PROXY"},
    "socks5h": {"ALL_PROXY": "socks5h://PROXY"},
    "socks4": {"all_proxy": "socks4://PROXY"},
    "GNOME": {
        "http_proxy": "http://PROXY/", "https_proxy": "http://PROXY/", "ftp_proxy": "http://PROXY/",
        "all_proxy": "socks://PROXY/", "no_proxy": "localhost,127.0.0.0/8,::1",
    },
    "a network in no_proxy": {"http_proxy": "http://PROXY", "no_proxy": "127.0.0.0/8"},
    "no_proxy for all": {"ALL_PROXY": "socks://PROXY", "NO_PROXY": "*"},
    "empty no_proxy": {"all_proxy": "http://PROXY", "no_proxy": "", "NO_PROXY": "127.0.0.1"},
    "garbage": {"http_proxy": "what is this?", "all_proxy": "://", "no_proxy": ",;,[::"},
}  # fmt: skip
# Every setting for the command that uses the most, some for each of the others.
CASES = [
    *((name, "run") for name in SETTINGS),
    *((name, "segment") for name in ("GNOME", "garbage")),
    *((name, "doctor") for name in ("socks5h", "https", "garbage")),
    *((name, "browser") for name in ("http", "socks4", "no_proxy for all", "garbage")),
]
EARLY = {("GNOME", "segment"), ("socks5h", "doctor"), ("http", "browser")}  # in the default suite


class Proxy:
    """A proxy's address, and how many connections came."""

    def __init__(self) -> None:
        self.connections = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                proxy.connections += 1
                super().setup()

            def do_GET(self) -> None:
                self.send_error(407)  # Prefect would try others again and again

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self.address = f"{ADDRESS}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def nobody_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test's Prefect server may still stand, with its own claim on `no_proxy`."""
    monkeypatch.setattr(proxies, "_UNPROXIED", proxies._Unproxied())


def set_proxies(patch: pytest.MonkeyPatch, setting: Mapping[str, str], address: str) -> None:
    """Only these proxies in the environment."""
    for name in (*NAMES, *(name.upper() for name in NAMES)):
        patch.delenv(name, raising=False)
    for name, value in setting.items():
        patch.setenv(name, value.replace("PROXY", address))


@pytest.fixture(scope="module")
def work(
    small_photo: SmallPhoto, inline_runs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder whose store knows the photo and its masks, so that little is left to compute."""
    folder = tmp_path_factory.mktemp("proxies")
    assert call(*words("run", small_photo, folder, folder / "run")).exit_code == 0
    yield folder


def words(command: str, photo: SmallPhoto, folder: Path, output: Path) -> list[object]:
    """A command on the small photo; the objects are given, or boxed in the page."""
    if command == "doctor":
        return ["doctor", "--store", folder / "store"]
    objects = ["--box", "18,70,103,124", "--browser"]
    if command != "browser":
        objects = ["--mask", photo.masks["a"]]
    until = ["--until", "segment", "--refresh", "segment"] if command == "run" else []
    verb = "run" if command == "run" else "segment"
    places = ["--store", folder / "store", "-o", output]
    return [verb, photo.photo, *objects, *until, *places]


def accept(address: str) -> None:
    """Press the page's button, as a browser does that knows of no proxy."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}entry", b'{"entry": "accept"}', headers)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()


@pytest.mark.parametrize(
    ("name", "command"),
    [pytest.param(*case, marks=() if case in EARLY else pytest.mark.slow) for case in CASES],
)
def test_no_proxy_stands_before_this_machine(
    name: str, command: str, proxy: Proxy, small_photo: SmallPhoto, work: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    set_proxies(monkeypatch, SETTINGS[name], proxy.address)
    before = dict(os.environ)
    asked: list[str] = []
    with ThreadPoolExecutor(1) as visitor:

        def visit(address: str) -> None:
            asked.append(os.environ["no_proxy"])  # what a text browser goes by
            visitor.submit(accept, address)

        monkeypatch.setattr(browser.webbrowser, "open", visit)
        monkeypatch.setattr("flows.server.prefect_api", prefect_api)  # the real one again
        monkeypatch.setattr("flows.reconstruct.run_flow", run_flow)
        if command == "segment":  # has no --refresh: a store that knows nothing
            work = tmp_path
        with no_server_configured():
            result = call(*words(command, small_photo, work, tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert proxy.connections == 0
    if command == "browser":
        assert asked[0] == "*" or asked[0].endswith(ADDRESS)
    else:
        assert dict(os.environ) == before


def test_the_proxy_counts(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    set_proxies(monkeypatch, {"http_proxy": "http://PROXY"}, proxy.address)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.build_opener().open(f"http://{ADDRESS}:9/")  # urlopen keeps its first one
    assert proxy.connections == 1


@contextmanager
def no_server_configured() -> Iterator[None]:
    """Also while another test's Prefect server is in force."""
    from prefect.settings import temporary_settings

    with temporary_settings({"api.url": None}):
        yield


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"all_proxy": "socks://PROXY"}, "a proxy that cannot be used (Unknown scheme"),
        ({"http_proxy": "garbage://PROXY"}, "a proxy that cannot be used (Unknown scheme"),
        ({"all_proxy": "socks5://PROXY"}, "`pip install socksio`"),
        ({"http_proxy": "http://PROXY"}, "through the proxy http://PROXY (no_proxy=far.example"),
        ({"all_proxy": "http://PROXY"}, "through the proxy http://PROXY (no_proxy=far.example"),
    ],
)
def test_a_configured_server_is_asked_through_the_proxy(
    setting: dict[str, str], told: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import temporary_settings

    set_proxies(monkeypatch, setting, proxy.address)
    with pytest.raises(ServerFailed) as failed:
        with temporary_settings({"api.url": "http://far.example:4200/api"}), prefect_api():
            with get_client(sync_client=True) as client:
                client.hello().raise_for_status()
    assert told.replace("PROXY", proxy.address) in str(failed.value)
    assert (proxy.connections > 0) == told.startswith("through")
    if "socksio" in told:
        (bad,) = [b for b in bad_inputs("environment") if "SOCKS" in b.name]
        assert bad.answers(f"photoscene: {failed.value}", {})


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, ""),
        ({"http_proxy": "http://p:1"}, ""),
        ({"https_proxy": "http://p:1"}, " through the proxy http://p:1 (no_proxy=hub.example"),
        ({"all_proxy": "http://p:1"}, " through the proxy http://p:1 (no_proxy=hub.example"),
        ({"all_proxy": "http://p:1", "no_proxy": "hub.example"}, ""),
        ({"all_proxy": "http://p:1", "no_proxy": "*"}, ""),
    ],
)
def test_the_proxy_on_the_way_is_named(
    setting: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, setting, "")
    assert through_proxy("https://hub.example/x").startswith(told)
    assert bool(through_proxy("https://hub.example/x")) == bool(told)


@pytest.mark.parametrize("url", ["socks://PROXY", "socks5://PROXY"])
def test_the_hub_is_not_asked_past_the_proxy(
    url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import close_session

    set_proxies(monkeypatch, {"all_proxy": url}, proxy.address)
    close_session()
    with pytest.raises(HubUnreachable, match="because of a proxy that cannot be used"):
        check_reachable(Hub("https://hub.example", patience_s=30))
    set_proxies(monkeypatch, {"all_proxy": "http://PROXY"}, proxy.address)
    with pytest.raises(HubUnreachable, match="through the proxy http"):
        check_reachable(Hub("https://hub.example", patience_s=30))
    assert proxy.connections > 0
    close_session()


@pytest.mark.parametrize("before", [None, "", "example.org", "*"])
def test_the_environment_is_as_it_was_when_the_last_one_leaves(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, {} if before is None else {"no_proxy": before}, "")
    first, second = without_proxies(), without_proxies()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.environ["no_proxy"] == "*"
    second.__exit__(None, None, None)
    assert os.environ.get("no_proxy") == before


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, ADDRESS),
        ({"no_proxy": "a,b"}, f"a,b,{ADDRESS}"),
        ({"NO_PROXY": "a"}, f"a,{ADDRESS}"),
        ({"NO_PROXY": ADDRESS, "no_proxy": ""}, ADDRESS),
        ({"no_proxy": "*"}, "*"),
        ({"no_proxy": f"a,{ADDRESS}"}, f"a,{ADDRESS}"),
    ],
)
def test_a_text_browser_is_told(
    setting: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_proxies(monkeypatch, setting, "")
    exempt_from_proxies()
    assert os.environ["no_proxy"] == told
