"""Is there what a format needs, and if not, what brings it?"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from photoscene.export.model import Exporter
from scene.errors import CannotRun


def check_libraries(exporter: Exporter) -> None:
    """CannotRun, with what brings it, where a format needs something that is not there."""
    require(f"format {exporter.name}", exporter.libraries)
    exporter.check()


def require(what: str, libraries: Mapping[str, str]) -> None:
    """CannotRun, with what brings it, for the first of these modules that is not there."""
    lacking = missing_library(libraries)
    if lacking:
        raise CannotRun(f"{what} {lacking}")


def missing_library(libraries: Mapping[str, str]) -> str:
    """What is said of the first of these modules that is not there, "" for none."""
    for library, remedy in libraries.items():
        if importlib.util.find_spec(library) is None:
            return f"needs {library}: {remedy}"
    return ""
