"""Decode the photo: upright, sRGB, at most 2048 pixels long; read its focal length."""

from __future__ import annotations

from dataclasses import dataclass

from flows.calls import WHOLE_SCENE, StageCall, Step, built_in_call
from flows.request import Request
from scene.bundles import pack_photo
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact
from stages.devices import ModelPool

MAX_SIDE_PX = 2048


@dataclass(frozen=True)
class Settings:
    """max_side_px: larger photos are worked on at this size."""

    max_side_px: int = MAX_SIDE_PX


def call(request: Request) -> StageCall:
    """The photo's file; its key changes with the working size."""
    return built_in_call(STEP, WHOLE_SCENE, {"file": request.photo}, Settings())


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """photo, details (size, focal length, notes)."""
    from scene.images import decode_photo

    assert isinstance(call.settings, Settings)
    try:
        photo, details = decode_photo(store.read(call.inputs["file"]), call.settings.max_side_px)
    except BadInput as error:
        raise BadInput(f"the photo {error}") from None
    return pack_photo(store, photo, details)


STEP = Step("photo", compute, version="3")
