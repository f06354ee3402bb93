"""`photoscene doctor`: prints what this machine can run."""

from __future__ import annotations

from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.output import DONE, INCOMPLETE, print_result
from photoscene.doctor import diagnose, diagnosis_table


def show_doctor(store_path: str | None, as_json: bool) -> int:
    """`photoscene doctor`: returns the exit status."""

    found = diagnose(Path(store_root(store_path)))
    print_result(found, diagnosis_table(found), as_json)
    return DONE if found["profiles"]["lite"]["runs"] else INCOMPLETE
