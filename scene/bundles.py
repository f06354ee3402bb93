"""Values that travel as several artifacts: packed and unpacked in one place per type.

A bundle maps names to artifacts. What belongs to the object at an index of the photo's list is
named "000.mask", "001.mask" and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scene.files import canonical_pose_from_json, canonical_pose_to_json
from scene.store import Store
from scene.types import (
    Artifact,
    CanonicalPose,
    Completion,
    Crop,
    CropCamera,
    Cutout,
    Mask,
    ObjectCrop,
    ObjectMesh,
    Photo,
    PointMap,
    PosedView,
)

Bundle = Mapping[str, Artifact]


def object_number(index: int) -> str:
    """What stands for an object in tables and names of all objects: "000", "001" and so on."""
    return f"{index:03d}"


def numbered(index: int, name: str) -> str:
    """The name of an object's artifact in the bundle of all objects."""
    return f"{object_number(index)}.{name}"


def split_name(name: str) -> tuple[int | None, str]:
    """The inverse of `numbered`; of a name that has no number, None and the name."""
    number, _, kind = name.partition(".")
    return (int(number), kind) if kind and number.isdecimal() else (None, name)


def with_number(index: int, bundle: Bundle) -> dict[str, Artifact]:
    """One object's bundle as a part of the bundle of all objects."""
    return {numbered(index, name): artifact for name, artifact in bundle.items()}


def of_object(index: int, bundle: Bundle) -> dict[str, Artifact]:
    """One object's part of the bundle of all objects, its names without the number."""
    start = numbered(index, "")
    return {n.removeprefix(start): a for n, a in bundle.items() if n.startswith(start)}


def indices_with(name: str, bundle: Bundle) -> list[int]:
    """The indices of the objects that have an artifact of this name."""
    split = (split_name(n) for n in bundle)
    return sorted(index for index, kind in split if index is not None and kind == name)


def pack_table(store: Store, values: Mapping[int, Any]) -> Artifact:
    """Plain JSON by the objects' indices."""
    return store.save({object_number(index): value for index, value in values.items()})


def unpack_table(store: Store, table: Artifact) -> dict[int, Any]:
    """The inverse of `pack_table`."""
    return {int(number): value for number, value in store.load(table, dict).items()}


def pack_masks(store: Store, masks: Sequence[Mask]) -> dict[str, Artifact]:
    """Visible masks as PNG, with their labels and scores in details."""
    listed = [{"label": mask.label, "score": round(mask.score, 6)} for mask in masks]
    files = {numbered(i, "mask"): store.save(mask) for i, mask in enumerate(masks)}
    return {**files, "details": store.save({"objects": listed})}


def unpack_masks(store: Store, bundle: Bundle) -> list[Mask]:
    """The masks of a bundle, with labels and scores where it has details, with its labels else."""
    indices = indices_with("mask", bundle)
    masks = [store.load(bundle[numbered(i, "mask")], Mask) for i in indices]
    listed: list[dict] = [{} for _ in masks]
    if "details" in bundle:
        listed = store.load(bundle["details"], dict)["objects"]
    elif "labels" in bundle:
        listed = [{"label": label} for label in store.load(bundle["labels"], dict)["labels"]]
    return [replace(mask, **values) for mask, values in zip(masks, listed, strict=True)]


def pack_crop(store: Store, crop: Crop) -> dict[str, Artifact]:
    """A context crop: image, occluder, camera; labels of occluders, outside where there are any."""
    bundle = {
        "image": store.save(Cutout(crop.rgba)),
        "occluder": store.save(Mask(crop.occluder)),
        "camera": store.save(crop.camera),
    }
    if crop.occluder_labels:
        bundle["occluder_labels"] = store.save({"labels": list(crop.occluder_labels)})
    if crop.outside is not None:
        bundle["outside"] = store.save(Mask(crop.outside))
    return bundle


CROP_NAMES = ("image", "occluder", "camera", "occluder_labels", "outside")


