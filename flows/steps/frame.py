"""Re-centre the completed object: the object crop, its camera and the depth within it."""

from __future__ import annotations

from flows.calls import ObjectInputs, StageCall, Step, built_in_call
from scene.bundles import Bundle, of_object, pack_object_crop
from scene.store import Store
from scene.types import Artifact, Completion, CropCamera, Cutout, Mask, PointMap
from stages.devices import ModelPool


def call(o: ObjectInputs, crops: Bundle, completed: Bundle, point_map: Artifact) -> StageCall:
    """The completed picture, the camera of its crop, and the depth of the visible mask."""
    inputs = {
        "image": completed["image"],
        "context_camera": of_object(o.index, crops)["camera"],
        "point_map": point_map,
        "mask": o.mask,
    }
    return built_in_call(STEP, o.id, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """image, depth, camera."""
    from stages.crops import object_crop

    crop = object_crop(
        Completion(store.load(call.inputs["image"], Cutout).rgba),
        store.load(call.inputs["context_camera"], CropCamera),
        store.load(call.inputs["point_map"], PointMap),
        store.load(call.inputs["mask"], Mask),
    )
    return pack_object_crop(store, crop)


STEP = Step("frame", compute, version="1", per_object=True)
