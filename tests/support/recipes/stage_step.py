"""Tint one object's mesh."""

from __future__ import annotations

from flows.calls import ObjectInputs, StageCall, profile_call, stage_step
from flows.request import Request
from scene.bundles import Bundle, pack_mesh
from scene.store import Store
from scene.types import Artifact, ObjectMesh
from stages import tint
from stages.devices import ModelPool


def call(request: Request, o: ObjectInputs, generated: Bundle) -> StageCall:
    """The mesh."""
    return profile_call(request, tint.STAGE, o.id, {"mesh": generated["mesh"]})


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """mesh."""
    with pool.borrow(tint.STAGE, call.backend, call.settings) as tinter:
        return pack_mesh(store, tint.run(tinter, store.load(call.inputs["mesh"], ObjectMesh)))


STEP = stage_step(tint.STAGE, compute)
