"""Map the scene's depth, and settle the photo's camera."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.calls import WHOLE_SCENE, StageCall, profile_call, stage_step
from flows.request import Request
from scene.bundles import Bundle, numbered, unpack_masks
from scene.cameras import (
    camera_from_focal_35mm,
    camera_from_fov,
    camera_from_matrix,
    resize_camera,
)
from scene.errors import BadInput
from scene.store import Store
from scene.types import Artifact, Camera, DepthFile, Photo
from stages import map_points
from stages.backends import find_backend
from stages.devices import ModelPool

FROM_EXIF = "from EXIF"  # ends the note on a focal length that the photo's own data has


def call(request: Request, store: Store, photo: Bundle, masks: Sequence[Artifact]) -> StageCall:
    """The photo and what is known of its camera; masks only for a backend that needs them."""
    inputs = {"photo": photo["photo"], "size": photo["details"]}
    inputs["camera"] = store.save(dict(request.camera))
    if request.point_map is not None:
        inputs["file"] = request.point_map
    inputs |= {numbered(i, "mask"): mask for i, mask in enumerate(masks)}
    return profile_call(request, map_points.STAGE, WHOLE_SCENE, inputs)


def needs_masks(request: Request) -> bool:
    """Whether the chosen backend must wait for segment."""
    choice = request.profile.stages[map_points.STAGE.name]
    return find_backend(map_points.STAGE, choice.backend).needs_masks


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """point_map, which holds the camera."""
    photo, size = store.load(call.inputs["photo"], Photo), store.load(call.inputs["size"], dict)
    camera, note = known_camera(store.load(call.inputs["camera"], dict), size, photo)
    masks = tuple(unpack_masks(store, call.inputs))
    file = call.inputs.get("file")
    depth_file = file and DepthFile(store.read(file), file.suffix, "the depth file")
    with pool.borrow(map_points.STAGE, call.backend, call.settings) as mapper:
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
        camera = camera_from_fov(photo.width, photo.height, math.radians(asked["fov_x_deg"]))
        return camera, f"field of view {asked['fov_x_deg']:g} degrees as given"
    if size["focal_35mm"]:
        camera = camera_from_focal_35mm(photo.width, photo.height, size["focal_35mm"])
        return camera, f"focal length {size['focal_35mm']:g} mm (35 mm equivalent) {FROM_EXIF}"
    return None, ""


STEP = stage_step(map_points.STAGE, compute)
