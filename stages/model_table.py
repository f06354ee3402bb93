"""The table of every weight that a backend can use: weights/models.yaml, read and checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resources

import yaml

from scene.errors import BadInput


@dataclass(frozen=True)
class ModelEntry:
    """One repository of weights.

    name: what commands and settings call it; files: names or glob patterns below the repository,
    all that is needed; revision: the pinned commit (40 hex digits), "" where the first pull decides
    and is remembered; gigabytes: to download; gated: the page must be visited first; instead: the
    name of an ungated model that does the same stage; restrictions: what the licence asks beyond
    its name; memory_gb: on the device, by how it is run, and memory_source: how that is known;
    sha256: of files whose content is known beforehand; also: models that it does not run without.
    """

    name: str
    stage: str
    backend: str
    repo: str
    revision: str
    files: tuple[str, ...]
    gigabytes: float
    licence: str
    about: str
    gated: bool = False
    instead: str = ""
    restrictions: str = ""
    memory_gb: Mapping[str, float] = field(default_factory=dict)
    memory_source: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Where a person reads about it, and asks for access."""
        return f"https://huggingface.co/{self.repo}"


@cache
def model_table() -> Mapping[str, ModelEntry]:
    """All models by name, in the order of the file."""
    text = (resources("weights") / "models.yaml").read_text("utf-8")
    return {name: _entry(name, row) for name, row in yaml.safe_load(text).items()}


def known_model(name: str) -> ModelEntry:
    """The model of a name; BadInput with the closest ones for a name that is none's."""
    table = model_table()
    if name not in table:
        close = difflib.get_close_matches(name, table, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise BadInput(f"unknown model {name!r}: expected one of {', '.join(table)}{hint}")
    return table[name]


def _entry(name: str, row: Mapping) -> ModelEntry:
    lists = {key: tuple(row[key]) for key in ("files", "also") if key in row}
    return ModelEntry(name=name, **{**row, **lists})
