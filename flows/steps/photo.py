"""Decode the photo: upright, sRGB, at most 2048 pixels long; read its focal length."""

from __future__ import annotations

from flows.calls import BUILT_IN, WHOLE_SCENE, StageCall
from flows.request import Request
from scene.bundles import pack_photo
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact
from stages.devices import ModelPool

VERSION = "3"
MAX_SIDE_PX = 2048  # larger photos are worked on at this size


def call(request: Request) -> StageCall:
    """The photo's file; its key changes with the working size."""
    settings = {"max_side_px": MAX_SIDE_PX}
    return StageCall("photo", WHOLE_SCENE, {"file": request.photo}, BUILT_IN, VERSION, settings)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """photo, details (size, focal length, notes)."""
    from scene.images import decode_photo

    try:
        photo, details = decode_photo(store.read(call.inputs["file"]), call.settings["max_side_px"])
    except BadInput as error:
        raise BadInput(f"the photo {error}") from None
    return pack_photo(store, photo, details)
