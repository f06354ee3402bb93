"""The rubric as people and as programs read it."""

from __future__ import annotations

from typing import Any

from photoscene.quality.remedies import remedies_of
from photoscene.quality.rubric import PASS, UNKNOWN, Quality, sorted_rows


def quality_to_json(quality: Quality) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "verdict": quality.verdict,
        "counts": quality.counts,
        "assumptions": list(quality.assumptions),
        "remedies": remedies_of(quality.rows),
        "rows": [{**vars(row)} for row in quality.rows],
    }


def quality_lines(quality: Quality, every: bool) -> list[str]:
    """A line for every row that does not pass, the worst first (for every row, if asked), then one
    for each kind of them that says what can be done."""
    lines = []
    for row in sorted_rows(quality.rows):
        if every or row.verdict != PASS:
            note = f" ({row.note})" if row.note else ""
            text = f": {row.text}" if row.verdict == UNKNOWN else f" {row.text}, {row.limits}"
            lines.append(f"{row.verdict.upper()} {row.subject}: {row.name}{text}{note}")
    remedies = [f"{name}: {text}" for name, text in remedies_of(quality.rows).items()]
    parts = [f"{n} {verdict}" for verdict, n in quality.counts.items() if n]
    total = f"{quality.verdict}: {', '.join(parts)}"
    return [*lines, *remedies, *quality.assumptions, total]
