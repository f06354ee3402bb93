"""Where a fault of photoscene itself is written down for whoever mends it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

FOLDER = "faults"


def write_fault(error: BaseException, store_root: str) -> Path | None:
    """Write a report of an exception to a fresh file below the store, else among the temporary
    files; None where neither can be written."""
    report = fault_report(error)
    for folder in (Path(store_root) / FOLDER, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            now = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
            opened, name = tempfile.mkstemp(".txt", f"photoscene-fault-{now}-", folder)
            with os.fdopen(opened, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(report)
        except OSError:  # a full disk, or a folder of somebody else's
            continue
        return Path(name)
    return None


def fault_report(error: BaseException) -> str:
    """The versions, the command's words and the whole chain of tracebacks."""
    try:
        version = metadata.version("photoscene")
    except metadata.PackageNotFoundError:
        version = "not installed as a package"
    return "\n".join(
        [
            f"photoscene {version}",
            f"Python {platform.python_version()}",
            platform.platform(),
            f"command: {shlex.join(sys.argv)}",
            "",
            "".join(traceback.format_exception(error)),
        ]
    )
