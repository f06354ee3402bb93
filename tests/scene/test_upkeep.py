"""Cleaning a store: what goes is what nobody needs, and nothing that anybody at work relies on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scene import expiring_claims
from scene.archives import ARCHIVES, keep, recall, results_in
from scene.claims import claims_at
from scene.errors import CannotRun
from scene.keys import digest
from scene.manifests import Manifest, artifact_name, result_name
from scene.store import CLEANING, RECENT_S, USED_AGAIN_S, Store
from scene.types import Artifact
from scene.upkeep import Amount, Needed, Rules, clean, stats
from support.clocked import Clocked
from support.places import OBSTORE, new_places

DAY_S = 86400.0
KEYS = [digest(str(number).encode()) for number in range(4)]


def publish(store: Store, key: str, value: str, inputs: tuple[Artifact, ...] = ()) -> Manifest:
    """A result with an artifact of its own and one that all have."""
    outputs = {"own": store.save({"value": value}), "common": store.save({"any": 1})}
    named = {str(number): artifact for number, artifact in enumerate(inputs)}
    return store.publish(Manifest(key, "place", "scene", "a", "1", {}, "", 0, named, outputs))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose clock `pass_time` moves."""
    return Store(tmp_path / "kept", Clocked(tmp_path / "place"))


def pass_time(store: Store, seconds: float) -> None:
    assert isinstance(store.remote, Clocked)
    store.remote.clock["now"] += seconds


def fresh(store: Store, name: str) -> Store:
    """The same store from a machine that has kept nothing of it."""
    return Store(store.root.parent / name, store.remote)


def test_without_rules_only_what_no_result_names_goes(store: Store) -> None:
    given = store.save({"given": 1})
    made = publish(store, KEYS[0], "one", (given,))
    garbage = store.save({"any": "garbage"})
    pass_time(store, RECENT_S + 1)
    young = store.save({"any": "young"})
    planned = clean(store, Rules(), dry_run=True)
    assert store.remote and store.remote.entry(artifact_name(garbage)) is not None
    assert clean(store, Rules()) == planned
    assert planned.removed_results == Amount() and planned.removed_artifacts.files == 1
    assert planned.kept_results.files == 1 and planned.kept_artifacts.files == 4
    there = fresh(store, "other")
    assert not there.has(garbage) and there.has(young) and there.has(given)
    assert there.lookup(KEYS[0]) == made and there.verify() == []


def test_age_is_since_the_last_use(store: Store) -> None:
    for key in KEYS[:2]:
        publish(store, key, key)
    pass_time(store, 20 * DAY_S)
    assert store.lookup(KEYS[0])
    pass_time(store, 20 * DAY_S)
    done = clean(store, Rules(older_than_s=30 * DAY_S))
    there = fresh(store, "other")
    assert there.lookup(KEYS[0]) and there.lookup(KEYS[1]) is None and there.verify() == []
    assert (done.removed_results.files, done.removed_artifacts.files) == (1, 1)  # not the common


def test_what_run_folders_need_stays_and_what_was_used_lately(store: Store) -> None:
    made = [publish(store, key, key) for key in KEYS[:3]]
    pass_time(store, RECENT_S + 1)
    assert store.lookup(KEYS[2])
    lone = made[1].outputs["own"]
    clean(store, Rules(needed=Needed({KEYS[0]}, {lone})))
    there = fresh(store, "other")
    assert [bool(there.lookup(key)) for key in KEYS[:3]] == [True, False, True]
    assert there.has(lone) and there.verify() == []


def test_the_largest_size_spares_what_was_used_last(store: Store) -> None:
    for number, key in enumerate(KEYS):
        publish(store, key, "x" * 1000 * (number + 1))
        pass_time(store, DAY_S)
    pass_time(store, 10 * DAY_S)
    clean(store, Rules(max_bytes=9000))  # the last two: 3000, 4000, and their records
    there = fresh(store, "other")
    assert [bool(there.lookup(key)) for key in KEYS] == [False, False, True, True]
    assert stats(store).results.size + stats(store).artifacts.size <= 9000
    assert there.verify() == []


def test_files_that_are_not_the_stores_are_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    own = [tmp_path / name for name in ("artifacts/ab/notes.txt", "results/mine.json", "a.txt")]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    damaged = tmp_path / result_name(KEYS[0])
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{}")
    assert store.lookup(KEYS[0]) is None
    clean(store, Rules(older_than_s=0, max_bytes=0, recent_s=-1))
    assert all(path.read_text() == "mine" for path in own) and not damaged.exists()


def test_an_archive_stands_for_the_use_of_its_records(store: Store) -> None:
    """It goes with the first of them."""
    made = [publish(store, key, key) for key in KEYS[:3]]
    keep(store, KEYS[0], made[:2], None)
    pass_time(store, 20 * DAY_S)
    there = fresh(store, "other")
    assert recall(there, [KEYS[0]]) == [{*KEYS[:2]}] and there.lookup(KEYS[1]) == made[1]
    pass_time(store, 20 * DAY_S)
    done = clean(store, Rules(older_than_s=30 * DAY_S))
    assert (done.removed_results.files, done.kept_archives.files) == (1, 1)
    again = fresh(store, "third")
    assert again.lookup_all(KEYS[:3]) == dict(zip(KEYS, [*made[:2], None], strict=False))
    pass_time(store, 20 * DAY_S)
    done = clean(store, Rules(needed=Needed({KEYS[0]})))
    assert (done.removed_results.files, done.removed_archives.files) == (1, 1)
    assert recall(fresh(store, "last"), [KEYS[0]]) == [None] and stats(store).archives == Amount()


