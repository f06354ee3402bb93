"""What `photoscene store` does, and how it prints it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.output import DONE, INCOMPLETE, print_result
from photoscene.runs.folder import read_run
from photoscene.runs.record import RECORD
from scene import upkeep
from scene.archives import damaged_archives
from scene.errors import BadInput
from scene.store import Store, open_store
from scene.types import Artifact

AGES_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Cleaning:
    """The options of `photoscene store gc`, as they were typed."""

    older_than: str | None
    runs: Sequence[Path]
    max_size: str | None
    grace: str
    dry_run: bool


def show_stats(store_path: str | None, as_json: bool) -> int:
    """`photoscene store stats`: returns the exit status."""
    store = _existing_store(store_path)
    found = upkeep.stats(store)
    lines = [
        f"store {store.address}",
        f"  results    {_amount(found.results)}",
        f"  artifacts  {_amount(found.artifacts)}",
        f"  archives   {_amount(found.archives)}",
        f"  longest unused: {found.oldest_s / AGES_S['d']:.1f} days",
        f"  {'results are' if found.being_computed else 'nothing is'} being computed",
    ]
    print_result({"store": store.address, **asdict(found)}, "\n".join(lines), as_json)
    return DONE


def verify_store(store_path: str | None, as_json: bool) -> int:
    """`photoscene store verify`: returns the exit status."""
    store = _existing_store(store_path)
    damaged = [*store.verify(), *damaged_archives(store)]
    ending = f"{len(damaged)} damaged; run again what needs them" if damaged else "no damage"
    text = "\n".join([*damaged, f"store {store.address}: {ending}"])
    print_result({"store": store.address, "damaged": damaged}, text, as_json)
    return INCOMPLETE if damaged else DONE


def clean_store(store_path: str | None, asked: Cleaning, as_json: bool) -> int:
    """`photoscene store gc`: returns the exit status."""
    rules = upkeep.Rules(
        None if asked.older_than is None else _age_s("--older-than", asked.older_than),
        needed_by(asked.runs) if asked.runs else None,
        None if asked.max_size is None else _size("--max-size", asked.max_size),
        _age_s("--grace", asked.grace),
    )
    store = _existing_store(store_path)
    done = upkeep.clean(store, rules, asked.dry_run)
    verb = "would remove" if asked.dry_run else "removed"
    lines = [
        f"store {store.address}",
        f"  {verb}  {_amount(done.removed_results)} of results, "
        f"{_amount(done.removed_artifacts)} of artifacts, "
        f"{_amount(done.removed_archives)} of archives",
        f"  kept  {_amount(done.kept_results)} of results, "
        f"{_amount(done.kept_artifacts)} of artifacts, {_amount(done.kept_archives)} of archives",
    ]
    values = {"store": store.address, "dry_run": asked.dry_run, **asdict(done)}
    print_result(values, "\n".join(lines), as_json)
    return DONE


def _existing_store(given: str | None) -> Store:
    """BadInput where a folder is not there: nothing in it could be found missing."""
    root = store_root(given)
    if "://" not in root and not Path(root).is_dir():
        raise BadInput(f"store {root} is not there: check --store or PHOTOSCENE_STORE")
    return open_store(root)


def needed_by(folders: Sequence[Path]) -> upkeep.Needed:
    """What the run folders in some folders need; BadInput where one cannot be read."""
    keys: set[str] = set()
    artifacts: set[Artifact] = set()
    for folder in folders:
        records = sorted(folder.rglob(RECORD))
        if not records:
            raise BadInput(f"--runs {folder}: there is no run folder below; name one that has any")
        for step in (step for path in records for step in read_run(path.parent).record.steps):
            keys.add(step.key)
            artifacts.update((*step.inputs.values(), *step.outputs.values()))
    return upkeep.Needed(keys, artifacts)


def _age_s(option: str, text: str) -> float:
    return _number(option, text, AGES_S, "such as 30d, 12h or 90m")


def _size(option: str, text: str) -> int:
    return int(_number(option, text, SIZES, "such as 50G, 800M or 1T"))


def _number(option: str, text: str, units: Mapping[str, float], expected: str) -> float:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([A-Za-z])", text)
    if found is None or found[2] not in units:
        raise BadInput(f"{option} {text}: expected a number with a unit, {expected}")
    return float(found[1]) * units[found[2]]


def _amount(amount: upkeep.Amount) -> str:
    return f"{amount.files:,} files ({amount.size / 1e6:,.1f} MB)"
