"""Complete: an object's context crop -> the whole object, hidden parts included, as RGBA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scene.errors import CannotComplete
from scene.types import Completion, Crop
from stages.backends import Backend, SettingsT, Stage


class Completer(Protocol):
    """What a complete backend does."""

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        """The completed object at the crop's size; visible pixels stay as photographed."""
        ...


CompleterT = TypeVar("CompleterT", bound=Completer)


@dataclass(frozen=True, kw_only=True)
class CompleteBackend(Backend[SettingsT, CompleterT]):
    """What is asked of a complete backend."""


STAGE = Stage[CompleteBackend[Any, Completer]](
    "complete", CompleteBackend, version="1", per_object=True
)


def run(completer: Completer, crop: Crop, label: str, seed: int) -> Completion:
    """Complete one object and check that it still fits its crop."""
    completion = completer.complete(crop, label, seed)
    if completion.rgba.shape != crop.rgba.shape:
        raise ValueError(f"completion is {completion.rgba.shape}, its crop {crop.rgba.shape}")
    if not (completion.rgba[..., 3] > 127).any():
        raise CannotComplete("the completed object is empty")
    return completion
