"""How each step is carried out: load the inputs, call the stage, save the outputs."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from flows.steps import EDITED, Outcome, StageCall
from scene.cameras import (
    camera_from_focal_35mm,
    camera_from_fov,
    camera_from_matrix,
    resize_camera,
)
from scene.errors import BadInput
from scene.files import fit_from_json, similarity_from_json, similarity_to_json
from scene.foreign_glb import mesh_from_glb
from scene.glb import PlacedMesh
from scene.masks import decode_mask
from scene.pictures import decode_cutout, decode_photo
from scene.store import Manifest, Store
from scene.types import (
    Artifact,
    Camera,
    Completion,
    Crop,
    CropCamera,
    Cutout,
    DepthFile,
    Mask,
    ObjectCrop,
    ObjectMesh,
    ObjectPrompt,
    Photo,
    Point,
    PointMap,
    PosedView,
)
from stages import complete, compose, crops, edits, generate, map_points, place, segment
from stages.devices import ModelPool

logger = logging.getLogger(__name__)


def produce(call: StageCall, store: Store, pool: ModelPool, refresh: bool = False) -> Outcome:
    """The result of a call: from the store if it is there and whole, else computed and published.

    refresh computes even what the store has. Errors of the stage itself are raised.
    """
    known = None if refresh else store.lookup(call.key)
    if known is not None:
        logger.info("cached", extra={"call": call, "seconds": 0.0, "computed": False})
        return Outcome(call, known)
    started = time.monotonic()
    outputs = (EDITS if call.backend == EDITED else COMPUTE)[call.stage](call, store, pool)
    seconds = time.monotonic() - started
    manifest = Manifest(
        call.key, call.stage, call.subject, call.backend, call.version, call.settings, call.weights,
        call.seed, call.inputs, outputs, round(seconds, 4),
    )  # fmt: skip
    store.publish(manifest)
    logger.info("computed", extra={"call": call, "seconds": seconds, "computed": True})
    return Outcome(call, manifest, computed=True)


Outputs = dict[str, Artifact]


def _borrowed(call: StageCall, pool: ModelPool) -> AbstractContextManager[Any]:
    """The call's backend, as its settings of both kinds say."""
    return pool.borrow(call.stage, call.backend, {**call.settings, **call.local})


