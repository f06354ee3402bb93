"""Archives of scenes: the same results as one by one, and none that is damaged or out of date."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scene import archives
from scene.archives import archive_name, damaged_archives, keep, recall, results_in
from scene.blobs import Entry, FolderBlobs
from scene.errors import CannotRun
from scene.keys import digest
from scene.manifests import Manifest, artifact_name, result_name
from scene.store import Store
from support.places import OBSTORE, new_places

KEYS = [digest(str(number).encode()) for number in range(3)]
NAME = archive_name(KEYS[0])


@pytest.fixture(params=["folder elsewhere", pytest.param("s3", marks=OBSTORE)])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one empty store, as another machine would at every call."""
    if request.param == "s3":
        with new_places("s3", tmp_path) as open_place:
            yield open_place
    else:
        numbers = iter(range(99))
        place = FolderBlobs(tmp_path / "place")
        yield lambda: Store(tmp_path / f"kept_{next(numbers)}", place)


def publish(store: Store, key: str, value: str) -> Manifest:
    outputs = {"own": store.save({"value": value}), "common": store.save({"any": 1})}
    return store.publish(Manifest(key, "place", "scene", "a", "1", {}, "", 0, {}, outputs))


def only_archived(store: Store, *others: str) -> None:
    """Remove all but archives from a store, and perhaps some other files."""
    for folder in ("results", "artifacts"):
        for entry in list(store.blobs.listed(folder)):
            if entry.name not in others:
                store.blobs.remove(entry.name)


def test_an_archive_answers_as_the_store_does(open_it: Callable[[], Store]) -> None:
    store = open_it()
    made = {key: publish(store, key, key) for key in KEYS[:2]}
    keep(store, KEYS[0], made.values(), None)
    entry = store.blobs.entry(NAME)
    assert entry and results_in(store.blobs, entry) == sorted(map(result_name, made))
    only_archived(store)
    other = open_it()
    assert recall(other, KEYS[:2]) == [{*made}, None] and other.lookup_all(made) == made
    assert other.read(made[KEYS[1]].outputs["own"])
    again = Store(other.root, other.remote)  # the folder has it all: only that it is there is asked
    assert recall(again, [KEYS[0]]) == [{*made}] and again.lookup_all(made) == made
    store.blobs.remove(NAME)
    assert recall(Store(other.root, other.remote), [KEYS[0]]) == [None]


def test_whoever_wrote_an_archive_never_fetches_it(
    open_it: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_it()
    made = {key: publish(store, key, key) for key in KEYS[:2]}
    keep(store, KEYS[0], made.values(), None)
    again = Store(store.root, store.remote)
    with monkeypatch.context() as patch:
        for name in ("open", "read", "read_range"):
            patch.setattr(type(again.remote), name, no_reading)
        assert recall(again, [KEYS[0]]) == [{*made}] and again.lookup_all(made) == made
    other = open_it()  # it makes the same at the same time, and comes second
    publish(other, KEYS[0], KEYS[0])
    keep(other, KEYS[0], [made[KEYS[0]]], None)
    assert recall(Store(other.root, other.remote), [KEYS[0]]) == [{*made}]


def no_reading(*arguments: object) -> None:
    raise AssertionError(f"{arguments[1:]} is read")


def test_what_is_damaged_or_no_archive_is_not_believed_and_written_again(
    open_it: Callable[[], Store],
) -> None:
    store = open_it()
    made = {key: publish(store, key, key) for key in KEYS[:2]}
    keep(store, KEYS[0], made.values(), None)
    whole = store.blobs.read(NAME)
    assert damaged_archives(store) == []
    value = whole.index(f'"{KEYS[1]}"'.encode())
    for data in (whole[:-9], whole[:value] + b"#" + whole[value + 1 :], b"", b"any"):
        store.blobs.write(NAME, data)
        other = open_it()
        (known,) = recall(other, [KEYS[0]])
        assert known == set() and other.lookup_all(made) == made
        assert len(damaged_archives(store)) == 1
    keep(other, KEYS[0], made.values(), known)
    assert store.blobs.read(NAME) == whole


def test_what_is_too_large_or_lost_is_fetched_beside_it_or_computed_again(
    open_it: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ARTIFACT_BYTES", 50)
    store = open_it()
    made = publish(store, KEYS[0], "short"), publish(store, KEYS[1], "long" * 20)
    keep(store, KEYS[0], made, None)
    large = artifact_name(made[1].outputs["own"])
    only_archived(store, large)
    other = open_it()
    recall(other, [KEYS[0]])
    assert other.lookup_all(KEYS[:2]) == dict(zip(KEYS, made, strict=False))
    store.blobs.remove(large)
    other = open_it()
    recall(other, [KEYS[0]])
    assert other.lookup_all(KEYS[:2]) == {KEYS[0]: made[0], KEYS[1]: None}


def test_a_record_that_was_replaced_is_not_taken_from_an_archive(
    open_it: Callable[[], Store],
) -> None:
    store = open_it()
    made = {key: publish(store, key, key) for key in KEYS[:2]}
    keep(store, KEYS[0], made.values(), None)
    fresh = open_it()
    new = dataclasses.replace(made[KEYS[1]], outputs={"own": fresh.save({"value": "new"})})
    fresh.publish(new, replace=True)
    other = open_it()
    assert recall(other, [KEYS[0]]) == [{*made}]
    assert other.lookup_all(made) == {KEYS[0]: made[KEYS[0]], KEYS[1]: new}


def test_a_folder_has_no_archives(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, KEYS[0], [publish(store, KEYS[0], "one")], None)
    assert recall(store, KEYS) == [None] * 3 and not (tmp_path / "archives").exists()


def test_a_store_that_does_not_answer_is_no_damaged_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the results that only an archive has would be cleared as garbage."""
    blobs = FolderBlobs(tmp_path)

    def silent(entry: Entry, start: int) -> bytes:
        raise CannotRun("the store does not answer")

    monkeypatch.setattr(FolderBlobs, "read_range", lambda self, *of: silent(*of))
    with pytest.raises(CannotRun, match="does not answer"):
        results_in(blobs, Entry(NAME, 10, 0.0))
