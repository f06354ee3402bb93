"""Put the masks that a person changed by hand in the place of those that were found."""

from __future__ import annotations

from collections.abc import Sequence

from flows.calls import EDITED_VERSION, WHOLE_SCENE, ObjectInputs, StageCall, Step, edited_call
from flows.request import Request
from flows.steps.segment import read_mask
from scene.bundles import Bundle, indices_with, numbered, unpack_masks
from scene.store import Store
from scene.types import Artifact, Photo
from stages.devices import ModelPool


def call(
    request: Request, store: Store, photo: Bundle, objects: Sequence[ObjectInputs]
) -> StageCall:
    """All masks as they were found, and the files of the changed ones."""
    inputs = {"photo": photo["photo"], "size": photo["details"]}
    inputs["names"] = store.save({"names": [o.name for o in objects]})
    for o in objects:
        inputs[numbered(o.index, "mask")] = o.mask
        mask = request.edits_of(o.id).mask
        if mask is not None:
            inputs[numbered(o.index, "file")] = mask
    return edited_call("edit", WHOLE_SCENE, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """Per object mask."""
    from stages.edits import edited_masks

    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    names = store.load(call.inputs["names"], dict)["names"]
    edited = {
        i: read_mask(store.read(call.inputs[numbered(i, "file")]), i, names[i], photo, size).pixels
        for i in indices_with("file", call.inputs)
    }
    found = edited_masks(unpack_masks(store, call.inputs), edited, names)
    return {numbered(i, "mask"): store.save(mask) for i, mask in enumerate(found)}


STEP = Step("edit", compute, version=EDITED_VERSION)
