"""Generate one object's mesh from its object crop alone, or take the one that a person edited."""

from __future__ import annotations

from flows.calls import EDITED, ObjectInputs, StageCall, edited_call, profile_call, stage_step
from flows.request import Request
from scene.bundles import OBJECT_CROP_NAMES, Bundle, pack_mesh, unpack_object_crop, unpack_views
from scene.store import Store
from scene.types import Artifact
from stages import generate
from stages.backends import find_backend
from stages.devices import ModelPool


def call(request: Request, o: ObjectInputs, framed: Bundle) -> StageCall:
    """The object crop, its depth and its camera."""
    edited = request.edits_of(o.id).mesh
    if edited is not None:
        return edited_call("generate", o.id, {"file": edited})
    inputs = {name: framed[name] for name in OBJECT_CROP_NAMES}
    return profile_call(request, generate.STAGE, o.id, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """mesh, and the backend's notes in details; from a crop, or from several posed views."""
    if call.backend == EDITED:
        from scene.foreign_glb import mesh_from_glb

        return pack_mesh(store, mesh_from_glb(store.read(call.inputs["file"])))
    with pool.borrow(generate.STAGE, call.backend, call.settings) as generator:
        if "views" in call.inputs:
            views, mesh_scale = unpack_views(store, call.inputs)
            mesh = generate.run_views(generator, views, mesh_scale, call.seed)
        else:
            crop = unpack_object_crop(store, call.inputs)
            fov_range_deg = find_backend(generate.STAGE, call.backend).fov_range_deg
            mesh = generate.run(generator, crop, call.seed, fov_range_deg)
    return pack_mesh(store, mesh)


STEP = stage_step(generate.STAGE, compute)
