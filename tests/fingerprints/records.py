"""The recorded fingerprints: one JSON file, an entry per step or backend with its version."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fingerprints.cases import Case, fingerprint_of
from fingerprints.measure import ROUNDING, differences
from flows.plan import STAGES
from scene.store import Store
from stages.backends import find_backend
from stages.devices import ModelPool
from stages.settings import make_settings, settings_to_json

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "tests" / "data" / "fingerprints.json"
RECORD = "`make fingerprints`"


def read_records() -> dict[str, Any]:
    """Entry by "stage/backend": {"version", "defaults", "cases": {what: {file: fingerprint}}}."""
    return json.loads(RECORDS.read_text("utf-8"))


def write_records(records: Mapping[str, Any]) -> None:
    """The whole file, a case on a line of its own so that a change shows which one moved."""
    blocks = []
    for subject, entry in sorted(records.items()):
        cases = ",\n".join(
            f"   {json.dumps(what)}: {json.dumps(found, separators=(',', ':'))}"
            for what, found in entry["cases"].items()
        )
        head = f'  "version": {json.dumps(entry["version"])},\n'
        head += f'  "defaults": {json.dumps(entry["defaults"])},\n'
        blocks.append(f' {json.dumps(subject)}: {{\n{head}  "cases": {{\n{cases}\n  }}\n }}')
    RECORDS.write_text("{\n" + ",\n".join(blocks) + "\n}\n", "utf-8")


def entry_of(cases: list[Case], store: Store, pool: ModelPool) -> dict[str, Any]:
    """What the cases of one step or backend give now."""
    found, version = {}, ""
    for case in cases:
        call, found[case.what] = fingerprint_of(case, store, pool)
        version = call.version
    stage, backend = cases[0].stage, cases[0].backend
    chosen = stage in STAGES
    defaults = settings_to_json(make_settings(STAGES[stage], backend, {})) if chosen else {}
    return json.loads(json.dumps({"version": version, "defaults": defaults, "cases": found}))


def by_subject(cases: list[Case]) -> dict[str, list[Case]]:
    """The cases of each step or backend."""
    grouped: dict[str, list[Case]] = {}
    for case in cases:
        grouped.setdefault(case.subject, []).append(case)
    return grouped


@dataclass(frozen=True)
class Fault:
    """What is wrong with an entry, and the remedy; stale: the output changed under its version."""

    message: str
    stale: bool = False


def fault_of(
    subject: str,
    before: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    rounding: float = ROUNDING,
) -> Fault | None:
    """Compare the recorded entry with what the code gives now; None where they agree."""
    if before is None:
        return Fault(f"{subject} has no fingerprint: record it with {RECORD}")
    if before["version"] != now["version"]:
        return Fault(f"{subject} has a new version, {now['version']}: record it with {RECORD}")
    moved = [
        line
        for what, found in now["cases"].items()
        if what in before["cases"]
        for line in differences(before["cases"][what], found, what, rounding)
    ]
    if moved:
        raised, shown = where_to_raise(*subject.split("/")), "; ".join(moved[:4])
        return Fault(
            f"the output of {subject} changed, but its version is still {now['version']}, so "
            f"stored results would be stale: raise {raised}, then {RECORD} ({shown})",
            stale=True,
        )
    if before["defaults"] != now["defaults"]:
        return Fault(f"{subject} has other default settings: keys follow, {RECORD} records them")
    if before["cases"].keys() != now["cases"].keys():
        return Fault(f"{subject} has other cases: record them with {RECORD}")
    return None


def where_to_raise(stage: str, backend: str) -> str:
    """Which version makes stored results of a step or backend unreachable."""
    if stage not in STAGES:
        return f"version in STEP of flows/steps/{stage}.py"
    file = Path(inspect.getfile(find_backend(STAGES[stage], backend).load)).relative_to(ROOT)
    return (
        f"version in BACKEND of {file.as_posix()}, or in STAGE of "
        f"stages/{stage}/__init__.py where the output of all its backends did"
    )
