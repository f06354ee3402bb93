"""Generate one object's mesh from its object crop alone, or take the one that a person edited."""

from __future__ import annotations

from flows.calls import EDITED, ObjectInputs, StageCall, profile_call
from flows.request import Request
from flows.steps import edit
from scene.bundles import OBJECT_CROP_NAMES, Bundle, pack_mesh, unpack_object_crop, unpack_views
from scene.store import Store
from scene.types import Artifact
from stages.devices import ModelPool


def call(request: Request, o: ObjectInputs, framed: Bundle) -> StageCall:
    """The object crop, its depth and its camera."""
    edited = request.edits_of(o.id).mesh
    if edited is not None:
        return StageCall("generate", o.id, {"file": edited}, EDITED, edit.VERSION)
    inputs = {name: framed[name] for name in OBJECT_CROP_NAMES}
    return profile_call(request, "generate", o.id, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """mesh, and the backend's notes in details; from a crop, or from several posed views."""
    if call.backend == EDITED:
        from scene.foreign_glb import mesh_from_glb

        return pack_mesh(store, mesh_from_glb(store.read(call.inputs["file"])))
    from stages import generate

    with pool.borrow(call.stage, call.backend, call.all_settings) as generator:
        if "views" in call.inputs:
            views, mesh_scale = unpack_views(store, call.inputs)
            mesh = generate.run_views(generator, views, mesh_scale, call.seed)
        else:
            mesh = generate.run(generator, unpack_object_crop(store, call.inputs), call.seed)
    return pack_mesh(store, mesh)