def test_while_results_are_computed_what_was_used_lately_cannot_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, KEYS[0], "one")
    with store.claim(KEYS[1]):
        assert store.is_being_computed() and stats(store).being_computed
        with pytest.raises(CannotRun, match="being computed"):
            clean(store, Rules(older_than_s=0, recent_s=0))
        clean(store, Rules(older_than_s=0))
    assert not store.is_being_computed() and store.lookup(KEYS[0])
    clean(store, Rules(older_than_s=-1, recent_s=-1))
    assert store.lookup(KEYS[0]) is None and stats(store).artifacts == Amount()
    assert not claims_at(tmp_path / "nowhere").any_held()
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert stats(Store(tmp_path / "none")).results == Amount()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=OBSTORE)])
def test_a_store_at_a_url_is_cleaned_likewise(kind: str, tmp_path: Path) -> None:
    with new_places(kind, tmp_path) as open_it:
        store = open_it()
        made = [publish(store, key, key) for key in KEYS[:2]]
        with store.claim(KEYS[3]):
            assert store.is_being_computed()
            clean(store, Rules(older_than_s=0))
        assert open_it().lookup(KEYS[0]) == made[0]
        clean(store, Rules(needed=Needed({KEYS[0]}), recent_s=-5))
        there = open_it()
        assert there.lookup(KEYS[0]) == made[0] and there.lookup(KEYS[1]) is None
        assert there.verify() == [] and stats(there).artifacts.files == 2


class Turns:
    """Threads that go one step at a time, in an order that a seed decides."""

    def __init__(self, chance: random.Random, on_step: Callable[[], None]) -> None:
        self.chance, self.on_step = chance, on_step
        self.waiting: dict[int, threading.Event] = {}
        self.live = 0
        self.lock = threading.Lock()

    def step(self) -> None:
        """Wait for the next turn."""
        me = threading.get_ident()
        turn = threading.Event()
        with self.lock:
            self.waiting[me] = turn
            self._next()
        turn.wait(60)

    def end(self) -> None:
        """Take part no longer."""
        with self.lock:
            self.live -= 1
            self._next()

    def _next(self) -> None:
        if self.waiting and len(self.waiting) == self.live:
            self.on_step()
            self.waiting.pop(self.chance.choice(sorted(self.waiting))).set()


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_cleaning_while_others_write_loses_nothing(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers and a cleaner of one store, in a hundred orders; time passes in jumps. Of some
    results there is an archive, and one writer leaves another, as a batch does."""
    monkeypatch.setattr(expiring_claims, "FIRST_PAUSE_S", 0.0)
    for seed in range(first, first + 20):
        _write_while_cleaning(random.Random(seed), tmp_path / str(seed))


def _write_while_cleaning(chance: random.Random, folder: Path) -> None:
    place = Clocked(folder / "place")
    for key in KEYS:  # what the store has from long ago: results, and artifacts of none
        publish(Store(folder / "before", place), key, f"{key} of old")
        Store(folder / "before", place).save({"value": key})
    before = Store(folder / "before", place)
    if chance.random() < 0.5:
        keep(before, KEYS[0], [m for m in before.lookup_all(KEYS[:3]).values() if m], None)
    place.clock["now"] += 100 * DAY_S
    left_s = [RECENT_S - USED_AGAIN_S - 1]  # a run does not take longer

    def pass_some() -> None:
        if any((place.root / CLEANING).glob("*")):
            return  # a round takes no time
        passed = min(left_s[0], chance.choice([0.0, 0.0, 0.0, 3600.0]))
        left_s[0] -= passed
        place.clock["now"] += passed

    turns = Turns(chance, pass_some)
    broken: list[str] = []

    def write(name: str) -> None:
        store = Store(folder / name, Clocked(place.root, place.clock, place.times, turns.step))
        held: list[Manifest] = []
        (known,) = recall(store, [KEYS[0]])
        for key in chance.sample(KEYS, len(KEYS)):
            found = store.lookup(key) or publish(store, key, key)
            held.append(found)
        keep(store, KEYS[0 if name == "one" else 1], held, known)
        other = Store(folder / f"{name} elsewhere", place)  # what was found or made is there
        broken.extend(m.key for m in held for a in m.outputs.values() if not other.has(a))

    def tidy(name: str) -> None:
        store = Store(folder / name, Clocked(place.root, place.clock, place.times, turns.step))
        clean(store, Rules(older_than_s=30 * DAY_S))

    def part(work: Callable[[str], None], name: str) -> None:
        try:
            work(name)
        finally:
            turns.end()

    parts = [(write, "one"), (write, "other"), (tidy, "cleaner")]
    turns.live = len(parts)
    threads = [threading.Thread(target=part, args=each) for each in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert broken == []
    fresh_one = Store(folder / "fresh", place)
    for key in KEYS:
        found = fresh_one.lookup(key)
        if found is None:
            assert place.entry(result_name(key)) is None  # no record without its artifacts
    named = [r for e in place.listed(ARCHIVES) for r in results_in(place, e)]
    assert all(place.entry(result) for result in named)  # no archive of what is gone
