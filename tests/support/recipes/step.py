"""Weigh the scene file."""

from __future__ import annotations

from flows.calls import WHOLE_SCENE, StageCall, Step, built_in_call
from scene.bundles import Bundle
from scene.store import Store
from scene.types import Artifact
from stages.devices import ModelPool


def call(composed: Bundle) -> StageCall:
    """The scene file."""
    return built_in_call(STEP, WHOLE_SCENE, {"glb": composed["glb"]})


def compute(call: StageCall, store: Store, pool: ModelPool) -> dict[str, Artifact]:
    """weight: the file's bytes."""
    return {"weight": store.save({"bytes": len(store.read(call.inputs["glb"]))})}


STEP = Step("weigh", compute, version="1")
