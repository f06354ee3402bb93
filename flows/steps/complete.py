"""Complete one object's hidden parts inside its context crop, or take what a person painted."""

from __future__ import annotations

from flows.calls import EDITED, ObjectInputs, StageCall, edited_call, profile_call, stage_step
from flows.request import Request
from scene.bundles import CROP_NAMES, Bundle, of_object, pack_completion, unpack_crop
from scene.store import Store
from scene.types import Artifact, CropCamera, Cutout
from stages import complete
from stages.devices import ModelPool


def call(request: Request, store: Store, o: ObjectInputs, crops: Bundle) -> StageCall:
    """The object's own crop; the photo around it does not count.

    A completion that a person edited is taken instead.
    """
    crop = of_object(o.index, crops)
    edits = request.edits_of(o.id)
    if edits.completion is not None and edits.completion_camera is not None:
        files = {"file": edits.completion, "edited_camera": edits.completion_camera}
        files["camera"] = crop["camera"]
        return edited_call("complete", o.id, files)
    inputs = {name: crop[name] for name in CROP_NAMES if name in crop}
    inputs["label"] = store.save({"label": o.label})
    return profile_call(request, complete.STAGE, o.id, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """image, and the backend's notes in details."""
    if call.backend == EDITED:
        return _edited(call, store)
    crop = unpack_crop(store, call.inputs)
    label = store.load(call.inputs["label"], dict)["label"]
    with pool.borrow(complete.STAGE, call.backend, call.settings) as completer:
        return pack_completion(store, complete.run(completer, crop, label, call.seed))


def _edited(call: StageCall, store: Store) -> dict[str, Artifact]:
    from scene.images import decode_cutout
    from stages.edits import edited_completion

    cutout = decode_cutout(store.read(call.inputs["file"]))
    cameras = [store.load(call.inputs[name], CropCamera) for name in ("edited_camera", "camera")]
    completion = edited_completion(cutout, *cameras)
    return {"image": store.save(Cutout(completion.rgba))}


STEP = stage_step(complete.STAGE, compute)
