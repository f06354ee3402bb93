"""How does Markdown that a command writes fit into 120 columns?

Prose is wrapped. A table that is too wide keeps every cell: long remarks in parentheses become
numbered notes below it, then it is transposed if it has few rows, else cut into tables side by
side in one column of the page, each with the first column (or the row's number) as its key.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

COLUMNS = 120
MAX_TRANSPOSED_ROWS = 6
MAX_KEY = 32  # a longer first column is replaced by the row's number where a table is cut
REMARK = re.compile(r"\s\(([^()]{30,})\)$")  # a long remark in parentheses
CODE, NO_BREAK = re.compile(r"`[^`]{1,90}`"), "\x01"  # code is not broken, if it is short

Row = list[str]


def narrow(text: str) -> str:
    """The text with no line over 120 columns, as far as its words allow; what fits is kept."""
    lines: list[str] = []
    for is_table, group in groupby(text.split("\n"), lambda line: line.startswith("|")):
        block = list(group)
        lines += _narrow_table(block) if is_table else [w for line in block for w in _wrap(line)]
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _wrap(line: str) -> list[str]:
    if len(line) <= COLUMNS or line.startswith(("![", "#", "<!--")):
        return [line]
    indent = re.match(r"\s*(?:[-*] )?", line)[0]  # pyright: ignore[reportOptionalSubscript]
    kept = CODE.sub(lambda code: code[0].replace(" ", NO_BREAK), line)
    lines = textwrap.wrap(
        kept, COLUMNS, subsequent_indent=" " * len(indent),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [each.replace(NO_BREAK, " ") for each in lines]


def _narrow_table(lines: list[str]) -> list[str]:
    if _fits("\n".join(lines)):
        return lines
    header, _, *rows = (
        [c.strip() for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in lines
    )
    rows, notes = _with_notes(rows)
    tables = _cut_or_transposed(header, rows).split("\n")
    return [*tables, "", *notes] if notes else tables


def _cut_or_transposed(header: Row, rows: list[Row]) -> str:
    whole = table(header, rows)
    if _fits(whole):
        return whole
    first, *others = (list(column) for column in zip(header, *rows, strict=True))
    turned = table(first, others)
    if len(rows) <= MAX_TRANSPOSED_ROWS and _fits(turned):
        return turned
    keys = first[1:]
    if len(set(keys)) < len(keys) or max(map(len, keys)) > MAX_KEY:
        key, columns = ["#", *(str(k + 1) for k in range(len(rows)))], [first, *others]
    else:
        key, columns = first, others
    return "\n\n".join(table(top, body) for top, *body in _cut(key, columns))


def _cut(key: Row, columns: list[Row]) -> Iterator[list[Row]]:
    """As many columns as fit beside the key, then the next ones."""
    taken: list[Row] = []
    for column in columns:
        longer = [list(row) for row in zip(key, *taken, column, strict=True)]
        if taken and not _fits(table(longer[0], longer[1:])):
            yield [list(row) for row in zip(key, *taken, strict=True)]
            taken = []
        taken.append(column)
    yield [list(row) for row in zip(key, *taken, strict=True)]


def _with_notes(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows with long remarks in parentheses as numbers, and the notes with their text."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f" ({numbers.setdefault(match[1], len(numbers) + 1)})"

    short = [[REMARK.sub(number, cell) for cell in row] for row in rows]
    return short, [line for text, n in numbers.items() for line in _wrap(f"- ({n}) {text}")]


def _fits(text: str) -> bool:
    return max(map(len, text.split("\n"))) <= COLUMNS
