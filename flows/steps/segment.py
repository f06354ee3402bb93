"""Find the objects' visible masks: from prompts, from mask files, or automatically."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flows.calls import WHOLE_SCENE, StageCall, profile_call, stage_step
from flows.request import Request
from scene.bundles import Bundle, numbered, pack_masks
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact, Mask, ObjectPrompt, Photo, Point
from stages import segment
from stages.devices import ModelPool


def call(request: Request, store: Store, photo: Bundle) -> StageCall:
    """The photo and what was asked for in it."""
    asked = {
        "prompts": [asdict(p) for p in request.prompts],
        "labels": [m.label for m in request.masks],
    }
    inputs = {"photo": photo["photo"], "size": photo["details"], "asked": store.save(asked)}
    inputs |= {numbered(i, "file"): m.file for i, m in enumerate(request.masks)}
    return profile_call(request, segment.STAGE, WHOLE_SCENE, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """Per object mask; details with labels and scores."""
    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    asked = store.load(call.inputs["asked"], dict)
    files = [
        read_mask(store.read(call.inputs[numbered(index, "file")]), index, label, photo, size)
        for index, label in enumerate(asked["labels"])
    ]
    prompts = tuple(_scaled_prompt(p, photo.width / size["width"]) for p in asked["prompts"])
    with pool.borrow(segment.STAGE, call.backend, call.settings) as segmenter:
        masks = segment.run(segmenter, photo, prompts, tuple(files))
    return pack_masks(store, masks)


def read_mask(
    data: bytes,
    index: int,
    label: str,
    photo: Photo,
    size: dict[str, Any],
    turned: str | None = None,
) -> Mask:
    """A user's mask file at the working size; BadInput names the mask and what is wrong.

    turned: how EXIF turns the photo, for a message.
    """
    from scene.masks import decode_mask

    sizes = [(photo.width, photo.height), (size["width"], size["height"])]
    try:
        return Mask(decode_mask(data, photo.width, photo.height, sizes, turned), label)
    except BadInput as error:
        raise BadInput(f"mask {index + 1} ({label}) {error}") from None


def _scaled_prompt(value: dict[str, Any], factor: float) -> ObjectPrompt:
    """A prompt in the photo's own pixels, moved to the working size."""
    box = value["box"]
    return ObjectPrompt(
        value["label"],
        value["text"],
        None if box is None else tuple(v * factor for v in box),
        tuple(
            Point(p["x_px"] * factor, p["y_px"] * factor, p["foreground"]) for p in value["points"]
        ),
    )


STEP = stage_step(segment.STAGE, compute)
