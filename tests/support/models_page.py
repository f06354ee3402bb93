"""The tables of docs/models.md, written from the table of models.

`PYTHONPATH=tests python -m support.models_page docs/models.md` puts them between the
page's markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.narrow import narrow, table
from stages.model_table import ModelEntry, model_table

END = "<!-- /table -->"


def models_table(models: Sequence[ModelEntry]) -> str:
    """A row per model: what it is."""
    rows = [[f"`{m.name}`", m.stage, m.about, f"{m.gigabytes:g}"] for m in models]
    return table(("name", "stage", "what", "GB"), rows)


def sources_table(models: Sequence[ModelEntry]) -> str:
    """A row per model: where it comes from, and under which licence."""
    restrictions = _numbered(m.restrictions for m in models if m.restrictions)
    rows = [
        [
            f"`{m.name}`",
            f"[{m.repo}]",
            f"`{m.revision[:7]}`" if m.revision else "at the first pull",
            m.licence + (f" ({restrictions[m.restrictions]})" if m.restrictions else ""),
            f"yes; instead: `{m.instead}`" if m.gated else "no",
        ]
        for m in models
    ]
    links = dict.fromkeys(f"[{m.repo}]: {m.page}" for m in models)
    listed = table(("name", "repository", "commit", "licence", "gated"), rows)
    return "\n".join([listed, "", *_notes(restrictions), "", *links])


def memory_table(models: Sequence[ModelEntry]) -> str:
    """A row per model and way of running it, and where the figures come from."""
    sources = _numbered(m.memory_source for m in models if m.memory_gb)
    rows = [
        [m.stage, f"`{m.name}`", how, f"{gigabytes:g}", f"({sources[m.memory_source]})"]
        for m in models
        for how, gigabytes in m.memory_gb.items()
    ]
    listed = table(("stage", "name", "run as", "GB on the device", "source"), rows)
    return "\n".join([listed, "", *_notes(sources)])


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    """The number of each different text, from 1."""
    return {text: k + 1 for k, text in enumerate(dict.fromkeys(texts))}


def _notes(numbers: Mapping[str, int]) -> list[str]:
    return narrow("\n".join(f"- ({k}) {text}" for text, k in numbers.items())).split("\n")


def with_tables(page: str) -> str:
    """The page with the present tables between its markers."""
    models = tuple(model_table().values())
    tables = {"models": models_table, "sources": sources_table, "memory": memory_table}
    for name, write in tables.items():
        before, rest = page.split(f"<!-- table: {name} -->")
        after = rest.split(END, 1)[1]
        page = "\n".join([f"{before}<!-- table: {name} -->", write(models), END]) + after
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
