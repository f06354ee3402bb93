"""What commands print: a result for people or machines, and warnings beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from scene.text import printable

DONE, INCOMPLETE = 0, 1  # exit statuses; those of errors are in `cli/errors.py`


def print_warnings(lines: Sequence[str]) -> None:
    """Lines on standard error, about what a person should know of their files."""
    for line in lines:
        print(f"photoscene: {printable(line)}", file=sys.stderr)


def print_result(value: dict[str, Any], text: str, as_json: bool) -> None:
    """A JSON document for machines, or lines for people."""
    lines = (printable(line) for line in text.splitlines())
    print(json.dumps(value, indent=1) if as_json else "\n".join(lines))
