"""Cut every object's context crop, its visible mask and its occluders, with their labels."""

from __future__ import annotations

from collections.abc import Sequence

from flows.calls import WHOLE_SCENE, ObjectInputs, StageCall, Step, built_in_call
from scene.bundles import Bundle, numbered, pack_crop, unpack_masks, with_number
from scene.store import Store
from scene.types import Artifact, Mask, Photo, PointMap
from stages.devices import ModelPool


def call(
    store: Store, photo: Bundle, point_map: Artifact, objects: Sequence[ObjectInputs]
) -> StageCall:
    """The photo, its depth, and all masks with their labels."""
    inputs = {"photo": photo["photo"], "point_map": point_map}
    inputs["labels"] = store.save({"labels": [o.label for o in objects]})
    inputs |= {numbered(o.index, "mask"): o.mask for o in objects}
    return built_in_call(STEP, WHOLE_SCENE, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """Per object the crop, and hidden_by: the nearer objects' mask at the photo's size."""
    from stages.crops import context_crops

    photo = store.load(call.inputs["photo"], Photo)
    point_map = store.load(call.inputs["point_map"], PointMap)
    masks = unpack_masks(store, call.inputs)
    outputs: dict[str, Artifact] = {}
    for index, (crop, hidden_by) in enumerate(context_crops(photo, point_map, masks)):
        bundle = {**pack_crop(store, crop), "hidden_by": store.save(Mask(hidden_by))}
        outputs |= with_number(index, bundle)
    return outputs


STEP = Step("crop", compute, version="2")
