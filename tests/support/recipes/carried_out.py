"""A small scene, carried out by the packages that are found first: these, or those of a copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.calls import Outcome, StageCall
from flows.compute import produce
from flows.plan import carry_out, plan_scene
from photoscene.inputs.request import build_request
from scene.store import Store
from stages.devices import ModelPool
from support.small_photo import SmallPhoto


def carried_out(photo: SmallPhoto, store: Store, settings: Sequence[str]) -> dict[str, Any]:
    """The steps in order with their keys, the stages of the profile, and what the scene is."""
    arguments = photo.arguments({})
    arguments = replace(arguments, settings=(*arguments.settings, *settings))
    request, pool = build_request(arguments, store), ModelPool()

    def run(calls: list[StageCall]) -> list[Outcome]:
        return [produce(call, store, pool) for call in calls]

    scene, outcomes = carry_out(plan_scene(request, store), run)
    assert scene.glb is not None and scene.overlay is not None
    return {
        "keys": [(o.call.stage, o.call.key) for o in outcomes],
        "stages": list(request.profile.stages),
        "bytes": [scene.glb.sha256, scene.overlay.sha256],
        "meshes": [o.mesh and o.mesh.sha256 for o in scene.objects],
        "failures": [o.failure for o in scene.objects],
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    masks = {name: Path(path) for name, path in asked["masks"].items()}
    small_photo = SmallPhoto(Path(asked["photo"]), masks, Path(asked["depth"]))
    found = [carried_out(small_photo, Store(Path(asked["store"])), s) for s in asked["settings"]]
    print(json.dumps(found))