def unpack_crop(store: Store, bundle: Bundle) -> Crop:
    """The inverse of `pack_crop`."""
    labels, outside = bundle.get("occluder_labels"), bundle.get("outside")
    return Crop(
        store.load(bundle["image"], Cutout).rgba,
        store.load(bundle["occluder"], Mask).pixels,
        store.load(bundle["camera"], CropCamera),
        tuple(store.load(labels, dict)["labels"]) if labels else (),
        store.load(outside, Mask).pixels if outside else None,
    )


def pack_completion(store: Store, completion: Completion) -> dict[str, Artifact]:
    """A completion: image, and the notes of its maker in details."""
    details = store.save({"notes": list(completion.notes)})
    return {"image": store.save(Cutout(completion.rgba)), "details": details}


def pack_object_crop(store: Store, crop: ObjectCrop) -> dict[str, Artifact]:
    """An object crop: image, camera, and its depth as the point map of the crop's camera."""
    return {
        "image": store.save(Cutout(crop.rgba)),
        "depth": store.save(PointMap(crop.depth, crop.camera.camera, guessed=not crop.measured)),
        "camera": store.save(crop.camera),
    }


OBJECT_CROP_NAMES = ("image", "depth", "camera")


def unpack_object_crop(store: Store, bundle: Bundle) -> ObjectCrop:
    """The inverse of `pack_object_crop`."""
    depth = store.load(bundle["depth"], PointMap)
    return ObjectCrop(
        store.load(bundle["image"], Cutout).rgba,
        depth.depth,
        store.load(bundle["camera"], CropCamera),
        measured=not depth.guessed,
    )


def pack_mesh(store: Store, mesh: ObjectMesh) -> dict[str, Artifact]:
    """A mesh as GLB; the notes of its maker in details, dense and canonical (its canonical pose),
    where there are any."""
    bundle = {"mesh": store.save(mesh)}
    if mesh.notes:
        bundle["details"] = store.save({"notes": list(mesh.notes)})
    if mesh.dense is not None:
        bundle["dense"] = store.save(mesh.dense)
    if mesh.canonical is not None:
        bundle["canonical"] = store.save(canonical_pose_to_json(mesh.canonical))
    return bundle


MESH_NAMES = ("mesh", "dense", "canonical")


def unpack_canonical(store: Store, bundle: Bundle) -> CanonicalPose | None:
    """The canonical pose of a mesh's bundle, None where it has none."""
    packed = bundle.get("canonical")
    return None if packed is None else canonical_pose_from_json(store.load(packed, dict))


def is_pixel_aligned(store: Store, bundle: Bundle) -> bool:
    """Whether a bundle's mesh projects onto its pixels: all but canonical ones without a pose."""
    pose = unpack_canonical(store, bundle)
    return pose is None or pose.pixel_aligned


def pack_views(store: Store, views: Sequence[PosedView], mesh_scale: float) -> dict[str, Artifact]:
    """Posed views of one object: an image of each, and their cameras in views."""
    cameras = [
        {"fov_x_rad": v.fov_x_rad, "world_from_camera": v.world_from_camera.tolist()} for v in views
    ]
    images = {numbered(i, "image"): store.save(Cutout(v.rgba)) for i, v in enumerate(views)}
    return {"views": store.save({"mesh_scale": mesh_scale, "cameras": cameras}), **images}


def unpack_views(store: Store, bundle: Bundle) -> tuple[list[PosedView], float]:
    """The inverse of `pack_views`: the views, and the scale of the mesh."""
    rig = store.load(bundle["views"], dict)
    views = [
        PosedView(
            store.load(bundle[numbered(i, "image")], Cutout).rgba,
            camera["fov_x_rad"],
            np.array(camera["world_from_camera"]),
        )
        for i, camera in enumerate(rig["cameras"])
    ]
    return views, rig["mesh_scale"]


def notes_of(store: Store, bundle: Bundle) -> list[str]:
    """What the maker of a bundle noted in its details."""
    details = bundle.get("details")
    return store.load(details, dict).get("notes", []) if details else []


def pack_photo(store: Store, photo: Photo, details: Mapping) -> dict[str, Artifact]:
    """The photo at its working size, and what its file has about it (size, focal length, notes)."""
    return {"photo": store.save(photo), "details": store.save(dict(details))}
