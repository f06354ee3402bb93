"""What a store holds, and what of it nobody needs any more.

What was used within the last two days stays: runs rely on what they found or saved. Use is recorded
by writing a file again that is old (`Store`), so that its age is that of its last use. Files are
removed in short rounds, which writers of old files wait for, so none is removed that one of them
just found. An archive goes with the first of its records, and before it; one that was used lately
stands for the use of all its records. Records go before the artifacts that they name.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from scene.archives import ARCHIVES, results_in
from scene.blobs import Entry
from scene.errors import CannotRun
from scene.expiring_claims import FOLDER as CLAIMS
from scene.manifests import (
    ARTIFACT_NAME,
    ARTIFACTS,
    RESULT_NAME,
    RESULTS,
    Manifest,
    artifact_name,
    result_name,
    unsealed,
)
from scene.object_blobs import PROBES
from scene.store import CLEANING, RECENT_S, REPLACED, Store
from scene.types import Artifact

ARCHIVE_NAME = re.compile(rf"{ARCHIVES}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.zip")
ROUND = 500  # files that are removed while writers of old files wait
TABLES = """
create table results (name text primary key, size int, written_s real, kept int, used_s real);
create table artifacts (name text primary key, size int, written_s real);
create table archives (name text primary key, size int, written_s real, kept int);
create table needs (artifact text, result text, primary key (artifact, result));
create table contents (result text, archive text, primary key (result, archive));
"""
MISSING = """(select 1 from contents left join results on results.name = contents.result
where contents.archive = archives.name and not coalesce(results.kept, 0))"""


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
    archives: Amount
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
    removed_archives: Amount = Amount()
    kept_results: Amount = Amount()
    kept_artifacts: Amount = Amount()
    kept_archives: Amount = Amount()


def stats(store: Store) -> Stats:
    """Count what is there; nothing is read."""
    oldest_s = 0.0
    results = artifacts = archives = Amount()
    for entry in store.blobs.listed(RESULTS):
        results += Amount(1, entry.size)
        oldest_s = max(oldest_s, store.blobs.age_s(entry))
    for entry in store.blobs.listed(ARTIFACTS):
        artifacts += Amount(1, entry.size)
    for entry in store.blobs.listed(ARCHIVES):
        archives += Amount(1, entry.size)
    return Stats(results, artifacts, archives, oldest_s, store.is_being_computed())


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
        self._list_archives()
        for page in self._pages("select name from results where kept"):
            self._read_kept([name for (name,) in page])
        self._list_artifacts()
        if self.rules.max_bytes is not None:
            self._shrink(self.rules.max_bytes)
        removed_archives = self._remove_archives()
        removed_results = self._remove_results()
        removed_artifacts = self._remove_artifacts()
        if not self.dry_run:
            self._remove_leftovers()
        return Cleaned(
            removed_results, removed_artifacts, removed_archives,
            self._amount("results") - removed_results,
            self._amount("artifacts") - removed_artifacts,
            self._amount("archives") - removed_archives,
        )  # fmt: skip

    def _list_results(self, needed: Collection[str]) -> None:
        """Note all results; kept is 2 for those that even max_bytes spares."""
        rules = self.rules
        for entry in self.store.blobs.listed(RESULTS):
            if not RESULT_NAME.fullmatch(entry.name):
                continue
            spared = 2 * (entry.name in needed)
            self._note(entry, max(spared, self._kept(entry, rules.needed is None)))

    def _kept(self, entry: Entry, old_stay: bool) -> int:
        """2 for what was used lately; 0 for what is too old, else whether old ones stay."""
        age_s, limit_s = self.store.blobs.age_s(entry), self.rules.older_than_s
        if not self._is_old(entry):
            return 2
        return int(old_stay if limit_s is None else age_s <= limit_s)

    def _note(self, entry: Entry, kept: int) -> None:
        row = (entry.name, entry.size, entry.written_s, kept, entry.written_s)
        self.known.execute("insert or replace into results values (?, ?, ?, ?, ?)", row)

    def _list_archives(self) -> None:
        """Note all archives, and what they keep."""
        blobs = self.store.blobs
        listed = (e for e in blobs.listed(ARCHIVES) if ARCHIVE_NAME.fullmatch(e.name))
        while page := list(itertools.islice(listed, ROUND)):
            named = self.store.each(lambda entry: results_in(blobs, entry), page)
            for entry, results in zip(page, named, strict=True):
                kept = self._kept(entry, False)
                row = (entry.name, entry.size, entry.written_s, kept)
                self.known.execute("insert or replace into archives values (?, ?, ?, ?)", row)
                rows = [(result, entry.name) for result in results]
                self.known.executemany("insert or ignore into contents values (?, ?)", rows)
        self.known.executescript(
            "update results set kept = max(results.kept, found.kept), "
            " used_s = max(used_s, found.written_s) from (select result, max(kept) as kept, "
            " max(written_s) as written_s from contents join archives on name = archive "
            " group by result) as found where name = found.result"
        )

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
            "order by kept desc, used_s desc"
        )
        new = (
            "select name, size from (select name, size from needs join artifacts on name = artifact"
            " where result = ?1 union select name, size from contents join archives on "
            " name = archive where result = ?1) where name not in (select name from counted)"
        )
        left, row = max_bytes, 0
        query = "select name, size, kept from ordered where rowid = ?"
        while found := self.known.execute(query, (row := row + 1,)).fetchone():
            name, size, kept = found
            files = self.known.execute(new, (name,)).fetchall()
            size += sum(bytes_ for _, bytes_ in files)
            if kept == 1 and size > left:
                self._go(name)
                left = 0  # what was unused for longer goes, too
                continue
            left -= size
            self.known.executemany("insert into counted values (?)", [(n,) for n, _ in files])

    def _remove_archives(self) -> Amount:
        """Remove those that lack a record, or will; those that were used meanwhile keep theirs."""
        removed = Amount()
        for page in self._pages(
            f"select name, size, written_s from archives where kept < 2 and (exists {MISSING} "
            "or not exists (select 1 from contents where archive = archives.name))"
        ):
            entries = [Entry(*row) for row in page]
            gone, used = self._remove(entries, lambda now, then: now.written_s == then.written_s)
            removed += gone
            for entry in used:
                rows = self.known.execute(
                    "update results set kept = 2 where name in "
                    "(select result from contents where archive = ?) returning name", (entry.name,)
                ).fetchall()  # fmt: skip
                self._read_kept([name for (name,) in rows])
        return removed

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
        for folder in (CLAIMS, PROBES, REPLACED):
            for entry in self.store.blobs.listed(folder):
                if self.store.blobs.age_s(entry) > RECENT_S and not self._is_marked(entry):
                    self.store.blobs.remove(entry.name)

    def _is_marked(self, entry: Entry) -> bool:
        """Whether a file marks a record that is there: archives may have an older one."""
        folder, _, key = entry.name.partition("/")
        name = result_name(key)
        return folder == REPLACED and self.store.blobs.entry(name) is not None

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
