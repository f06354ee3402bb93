"""Complete backend `lite`: a small bundled network guesses the hidden part's outline.

Only what a nearer object, or the photo's border, may hide is filled; where the photo shows that the
object ends, it ends. The object's colours are carried on into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.errors import BadInput
from scene.types import Completion, Crop
from stages.bundled import Network, load_network
from stages.complete import CompleteBackend
from stages.complete.lite.colours import painted
from stages.complete.lite.outline import hidden_part
from stages.complete.lite.scaled import may_hide, scaled
from stages.complete.shared.continuation import filled

WEIGHTS_SHA256 = "d15569f7e138d30facbf43b2d3ccef6f343c9b3f2b69ddee55cfd42034b03b07"
WEIGHTS_FILE = "completion.onnx"


@dataclass(frozen=True)
class Settings:
    """min_hidden: share of the visible area below which nothing is completed."""

    min_hidden: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.min_hidden <= 1:
            raise BadInput(f"min_hidden: expected 0 to 1, got {self.min_hidden:g}")


@dataclass(frozen=True, eq=False)
class Lite:
    """A completer with small bundled weights."""

    settings: Settings
    network: Network

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        """The visible cut-out and its hidden part; the seed has nothing to decide here."""
        visible, hideable = crop.rgba[..., 3] > 127, may_hide(crop)
        if not visible.any() or not hideable.any():
            return Completion(crop.rgba)
        hidden = hidden_part(self.network(scaled(crop))[0, 0], visible, hideable)
        if hidden.sum() < self.settings.min_hidden * visible.sum():
            return Completion(crop.rgba)
        solid = crop.rgba[..., 3] > 250
        rgb = crop.rgba[..., :3].astype(np.float32)
        return filled(crop, hidden, painted(rgb, solid if solid.any() else visible))


def load(settings: Settings, device: str) -> Lite:
    """Read the bundled weights; runs on the CPU whatever the device."""
    return Lite(settings, load_network(WEIGHTS_FILE, WEIGHTS_SHA256))


BACKEND = CompleteBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=(),
    weights_sha256=WEIGHTS_SHA256,
    bundled=(WEIGHTS_FILE,),
)
