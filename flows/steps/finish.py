"""Finish one object's mesh: closed, decimated, unwrapped, with baked maps."""

from __future__ import annotations

import numpy as np

from flows.calls import ObjectInputs, StageCall, profile_call, stage_step
from flows.request import Request
from scene.bundles import MESH_NAMES, Bundle, is_pixel_aligned, pack_mesh
from scene.store import Store
from scene.types import Artifact, CropCamera, Cutout, DenseMesh, ObjectMesh
from stages import finish
from stages.devices import ModelPool


def call(request: Request, o: ObjectInputs, framed: Bundle, generated: Bundle) -> StageCall:
    """The mesh, the dense one that it was made from and its canonical pose, if there are any, and
    the object crop."""
    inputs = {name: generated[name] for name in MESH_NAMES if name in generated}
    inputs |= {name: framed[name] for name in ("image", "camera")}
    return profile_call(request, finish.STAGE, o.id, inputs)


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """mesh."""
    inputs = call.inputs
    mesh = store.load(inputs["mesh"], ObjectMesh)
    dense = store.load(inputs["dense"], DenseMesh) if "dense" in inputs else None
    image, camera = store.load(inputs["image"], Cutout), store.load(inputs["camera"], CropCamera)
    if not is_pixel_aligned(store, inputs):  # then the crop shows none of its surface
        image = Cutout(np.zeros_like(image.rgba))
    with pool.borrow(finish.STAGE, call.backend, call.settings) as finisher:
        return pack_mesh(store, finish.run(finisher, mesh, dense, image, camera))


STEP = stage_step(finish.STAGE, compute)
