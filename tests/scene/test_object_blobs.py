"""An object store that fails, lags or is no good: is anything lost, or believed that is not so?"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scene.errors import BadInput
from scene.keys import digest
from scene.manifests import Manifest
from scene.object_blobs import StoreFailed, open_blobs
from scene.store import Store, open_store
from support.object_server import ObjectServer, object_server

pytestmark = pytest.mark.extra("obstore")
KEYS = [digest(str(number).encode()) for number in range(5)]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch, object_server(patch) as made:
        yield made


def test_a_server_that_ignores_conditions_is_refused_at_the_first_write(
    server: ObjectServer, tmp_path: Path
) -> None:
    server.unconditional = True
    store = Store(tmp_path, open_blobs(server.url))
    with pytest.raises(StoreFailed, match="ignores conditional writes") as refused:
        store.save({"any": 1})
    assert server.url in str(refused.value) and "\n" not in str(refused.value)
    assert [path for method, path in server.requests if "/artifacts/" in path] == []


def test_refusals_that_pass_are_tried_again(server: ObjectServer) -> None:
    blobs = open_blobs(server.url)
    blobs.check()
    server.refused = ["409 Conflict", "503 Slow Down", "409 Conflict", "500 Internal Server Error"]
    assert blobs.create("a", b"1") and not blobs.create("a", b"2")
    assert server.refused == [] and blobs.read("a") == b"1"


def test_what_cannot_be_is_one_line(server: ObjectServer) -> None:
    for url in ("s3://no-such-bucket-here/a", server.url.replace("s3://", "az://")):
        with pytest.raises((StoreFailed, BadInput)) as failed:
            open_blobs(url).check()
        assert url in str(failed.value) and "\n" not in str(failed.value)
    server.refused = ["403 Forbidden"]
    with pytest.raises(StoreFailed, match="credentials"):
        open_blobs(server.url).check()


def test_listings_have_all_and_what_is_removed_is_gone(server: ObjectServer) -> None:
    blobs = open_blobs(server.url)
    names = sorted(f"a/{number:04d}" for number in range(6))
    for name in names:
        blobs.write(name, name.encode())
    listed = list(blobs.listed("a"))
    assert [e.name for e in listed] == names and {e.size for e in listed} == {6}
    assert list(blobs.listed("b")) == []
    for name in (*names, "a/none"):
        blobs.remove(name)
    assert list(blobs.listed("a")) == [] and blobs.entry(names[0]) is None
    assert abs(blobs.now_s() - listed[0].written_s) < 600


def test_only_what_is_there_as_it_was_is_renewed(server: ObjectServer) -> None:
    blobs = open_blobs(server.url)
    blobs.write("a", b"1")
    entry = blobs.entry("a")
    assert entry and blobs.renew(entry, b"1")
    blobs.write("a", b"2")
    assert not blobs.renew(entry, b"1") and blobs.read("a") == b"2"
    blobs.remove("a")
    assert not blobs.renew(entry, b"1") and blobs.entry("a") is None


def test_a_store_at_a_url_is_one_object_of_its_process(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_store(server.url)
    assert open_store(server.url) is store and store.address == server.url
    artifact = store.save({"any": 1})
    assert store.path(artifact).is_relative_to(tmp_path / ".cache")
    assert open_store(f"file://{tmp_path}/a%20b").root == tmp_path / "a b"


def test_nothing_is_fetched_again_that_was_read_or_written(
    server: ObjectServer, tmp_path: Path
) -> None:
    made = Store(tmp_path / "one", open_blobs(server.url))
    manifest = _publish(made, KEYS[0], "made")
    server.requests.clear()
    assert made.lookup(KEYS[0]) == manifest
    other = Store(tmp_path / "other", open_blobs(server.url))
    assert other.lookup(KEYS[0]) == manifest  # its record and its two artifacts
    assert server.counts()["GET"] == 1 + 3
    server.requests.clear()
    again = Store(tmp_path / "other", open_blobs(server.url))
    assert again.lookup(KEYS[0]) == manifest
    assert again.read(manifest.outputs["own"]) and server.counts()["GET"] == 1


@pytest.mark.parametrize(
    "faults",
    [{"lag_s": 5.0}, {"lost": 0.2}, {"doubled": 0.3}, {"lost": 0.1, "doubled": 0.1}],
    ids=str,
)
def test_writers_on_a_bad_server_agree(
    server: ObjectServer, tmp_path: Path, faults: dict[str, float]
) -> None:
    """Each key is computed once: whoever waits finds the result."""
    for name, value in faults.items():
        setattr(server, name, value)
    computed: list[str] = []

    def write(writer: str) -> None:
        store = Store(tmp_path / writer, open_blobs(server.url))
        for key in random.Random(writer).sample(KEYS, len(KEYS)):
            if store.lookup(key) is None:
                with store.claim(key):
                    if store.lookup(key) is None:
                        computed.append(key)
                        _publish(store, key, writer)

    threads = [threading.Thread(target=write, args=(f"writer {i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    server.lost = server.doubled = 0.0
    assert sorted(computed) == sorted(KEYS)
    fresh = [Store(tmp_path / f"fresh {i}", open_blobs(server.url)) for i in range(2)]
    found = [store.lookup_all(KEYS) for store in fresh]
    assert found[0] == found[1] and None not in found[0].values()
    assert [m.key for m in found[0].values() if m] == KEYS


def _publish(store: Store, key: str, writer: str) -> Manifest:
    """A result with an artifact of the writer's own, and one that all have."""
    outputs = {"own": store.save({"writer": writer, "key": key}), "common": store.save({"any": 1})}
    made = Manifest(key, "place", "scene", writer, "1", {}, "", 0, {}, outputs)
    return store.publish(made)
