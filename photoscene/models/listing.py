"""Which models are there, which of them are here, and which does a profile use?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.plan import STAGES
from flows.profile import load_profile
from stages.backends import find_backend
from stages.model_table import ModelEntry, model_table
from stages.settings import make_settings
from stages.weights import missing_files, models_folder, weights_places


@dataclass(frozen=True)
class ModelState:
    """A model, the folder that it is (or would be) in, and the files that lack there."""

    entry: ModelEntry
    folder: Path
    missing: tuple[str, ...]

    @property
    def here(self) -> bool:
        """Whether no file lacks."""
        return not self.missing


def model_state(entry: ModelEntry) -> ModelState:
    """Where a model is whole, else where most of it is."""
    places = weights_places(entry)
    states = [ModelState(entry, p, tuple(missing_files(entry, p))) for p in places]
    return min(states, key=lambda state: len(state.missing))


def profile_models(profile: str) -> list[str]:
    """The models that a profile's backends read, with all that those need."""
    from photoscene.models.pull import with_companions

    names: list[str] = []
    for stage, choice in load_profile(profile).stages.items():
        settings = make_settings(STAGES[stage], choice.backend, choice.settings)
        names += find_backend(STAGES[stage], choice.backend).models_read(settings)
    return with_companions(names)


def listing(names: Sequence[str], profiles: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Models as plain values, and what each profile of names has to download in all."""
    states = [model_state(model_table()[name]) for name in names]
    return {
        "folder": str(models_folder()),
        "models": [_row(state) for state in states],
        "profiles": {name: _sum(models) for name, models in profiles.items()},
    }


def listing_table(found: Mapping[str, Any]) -> str:
    """The listing as text: a line per model, and what is peculiar to it below."""
    rows = found["models"]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"models in {found['folder']}"]
    stage = ""
    for row in rows:
        if row["stage"] != stage:
            stage = row["stage"]
            lines += ["", stage]
        state = "here" if row["here"] else "partly here" if row["partly"] else "not here"
        gated = ", gated" if row["gated"] else ""
        lines.append(
            f"  {row['name']:<{width}}  {row['gigabytes']:>5g} GB  {state:<11}  "
            f"{row['licence']}{gated}"
        )
        lines.append(f"  {'':<{width}}  {row['about']}")
        lines.append(f"  {'':<{width}}  {row['repo']} @ {row['revision'][:12] or 'first pull'}")
        lines += [f"  {'':<{width}}  {line}" for line in _remarks(row)]
    lines += [""] + [
        f"profile {name}: {', '.join(p['models'])}: {p['gigabytes']:g} GB, "
        f"{p['missing_gigabytes']:g} GB not here"
        for name, p in found["profiles"].items()
        if p["models"]
    ]
    return "\n".join(lines).rstrip()


def _remarks(row: Mapping[str, Any]) -> list[str]:
    lines = [f"in {row['folder']}"] if row["here"] else []
    if row["partly"]:
        lines.append(f"in {row['folder']} without {', '.join(row['missing'])}")
    if row["gated"]:
        lines.append(f"ask for access at {row['page']}; ungated instead: {row['instead']}")
    return lines + ([row["restrictions"]] if row["restrictions"] else [])


def _row(state: ModelState) -> dict[str, Any]:
    entry = state.entry
    return {
        "name": entry.name,
        "stage": entry.stage,
        "backend": entry.backend,
        "about": entry.about,
        "repo": entry.repo,
        "revision": entry.revision,
        "page": entry.page,
        "files": list(entry.files),
        "gigabytes": entry.gigabytes,
        "licence": entry.licence,
        "restrictions": entry.restrictions,
        "gated": entry.gated,
        "instead": entry.instead,
        "also": list(entry.also),
        "here": state.here,
        "partly": not state.here and state.folder.is_dir() and _has_some(state),
        "folder": str(state.folder),
        "missing": list(state.missing),
    }


def _has_some(state: ModelState) -> bool:
    return any(any(state.folder.glob(pattern)) for pattern in state.entry.files)


def _sum(names: Sequence[str]) -> dict[str, Any]:
    """What a profile's models weigh; a file that two models share is counted twice."""
    states = [model_state(model_table()[name]) for name in names]
    total = sum(s.entry.gigabytes for s in states)
    missing = sum(s.entry.gigabytes for s in states if not s.here)
    return {
        "models": list(names),
        "gigabytes": round(total, 2),
        "missing_gigabytes": round(missing, 2),
    }
