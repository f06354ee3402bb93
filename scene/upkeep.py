"""What a store holds, and what of it nobody needs any more.

What was used within the last two days stays: runs rely on what they found or saved. Use is recorded
by writing a file again that is old (`Store`), so that its age is that of its last use. Files are
removed in short rounds, which writers of old files wait for, so none is removed that one of them
just found. Records go before the artifacts that they name.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from scene.blobs import Entry
from scene.errors import CannotRun
from scene.expiring_claims import FOLDER as CLAIMS
from scene.object_blobs import PROBES
from scene.store import (
    ARTIFACTS,
    CLEANING,
    RECENT_S,
    RESULTS,
    Manifest,
    Store,
    artifact_name,
    result_name,
    unsealed,
)
from scene.types import Artifact

ARTIFACT_NAME = re.compile(rf"{ARTIFACTS}/[0-9a-f]{{2}}/[0-9a-f]{{64}}(\.[a-z0-9]{{1,8}})?")
RESULT_NAME = re.compile(rf"{RESULTS}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.json")
ROUND = 500  # files that are removed while writers of old files wait
TABLES = """
create table results (name text primary key, size int, written_s real, kept int);
create table artifacts (name text primary key, size int, written_s real);
create table needs (artifact text, result text, primary key (artifact, result));
"""


@dataclass(frozen=True)
class Amount:
    """A number of files, and their bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.files + other.files, self.size + other.size)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.files - other.files, self.size - other.size)


@dataclass(frozen=True)
class Stats:
    """What a store holds; oldest_s: how long ago the result was used that is unused for longest."""

    results: Amount
    artifacts: Amount
    oldest_s: float
    being_computed: bool


@dataclass(frozen=True)
class Needed:
    """What run folders need: keys of results, and artifacts."""

    keys: Collection[str] = ()
    artifacts: Collection[Artifact] = ()


@dataclass(frozen=True)
class Rules:
    """Which results go; all that are given must hold, but for max_bytes, which goes on from there.

    older_than_s: those that were not used for so long; needed: those that are not among them;
    max_bytes: those that were unused for longest, until the rest fits. Without any, only what no
    result names goes. recent_s: what was used within this time stays in any case.
    """

    older_than_s: float | None = None
    needed: Needed | None = None
    max_bytes: int | None = None
    recent_s: float = RECENT_S


@dataclass(frozen=True)
class Cleaned:
    """What was removed, or would be, and what stays."""

    removed_results: Amount = Amount()
    removed_artifacts: Amount = Amount()
    kept_results: Amount = Amount()
    kept_artifacts: Amount = Amount()


def stats(store: Store) -> Stats:
    """Count what is there; nothing is read."""
    oldest_s = 0.0
    results = artifacts = Amount()
    for entry in store.blobs.listed(RESULTS):
        results += Amount(1, entry.size)
        oldest_s = max(oldest_s, store.blobs.age_s(entry))
    for entry in store.blobs.listed(ARTIFACTS):
        artifacts += Amount(1, entry.size)
    return Stats(results, artifacts, oldest_s, store.is_being_computed())


def clean(store: Store, rules: Rules, dry_run: bool = False) -> Cleaned:
    """Remove what the rules say, and what no result names; other files are left alone.

    What is known of the files is kept in a temporary database on the disk, since there may be
    millions. CannotRun where results are being computed, and the rules spare nothing for them.
    """
    if rules.recent_s < RECENT_S and store.is_being_computed():
        raise CannotRun(
            f"store {store.address}: results are being computed just now; wait until that has "
            "ended, or leave out --grace"
        )
    with closing(sqlite3.connect("")) as known:
        known.executescript(TABLES)
        return _Cleaning(store, rules, dry_run, known).carry_out()


