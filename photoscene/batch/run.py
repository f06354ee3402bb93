"""A batch from its entries to its summary: what is missing is made by workers, the rest is kept."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.plan import code_versions
from flows.profile import load_profile, with_setting
from photoscene.batch.entries import Entry
from photoscene.batch.places import Place
from photoscene.batch.presence import CANCELLED, Presence
from photoscene.batch.records import (
    SceneRecord,
    digest_of,
    is_as_recorded,
    read_scene_record,
    remove_record,
)
from photoscene.batch.supervisor import Limits, Report, Supervisor
from photoscene.batch.worker import Task
from scene.errors import BadInput, CannotRun

MAX_SHARD = 32  # scenes that a worker takes through the stages together


@dataclass(frozen=True)
class Work:
    """What there is to do: all entries, those of this shard, and of them those still to be made.

    asked: by name, the digest of what is asked for; known: records that stand; outdated: names of
    scenes whose records do not, though they were made.
    """

    entries: Sequence[Entry]
    own: Sequence[Entry]
    missing: Sequence[Entry]
    asked: Mapping[str, str]
    known: Mapping[str, SceneRecord] = field(default_factory=dict)
    outdated: Sequence[str] = ()


def plan_work(
    entries: Sequence[Entry], own: Sequence[Entry], output: Path, retry_failed: bool
) -> Work:
    """Which scenes are missing: not made yet, made of other files or by other code, or failed.

    retry_failed: those with failed objects are missing, too.
    """
    versions = functools.cache(_code_versions)  # many scenes have the same profile
    asked, known, missing, outdated = {}, {}, [], []
    for entry in own:
        if entry.fault or entry.arguments is None:
            continue
        asked[entry.name] = digest_of(
            entry.arguments, versions(entry.arguments.profile, tuple(entry.arguments.settings))
        )
        record = read_scene_record(output, entry.name)
        stands = record is not None and (
            record.state == "failed" or is_as_recorded(output, entry, record, asked[entry.name])
        )
        kept = ("done",) if retry_failed else ("done", "incomplete")
        if record is not None and record.state in kept and stands:
            known[entry.name] = record
        else:
            missing.append(entry)
        if record is not None and not stands:
            outdated.append(entry.name)
    return Work(entries, own, missing, asked, known, outdated)


def carry_out(
    work: Work,
    task: Task,
    places: Sequence[Place],
    limits: Limits,
    report: Report,
    shard: Path | None = None,
) -> str:
    """Make the missing scenes; returns why it stopped before they had ended, or "".

    shard: the file that these scenes were read from; without it the work stops.
    """
    if not work.missing:
        return ""
    for name in work.outdated:  # else a batch that is stopped would call them done
        remove_record(Path(task.output), name)
    presence = Presence(Path(task.output), len(work.missing), shard)

    def stop() -> str:
        presence.renew()
        return CANCELLED if presence.is_cancelled() else ""

    def reported(value: Mapping[str, Any]) -> None:
        presence.note(value)
        report(value)

    shards = shards_of(work.missing, len(places))
    with presence:
        return Supervisor(task, places, work.asked, limits, reported, stop).carry_out(shards)


def shards_of(entries: Sequence[Entry], workers: int) -> list[list[Entry]]:
    """The entries in shards of at most MAX_SHARD, as many for each worker."""
    rounds = math.ceil(len(entries) / (workers * MAX_SHARD))
    count = min(len(entries), rounds * workers)
    return [[*entries[i::count]] for i in range(count)]


def _code_versions(profile_name: str, settings: Sequence[str]) -> Mapping[str, Any]:
    """See `code_versions`; {} for a profile that cannot be used: its scenes fail, each with the
    reason."""
    try:
        profile = load_profile(profile_name)
        for assignment in settings:
            profile = with_setting(profile, assignment)
        return code_versions(profile)
    except (BadInput, CannotRun):
        return {}


@dataclass
class Tally:
    """Counts of a batch as it goes on, and how long it will take at this rate."""

    scenes: int
    done: int = 0
    incomplete: int = 0
    failed: int = 0
    objects: int = 0
    stage: str = ""
    died: int = 0
    began: float = field(default_factory=time.monotonic)

    def take(self, value: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Count one report of a worker; the record of a scene that ended."""
        self.stage = value.get("step", self.stage)
        self.died += "died" in value
        if "ended" not in value:
            return None
        record = value["record"]
        setattr(self, record["state"], getattr(self, record["state"]) + 1)
        self.objects += len(record["objects"])
        return record

    @property
    def ended(self) -> int:
        """Scenes that ended, one way or the other."""
        return self.done + self.incomplete + self.failed

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before the first scene."""
        passed = time.monotonic() - self.began
        return passed / self.ended * (self.scenes - self.ended) if self.ended else None
