"""Place all generated objects at once, in the photo camera's frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.calls import WHOLE_SCENE, ObjectInputs, StageCall, profile_call, stage_step
from flows.request import Request
from scene.bundles import (
    Bundle,
    indices_with,
    numbered,
    of_object,
    pack_table,
    unpack_canonical,
    unpack_masks,
    unpack_table,
)
from scene.files import fit_from_json, fit_to_json, similarity_from_json, similarity_to_json
from scene.store import Store
from scene.types import Artifact, CropCamera, Mask, ObjectMesh, PointMap
from stages import place
from stages.devices import ModelPool
from stages.place import Placement


def call(
    request: Request,
    point_map: Artifact,
    crops: Bundle,
    made: Mapping[str, tuple[Artifact, Artifact]],
    canonical: Mapping[str, Artifact],
    objects: Sequence[ObjectInputs],
) -> StageCall:
    """The meshes with their cameras, all masks and the point map.

    made maps an object's id to its mesh and camera, canonical to its canonical pose, where its
    generator has such. A mesh that a person edited has the camera it
    was edited for, and stays where it stood.
    """
    inputs = {"point_map": point_map}
    for o in objects:
        inputs[numbered(o.index, "mask")] = o.mask
        edits = request.edits_of(o.id)
        if o.id in made:
            mesh, camera = made[o.id]
            inputs[numbered(o.index, "mesh")] = mesh
            inputs[numbered(o.index, "camera")] = edits.mesh_camera or camera
            inputs[numbered(o.index, "hidden_by")] = of_object(o.index, crops)["hidden_by"]
            if o.id in canonical:
                inputs[numbered(o.index, "canonical")] = canonical[o.id]
            if edits.mesh_place is not None:
                inputs[numbered(o.index, "kept")] = edits.mesh_place
    return profile_call(request, place.STAGE, WHOLE_SCENE, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """placements by the objects' numbers, and world: the upright frame, if one was found."""
    indices = indices_with("mesh", call.inputs)
    objects = [of_object(i, call.inputs) for i in indices]
    placing = [
        place.PlacementInput(
            store.load(o["mesh"], ObjectMesh),
            store.load(o["camera"], CropCamera),
            store.load(o["mask"], Mask).pixels,
            store.load(o["hidden_by"], Mask).pixels,
            index + 1,
            unpack_canonical(store, o),
        )
        for index, o in zip(indices, objects, strict=True)
    ]
    kept = [
        similarity_from_json(store.load(o["kept"], dict)) if "kept" in o else None for o in objects
    ]
    point_map = store.load(call.inputs["point_map"], PointMap)
    masks = [mask.pixels for mask in unpack_masks(store, call.inputs)]
    with pool.borrow(place.STAGE, call.backend, call.settings) as placer:
        placed = place.run(placer, placing, point_map, masks, kept)
    world = placed.world_from_camera
    return {
        "placements": _pack(store, dict(zip(indices, placed.placements, strict=True))),
        "world": store.save({"world_from_camera": None if world is None else world.tolist()}),
    }


def _pack(store: Store, placements: Mapping[int, Placement]) -> Artifact:
    listed = {
        index: {
            "camera_from_object": p.camera_from_object and similarity_to_json(p.camera_from_object),
            "fit": p.fit and fit_to_json(p.fit),
            "failure": p.failure,
        }
        for index, p in placements.items()
    }
    return pack_table(store, listed)


def unpack_placements(store: Store, placements: Artifact) -> dict[int, Placement]:
    """Where each object stands, by its index in the photo's list."""
    return {
        index: Placement(
            p["camera_from_object"] and similarity_from_json(p["camera_from_object"]),
            p["fit"] and fit_from_json(p["fit"]),
            p["failure"],
        )
        for index, p in unpack_table(store, placements).items()
    }


STEP = stage_step(place.STAGE, compute)