@dataclass(frozen=True)
class _Cleaning:
    """One run of `clean`: `known` has the tables of what was listed and read."""

    store: Store
    rules: Rules
    dry_run: bool
    known: sqlite3.Connection

    def carry_out(self) -> Cleaned:
        needed = self.rules.needed or Needed()
        self._need("", needed.artifacts)
        self._list_results({result_name(key) for key in needed.keys})
        for page in self._pages("select name from results where kept"):
            self._read_kept([name for (name,) in page])
        self._list_artifacts()
        if self.rules.max_bytes is not None:
            self._shrink(self.rules.max_bytes)
        removed_results = self._remove_results()
        removed_artifacts = self._remove_artifacts()
        if not self.dry_run:
            self._remove_leftovers()
        return Cleaned(
            removed_results, removed_artifacts,
            self._amount("results") - removed_results,
            self._amount("artifacts") - removed_artifacts,
        )  # fmt: skip

    def _list_results(self, needed: Collection[str]) -> None:
        """Note all results; kept is 2 for those that even max_bytes spares."""
        rules = self.rules
        for entry in self.store.blobs.listed(RESULTS):
            if not RESULT_NAME.fullmatch(entry.name):
                continue
            age_s = self.store.blobs.age_s(entry)
            goes = rules.older_than_s is not None or rules.needed is not None
            goes &= rules.older_than_s is None or age_s > rules.older_than_s
            spared = age_s <= rules.recent_s or entry.name in needed
            self._note(entry, 2 if spared else int(not goes))

    def _note(self, entry: Entry, kept: int) -> None:
        row = (entry.name, entry.size, entry.written_s, kept)
        self.known.execute("insert or replace into results values (?, ?, ?, ?)", row)

    def _read_kept(self, names: Sequence[str]) -> None:
        """Note what results name; one that is damaged is of no use, and goes."""
        for name, manifest in zip(names, self.store.each(self._read, names), strict=True):
            if manifest is None:
                self._go(name)
            else:
                self._need(name, (*manifest.inputs.values(), *manifest.outputs.values()))

    def _go(self, name: str) -> None:
        self.known.execute("update results set kept = 0 where name = ?", (name,))

    def _read(self, name: str) -> Manifest | None:
        try:
            return unsealed(self.store.blobs.read(name))
        except FileNotFoundError:
            return None

    def _need(self, result: str, artifacts: Iterable[Artifact]) -> None:
        rows = [(artifact_name(artifact), result) for artifact in artifacts]
        self.known.executemany("insert or ignore into needs values (?, ?)", rows)

    def _list_artifacts(self) -> None:
        for entry in self.store.blobs.listed(ARTIFACTS):
            if ARTIFACT_NAME.fullmatch(entry.name):
                row = (entry.name, entry.size, entry.written_s)
                self.known.execute("insert or replace into artifacts values (?, ?, ?)", row)

    def _shrink(self, max_bytes: int) -> None:
        """Keep the results that were used last, as many as fit with what they name."""
        self.known.executescript(
            "create table counted (name text primary key); create index of on needs (result);"
            "create table ordered as select name, size, kept from results where kept "
            "order by kept desc, written_s desc"
        )
        new = (
            "select artifacts.name, artifacts.size from needs join artifacts on artifacts.name = "
            "artifact where result = ? and artifact not in (select name from counted)"
        )
        left, row = max_bytes, 0
        query = "select name, size, kept from ordered where rowid = ?"
        while found := self.known.execute(query, (row := row + 1,)).fetchone():
            name, size, kept = found
            artifacts = self.known.execute(new, (name,)).fetchall()
            size += sum(bytes_ for _, bytes_ in artifacts)
            if kept == 1 and size > left:
                self._go(name)
                left = 0  # what was unused for longer goes, too
                continue
            left -= size
            self.known.executemany("insert into counted values (?)", [(n,) for n, _ in artifacts])

    def _remove_results(self) -> Amount:
        removed = Amount()
        for page in self._pages("select name, size, written_s from results where not kept"):
            entries = [Entry(*row) for row in page]
            gone, used = self._remove(entries, lambda now, then: now.written_s == then.written_s)
            removed += gone
            for entry in used:
                self._note(entry, 2)
            self._read_kept([entry.name for entry in used])
        return removed

    def _remove_artifacts(self) -> Amount:
        unneeded = (
            "select name, size, written_s from artifacts where not exists (select 1 "
            " from needs left join results on results.name = needs.result "
            "where needs.artifact = artifacts.name and (results.kept or needs.result = ''))"
        )
        removed = Amount()
        for page in self._pages(unneeded):
            unused = [entry for row in page if self._is_old(entry := Entry(*row))]
            removed += self._remove(unused, lambda now, then: self._is_old(now))[0]
        return removed

    def _remove(
        self, entries: Sequence[Entry], is_unused: Callable[[Entry, Entry], bool]
    ) -> tuple[Amount, list[Entry]]:
        """Remove files that were not used since they were listed; returns what went, and the rest
        as it is now."""
        if self.dry_run:
            return _amount(entries), []
        unused, used = [], []
        with self.store.cleaning.claim(CLEANING):
            current = self.store.each(self.store.blobs.entry, [e.name for e in entries])
            for entry, now in zip(entries, list(current), strict=True):
                if now is not None and is_unused(now, entry):
                    unused.append(entry)
                elif now is not None:
                    used.append(now)
            list(self.store.each(self.store.blobs.remove, [e.name for e in unused]))
        return _amount(unused), used

    def _is_old(self, entry: Entry) -> bool:
        return self.store.blobs.age_s(entry) > self.rules.recent_s

    def _remove_leftovers(self) -> None:
        """What processes left that ended before their time."""
        if self.store.remote is None:
            return
        for folder in (CLAIMS, PROBES):
            for entry in self.store.blobs.listed(folder):
                if self.store.blobs.age_s(entry) > RECENT_S:
                    self.store.blobs.remove(entry.name)

    def _pages(self, query: str) -> Iterator[list[Any]]:
        """The rows of a query that begins with their names, in the order of these."""
        query, last = f"{query} and name > ? order by name limit {ROUND}", ""
        while page := self.known.execute(query, (last,)).fetchall():
            yield page
            last = page[-1][0]

    def _amount(self, table: str) -> Amount:
        row = self.known.execute(f"select count(*), coalesce(sum(size), 0) from {table}").fetchone()
        return Amount(*row)


def _amount(entries: Sequence[Entry]) -> Amount:
    return Amount(len(entries), sum(entry.size for entry in entries))
