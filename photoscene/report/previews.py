"""The page's images and light meshes, kept in the content store: drawn once, then looked up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from photoscene.report import flat_images
from photoscene.report.viewer_model import light_object, object_budget
from scene.bundles import numbered
from scene.files import encode_json
from scene.keys import stage_key
from scene.manifests import Manifest
from scene.png import decode_png
from scene.store import DamagedArtifact, Store
from scene.types import Artifact, Cutout, Float64, Mask, ObjectMesh, Photo, PointMap

VERSION = "4"  # bump it when any image or light mesh comes out differently
STAGE, KIND = "preview", "preview"
CROP_SIDE_PX, STILL_SIDE_PX = 256, 144
# Many objects get smaller images, so that the page stays bounded: (objects, fraction of the side).
SIZE_STEPS = ((40, 1.0), (120, 0.7), (400, 0.5))
MIN_SIZE_FRACTION = 0.3
UP_DIGITS = 2  # to which callers round it: half a degree shows in no image, so redraw none

Files = Mapping[str, bytes]
Draw = Callable[[], Files]


def size_fraction(objects: int) -> float:
    """By how much an object's images are made smaller when there are many."""
    fractions = (fraction for maximum, fraction in SIZE_STEPS if objects <= maximum)
    return next(fractions, MIN_SIZE_FRACTION)


def photo_preview(store: Store, photo: Artifact) -> Files:
    """The photo: photo.jpg."""

    def draw() -> Files:
        return {"photo.jpg": flat_images.scene_image(store.load(photo, Photo).rgb)}

    return _preview(store, "photo", {}, {"photo": photo}, draw)


def overlay_preview(store: Store, overlay: Artifact) -> Files:
    """The re-render: overlay.jpg."""

    def draw() -> Files:
        return {"overlay.jpg": flat_images.scene_image(decode_png(store.read(overlay), "RGB"))}

    return _preview(store, "overlay", {}, {"overlay": overlay}, draw)


def masks_preview(store: Store, photo: Artifact, masks: list[Artifact]) -> Files:
    """The numbered masks: masks.jpg."""

    def draw() -> Files:
        loaded = [store.load(mask, Mask) for mask in masks]
        return {"masks.jpg": flat_images.masks_image(store.load(photo, Photo), loaded)}

    inputs = {"photo": photo} | {numbered(i, "mask"): mask for i, mask in enumerate(masks)}
    return _preview(store, "masks", {}, inputs, draw)


def points_preview(store: Store, photo: Artifact, points: Artifact, up: Float64 | None) -> Files:
    """The point map: details.json always; depth.webp, scale.webp, turned.webp and above.webp where
    any depth is known, normals.webp where normals are. up (3,): the scene's upward direction, None
    for the camera's own."""
    settings = {"up": None if up is None else up.tolist()}

    def draw() -> Files:
        point_map = store.load(points, PointMap)
        span = flat_images.depth_range(point_map.depth)
        details = {"metric": point_map.metric, "notes": list(point_map.notes),
                   "range": span and asdict(span)}  # fmt: skip
        files = {"details.json": encode_json(details)}
        if span is None:
            return files
        from photoscene.report.rendered_views import points_from_above, rotated_points

        shown = store.load(photo, Photo)
        if point_map.normals is not None:
            files["normals.webp"] = flat_images.normals_image(point_map.normals)
        return files | {
            "depth.webp": flat_images.depth_image(point_map.depth, span),
            "scale.webp": flat_images.depth_scale_image(),
            "turned.webp": flat_images.webp(rotated_points(point_map, shown, up)),
            "above.webp": flat_images.webp(points_from_above(point_map, shown, up)),
        }

    return _preview(store, "points", settings, {"photo": photo, "points": points}, draw)


def context_preview(
    store: Store, image: Artifact, occluder: Artifact, index: int, objects: int
) -> Files:
    """An object's context crop with its visible mask: context.webp."""
    settings = {"index": index, "side_px": round(CROP_SIDE_PX * size_fraction(objects))}

    def draw() -> Files:
        crop, hides = store.load(image, Cutout), store.load(occluder, Mask)
        drawn = flat_images.context_image(crop, hides, index, settings["side_px"])
        return {"context.webp": drawn}

    return _preview(store, "context", settings, {"image": image, "occluder": occluder}, draw)


def cutout_preview(store: Store, image: Artifact, objects: int) -> Files:
    """A completion or an object crop: cutout.webp."""
    settings = {"side_px": round(CROP_SIDE_PX * size_fraction(objects))}

    def draw() -> Files:
        drawn = flat_images.cutout_image(store.load(image, Cutout), settings["side_px"])
        return {"cutout.webp": drawn}

    return _preview(store, "cutout", settings, {"image": image}, draw)


def mesh_preview(store: Store, mesh: Artifact, objects: int, up: Float64 | None) -> Files:
    """An object's mesh: its turned stills turntable.webp, and viewer.glb for the 3D view.

    up (3,): the scene's upward direction in the object's frame, None for the crop camera's own.
    """
    settings = {
        "up": None if up is None else up.tolist(),
        "side_px": round(STILL_SIDE_PX * size_fraction(objects)),
        "budget_bytes": object_budget(objects),
    }

    def draw() -> Files:
        from photoscene.report.rendered_views import turntable

        loaded = store.load(mesh, ObjectMesh)
        stills = turntable(loaded, settings["side_px"], up)
        return {
            "turntable.webp": flat_images.webp(stills),
            "viewer.glb": light_object(loaded, settings["budget_bytes"]),
        }

    return _preview(store, "mesh", settings, {"mesh": mesh}, draw)


def _preview(
    store: Store,
    what: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    draw: Draw,
) -> Files:
    """Files by name: from the store, else drawn and published.

    Empty where an input is missing from the store or damaged: the page says so and goes on.
    """
    key = stage_key(STAGE, what, VERSION, settings, "", inputs, 0)
    known = store.lookup(key)
    if known is not None:
        return {name: store.read(a) for name, a in known.outputs.items()}
    started = time.monotonic()
    try:
        files = draw()
    except DamagedArtifact:
        return {}
    outputs = {
        name: store.save_bytes(data, KIND, PurePath(name).suffix) for name, data in files.items()
    }
    seconds = round(time.monotonic() - started, 4)
    store.publish(
        Manifest(key, STAGE, what, what, VERSION, settings, "", 0, inputs, outputs, seconds)
    )
    return files