def _photo(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    try:
        photo, details = decode_photo(store.read(call.inputs["file"]), call.settings["max_side_px"])
    except BadInput as error:
        raise BadInput(f"the photo {error}") from None
    return {"photo": store.save(photo), "details": store.save(details)}


def _segment(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    asked = store.load(call.inputs["asked"], dict)
    files = [
        read_mask(store.read(call.inputs[f"{index:03d}.file"]), index, label, photo, size)
        for index, label in enumerate(asked["labels"])
    ]
    prompts = tuple(_scaled_prompt(p, photo.width / size["width"]) for p in asked["prompts"])
    with _borrowed(call, pool) as segmenter:
        masks = segment.run(segmenter, photo, prompts, tuple(files))
    outputs = {f"{i:03d}.mask": store.save(mask) for i, mask in enumerate(masks)}
    listed = [{"label": mask.label, "score": round(mask.score, 6)} for mask in masks]
    return {**outputs, "details": store.save({"objects": listed})}


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
    sizes = [(photo.width, photo.height), (size["width"], size["height"])]
    try:
        pixels = decode_mask(data, photo.width, photo.height, sizes, turned)
        return Mask(pixels, label)
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


def _map_points(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    camera, note = known_camera(store.load(call.inputs["camera"], dict), size, photo)
    masks = tuple(
        store.load(a, Mask) for n, a in sorted(call.inputs.items()) if n.endswith(".mask")
    )
    file = call.inputs.get("file")
    depth_file = file and DepthFile(store.read(file), file.suffix, "the depth file")
    with _borrowed(call, pool) as mapper:
        point_map = map_points.run(mapper, photo, camera, masks, depth_file)
    if note:
        point_map = dataclasses.replace(point_map, notes=(note, *point_map.notes))
    return {"point_map": store.save(point_map)}


def known_camera(
    asked: dict[str, Any], size: dict[str, Any], photo: Photo
) -> tuple[Camera | None, str]:
    """The camera by falling trust: given, field of view given, EXIF; else None. And a note."""
    if "K" in asked:
        if abs(asked["width"] / asked["height"] * photo.height / photo.width - 1) > 0.01:
            raise BadInput(
                f"--camera is for {asked['width']} x {asked['height']} pixels, "
                f"the photo has {size['width']} x {size['height']}: give the camera of this photo"
            )
        given = camera_from_matrix(asked["width"], asked["height"], np.array(asked["K"]))
        return resize_camera(given, photo.width, photo.height), "camera as given"
    if "fov_x_deg" in asked:
        camera = camera_from_fov(photo.width, photo.height, np.radians(asked["fov_x_deg"]))
        return camera, f"field of view {asked['fov_x_deg']:g} degrees as given"
    if size["focal_35mm"]:
        camera = camera_from_focal_35mm(photo.width, photo.height, size["focal_35mm"])
        return camera, f"focal length {size['focal_35mm']:g} mm (35 mm equivalent) from EXIF"
    return None, ""


def _crop(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    photo = store.load(call.inputs["photo"], Photo)
    point_map = store.load(call.inputs["point_map"], PointMap)
    numbers = _numbers(call, ".mask")
    labels = store.load(call.inputs["labels"], dict)["labels"]
    masks = [
        Mask(store.load(call.inputs[f"{n}.mask"], Mask).pixels, label)
        for n, label in zip(numbers, labels, strict=True)
    ]
    outputs: Outputs = {}
    for number, (crop, hidden_by) in zip(
        numbers, crops.context_crops(photo, point_map, masks), strict=True
    ):
        outputs[f"{number}.image"] = store.save(Cutout(crop.rgba))
        outputs[f"{number}.occluder"] = store.save(Mask(crop.occluder))
        outputs[f"{number}.camera"] = store.save(crop.camera)
        outputs[f"{number}.hidden_by"] = store.save(Mask(hidden_by))
        if crop.occluder_labels:
            named = {"labels": list(crop.occluder_labels)}
            outputs[f"{number}.occluder_labels"] = store.save(named)
        if crop.outside is not None:
            outputs[f"{number}.outside"] = store.save(Mask(crop.outside))
    return outputs


def _complete(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    named, outside = call.inputs.get("occluder_labels"), call.inputs.get("outside")
    crop = Crop(
        store.load(call.inputs["image"], Cutout).rgba,
        store.load(call.inputs["occluder"], Mask).pixels,
        store.load(call.inputs["camera"], CropCamera),
        tuple(store.load(named, dict)["labels"]) if named else (),
        store.load(outside, Mask).pixels if outside else None,
    )
    label = store.load(call.inputs["label"], dict)["label"]
    with _borrowed(call, pool) as completer:
        completion = complete.run(completer, crop, label, call.seed)
    details = store.save({"notes": list(completion.notes)})
    return {"image": store.save(Cutout(completion.rgba)), "details": details}


def _edit(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    names = store.load(call.inputs["names"], dict)["names"]
    masks = [store.load(call.inputs[f"{n}.mask"], Mask) for n in _numbers(call, ".mask")]
    edited = {
        int(n): read_mask(store.read(call.inputs[f"{n}.file"]), int(n), names[int(n)], photo, size)
        for n in _numbers(call, ".file")
    }
    found = edits.edited_masks(masks, {i: m.pixels for i, m in edited.items()}, names)
    return {f"{i:03d}.mask": store.save(mask) for i, mask in enumerate(found)}


def _edited_completion(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    cutout = decode_cutout(store.read(call.inputs["file"]))
    cameras = [store.load(call.inputs[name], CropCamera) for name in ("edited_camera", "camera")]
    completion = edits.edited_completion(cutout, *cameras)
    return {"image": store.save(Cutout(completion.rgba))}


def _edited_mesh(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    return {"mesh": store.save(mesh_from_glb(store.read(call.inputs["file"])))}


def _frame(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    crop = crops.object_crop(
        Completion(store.load(call.inputs["image"], Cutout).rgba),
        store.load(call.inputs["context_camera"], CropCamera),
        store.load(call.inputs["point_map"], PointMap),
        store.load(call.inputs["mask"], Mask),
    )
    return {
        "image": store.save(Cutout(crop.rgba)),
        "depth": store.save(PointMap(crop.depth, crop.camera.camera, guessed=not crop.measured)),
        "camera": store.save(crop.camera),
    }


def _generate(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    if "views" in call.inputs:
        return _generate_from_views(call, store, pool)
    seen = store.load(call.inputs["depth"], PointMap)
    crop = ObjectCrop(
        store.load(call.inputs["image"], Cutout).rgba,
        seen.depth,
        store.load(call.inputs["camera"], CropCamera),
        measured=not seen.guessed,
    )
    with _borrowed(call, pool) as generator:
        return _made(store, generate.run(generator, crop, call.seed))


def _generate_from_views(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    rig = store.load(call.inputs["views"], dict)
    views = [
        PosedView(
            store.load(call.inputs[f"{i:03d}.image"], Cutout).rgba,
            camera["fov_x_rad"],
            np.array(camera["world_from_camera"]),
        )
        for i, camera in enumerate(rig["cameras"])
    ]
    with _borrowed(call, pool) as generator:
        mesh = generate.run_views(generator, views, rig["mesh_scale"], call.seed)
    return _made(store, mesh)


def _made(store: Store, mesh: ObjectMesh) -> Outputs:
    """The mesh, and what its maker has to say, if anything."""
    details = {"details": store.save({"notes": list(mesh.notes)})} if mesh.notes else {}
    return {"mesh": store.save(mesh), **details}


def _place(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    numbers = _numbers(call, ".mesh")
    unplaced = [
        place.PlacementInput(
            store.load(call.inputs[f"{n}.mesh"], ObjectMesh),
            store.load(call.inputs[f"{n}.camera"], CropCamera),
            store.load(call.inputs[f"{n}.mask"], Mask).pixels,
            store.load(call.inputs[f"{n}.hidden_by"], Mask).pixels,
            int(n) + 1,
        )
        for n in numbers
    ]
    point_map = store.load(call.inputs["point_map"], PointMap)
    masks = [store.load(call.inputs[f"{n}.mask"], Mask).pixels for n in _numbers(call, ".mask")]
    kept = [
        similarity_from_json(store.load(call.inputs[f"{n}.kept"], dict))
        if f"{n}.kept" in call.inputs
        else None
        for n in numbers
    ]
    with _borrowed(call, pool) as placer:
        placed = place.run(placer, unplaced, point_map, masks, kept)
    listed = {
        number: {
            "camera_from_object": p.camera_from_object and similarity_to_json(p.camera_from_object),
            "fit": p.fit and dataclasses.asdict(p.fit),
            "failure": p.failure,
        }
        for number, p in zip(numbers, placed.placements, strict=True)
    }
    world = placed.world_from_camera
    return {
        "placements": store.save(listed),
        "world": store.save({"world_from_camera": None if world is None else world.tolist()}),
    }


def _compose(call: StageCall, store: Store, pool: ModelPool) -> Outputs:
    placements = store.load(call.inputs["placements"], dict)
    names = store.load(call.inputs["names"], dict)
    objects = []
    for number in _numbers(call, ".mesh"):
        placed, name = placements[number], names[number]
        if placed["camera_from_object"] is None:
            continue
        fit = fit_from_json(placed["fit"])
        extras = {"role": "object", "id": name["id"], "label": name["label"],
                  "silhouette_iou": round(fit.silhouette_iou, 4), "grade": fit.grade,
                  "warnings": list(fit.warnings)}  # fmt: skip
        mesh = store.load(call.inputs[f"{number}.mesh"], ObjectMesh)
        similarity = similarity_from_json(placed["camera_from_object"])
        objects.append(PlacedMesh(name["name"], mesh, similarity, extras))
    photo, point_map = (
        store.load(call.inputs["photo"], Photo),
        store.load(call.inputs["point_map"], PointMap),
    )
    masks = [store.load(call.inputs[f"{n}.mask"], Mask) for n in _numbers(call, ".mask")]
    extras = {"role": "scene", "frame": "photo camera, glTF axes (x right, y up, z backward)",
              "unit": "metre" if point_map.metric else "point-map unit"}  # fmt: skip
    with _borrowed(call, pool) as composer:
        made = compose.run(composer, objects, point_map.camera, photo, masks, extras)
    return {
        "glb": store.save_bytes(made.glb, "scene_glb", ".glb"),
        "overlay": store.save(Photo(made.overlay)),
    }


def _numbers(call: StageCall, ending: str) -> list[str]:
    """The object numbers ("000", "001", ...) that have an input with this ending."""
    return sorted(n.removesuffix(ending) for n in call.inputs if n.endswith(ending))


COMPUTE: dict[str, Callable[[StageCall, Store, ModelPool], Outputs]] = {
    "photo": _photo,
    "segment": _segment,
    "map_points": _map_points,
    "crop": _crop,
    "complete": _complete,
    "frame": _frame,
    "generate": _generate,
    "place": _place,
    "compose": _compose,
}

EDITS = {"edit": _edit, "complete": _edited_completion, "generate": _edited_mesh}
