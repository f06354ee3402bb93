"""Write the scene file, and its re-render laid over the photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.calls import WHOLE_SCENE, ObjectInputs, StageCall, profile_call, stage_step
from flows.request import Request
from flows.steps.place import unpack_placements
from scene.bundles import (
    Bundle,
    indices_with,
    numbered,
    pack_table,
    unpack_masks,
    unpack_table,
)
from scene.placed import PlacedMesh
from scene.store import Store
from scene.types import Artifact, ObjectMesh, Photo, PointMap
from stages import compose
from stages.devices import ModelPool


def call(
    request: Request,
    store: Store,
    photo: Bundle,
    point_map: Artifact,
    placements: Artifact,
    meshes: Mapping[str, Artifact],
    objects: Sequence[ObjectInputs],
) -> StageCall:
    """Meshes (by object id), placements and names, and the photo with its masks."""
    inputs = {"photo": photo["photo"], "point_map": point_map, "placements": placements}
    names = {o.index: {"id": o.id, "name": o.name, "label": o.label} for o in objects}
    inputs["names"] = pack_table(store, names)
    for o in objects:
        inputs[numbered(o.index, "mask")] = o.mask
        if o.id in meshes:
            inputs[numbered(o.index, "mesh")] = meshes[o.id]
    return profile_call(request, compose.STAGE, WHOLE_SCENE, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """glb, overlay."""
    placements = unpack_placements(store, call.inputs["placements"])
    names = unpack_table(store, call.inputs["names"])
    objects = []
    for index in indices_with("mesh", call.inputs):
        placed, name = placements[index], names[index]
        if placed.camera_from_object is None or placed.fit is None:
            continue
        mesh = store.load(call.inputs[numbered(index, "mesh")], ObjectMesh)
        objects.append(PlacedMesh(
            name["id"], name["name"], name["label"], mesh, placed.camera_from_object, placed.fit
        ))  # fmt: skip
    photo = store.load(call.inputs["photo"], Photo)
    point_map = store.load(call.inputs["point_map"], PointMap)
    extras = {"role": "scene", "frame": "photo camera, glTF axes (x right, y up, z backward)",
              "unit": "metre" if point_map.metric else "point-map unit"}  # fmt: skip
    with pool.borrow(compose.STAGE, call.backend, call.settings) as composer:
        made = compose.run(composer, objects, point_map.camera, photo,
                           unpack_masks(store, call.inputs), extras)  # fmt: skip
    return {
        "glb": store.save_bytes(made.glb, "scene_glb", ".glb"),
        "overlay": store.save(Photo(made.overlay)),
    }


STEP = stage_step(compose.STAGE, compute)
