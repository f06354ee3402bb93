"""The tables of docs/models.md, written from the table of models.

`PYTHONPATH=tests python -m support.models_page docs/models.md` puts them between the
page's markers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stages.model_table import ModelEntry, model_table

END = "<!-- /table -->"


def weights_table(models: Sequence[ModelEntry]) -> list[str]:
    """A row per model: what it is, where it comes from, and under which licence."""
    lines = ["| name | stage | what | repository | commit | GB | licence | gated |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for m in models:
        licence = f"{m.licence}; {m.restrictions}" if m.restrictions else m.licence
        gated = f"yes; without: `{m.instead}`" if m.gated else "no"
        lines.append(
            f"| `{m.name}` | {m.stage} | {m.about} | [{m.repo}]({m.page}) | `{m.revision[:7]}` "
            f"| {m.gigabytes:g} | {licence} | {gated} |"
        )
    return lines


def memory_table(models: Sequence[ModelEntry]) -> list[str]:
    """A row per model and way of running it."""
    lines = ["| stage | name | run as | GB on the device | how that is known |",
             "|---|---|---|---|---|"]  # fmt: skip
    for m in models:
        for how, gigabytes in m.memory_gb.items():
            row = f"| {m.stage} | `{m.name}` | {how} | {gigabytes:g} | {m.memory_source} |"
            lines.append(row)
    return lines


def with_tables(page: str) -> str:
    """The page with the present tables between its markers."""
    models = tuple(model_table().values())
    for name, lines in {"weights": weights_table(models), "memory": memory_table(models)}.items():
        before, rest = page.split(f"<!-- table: {name} -->")
        after = rest.split(END, 1)[1]
        page = "\n".join([f"{before}<!-- table: {name} -->", *lines, END]) + after
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
