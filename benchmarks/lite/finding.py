"""What do the segment backends find by themselves in photos whose masks are known?"""

from __future__ import annotations

from functools import partial

from benchmarks.found_objects import found_table, photo_examples, scene_examples
from benchmarks.lite.sources import Sources, rivals
from stages import segment
from stages.backends import find_backend
from stages.segment import Segmenter


def finding_table(sources: Sources) -> str:
    """A row per kind of photos and backend."""
    examples = {kind: scene_examples(folders) for kind, folders in sources.scenes()}
    if photos := photo_examples(sources.shared)[: sources.count]:
        examples["photos"] = photos
    else:
        print(f"{sources.shared}/data/photos is absent (photos that are not in the repository)")
    backends = {name: partial(_loaded, name) for name in rivals(segment.STAGE)}
    return found_table(backends, examples)


def _loaded(name: str) -> Segmenter:
    backend = find_backend(segment.STAGE, name)
    return backend.load(backend.settings(), "cpu")
