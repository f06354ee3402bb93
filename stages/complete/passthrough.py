"""Complete backend `passthrough`: the object as far as it is visible."""

from __future__ import annotations

from scene.types import Completion, Crop
from stages.complete import CompleteBackend
from stages.settings import NoSettings


class Passthrough:
    """Leaves the object as it is seen."""

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        """The visible cut-out."""
        return Completion(crop.rgba)


def load(settings: NoSettings, device: str) -> Passthrough:
    """Nothing to load."""
    return Passthrough()


BACKEND = CompleteBackend(version="1", settings=NoSettings, load=load)
