"""On what is the lite profile measured, and which backends are its stages' rivals?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.known_scenes import scene_folders
from stages.backends import AnyStage, backend_names, find_backend

HANDED_OVER = {"file", "masks"}  # these backends hand over what they are given


@dataclass(frozen=True)
class Sources:
    """data: has the public scenes/ and objects/; renders: has scenes/ of the same layout, drawn by
    `benchmarks.lite.renders`; shared: what is not in the repository; count: of scenes of a kind
    that are measured at most, None for all."""

    data: Path
    renders: Path
    shared: Path
    count: int | None = None

    def scenes(self) -> Iterator[tuple[str, list[Path]]]:
        """The kinds of scenes that are here, each with its folders."""
        for kind, folder in (("scenes", self.data), ("renders", self.renders)):
            if found := scene_folders(folder)[: self.count]:
                yield kind, found


def rivals(stage: AnyStage) -> list[str]:
    """The backends of a stage that this machine can run with nothing downloaded; lite last."""
    names = [name for name in backend_names(stage) if _runs_here(stage, name)]
    return sorted(names, key=lambda name: (name == "lite", name))


def _runs_here(stage: AnyStage, name: str) -> bool:
    backend = find_backend(stage, name)
    if name in HANDED_OVER or backend.models(backend.settings()):
        return False
    return all(importlib.util.find_spec(library) for library in backend.libraries)
