"""Complete backend `inpaint`: the hidden part continues the visible outline and its colours."""

from __future__ import annotations

from dataclasses import dataclass

from scene.errors import BadInput
from scene.types import Completion, Crop
from stages.complete import CompleteBackend
from stages.complete.shared.continuation import continued


@dataclass(frozen=True)
class Settings:
    """min_hidden: share of the visible area below which nothing is completed; radius_px: how far
    the inpainting looks for colours."""

    min_hidden: float = 0.005
    radius_px: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.min_hidden <= 1:
            raise BadInput(f"min_hidden: expected 0 to 1, got {self.min_hidden:g}")
        if not 1 <= self.radius_px <= 100:
            raise BadInput(f"radius_px: expected 1 to 100, got {self.radius_px}")


@dataclass(frozen=True)
class HullInpainting:
    """Fills the occluded part of the convex hull, or of the ellipse that the outline is."""

    settings: Settings

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        """The visible cut-out, and below the occluders its continuation with continued colours."""
        return continued(crop, self.settings.min_hidden, self.settings.radius_px)


def load(settings: Settings, device: str) -> HullInpainting:
    """Nothing to load."""
    return HullInpainting(settings)


BACKEND = CompleteBackend(version="2", settings=Settings, load=load)
