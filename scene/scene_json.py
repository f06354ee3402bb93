"""scene.json: a Scene as plain JSON and back. No times, hosts or paths in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from scene.errors import BadInput
from scene.files import (
    camera_from_json,
    camera_to_json,
    fit_from_json,
    fit_to_json,
    similarity_from_json,
    similarity_to_json,
)
from scene.manifests import artifact_from_json
from scene.types import Artifact, Scene, SceneObject

FORMAT = "photoscene-scene/1"
FRAME = "photo camera: x right, y down, z forward"


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Everything of a scene; artifacts by kind, sha256 and suffix."""
    return {
        "format": FORMAT,
        "frame": FRAME,
        "photo": asdict(scene.photo),
        "camera": scene.camera and camera_to_json(scene.camera),
        "points": _artifact(scene.points),
        "world_from_camera": None
        if scene.world_from_camera is None
        else scene.world_from_camera.tolist(),
        "objects": [_object_to_json(o) for o in scene.objects],
        "glb": _artifact(scene.glb),
        "overlay": _artifact(scene.overlay),
        "notes": list(scene.notes),
    }


def scene_from_json(value: Mapping[str, Any]) -> Scene:
    """The inverse of `scene_to_json`; BadInput for another format."""
    if value.get("format") != FORMAT:
        raise BadInput(f"scene.json has format {value.get('format')!r}, expected {FORMAT}")
    world = value["world_from_camera"]
    return Scene(
        photo=artifact_from_json(value["photo"]),
        camera=value["camera"] and camera_from_json(value["camera"]),
        points=_from_json(value["points"]),
        objects=tuple(_object_from_json(o) for o in value["objects"]),
        world_from_camera=None if world is None else np.array(world),
        glb=_from_json(value["glb"]),
        overlay=_from_json(value["overlay"]),
        notes=tuple(value["notes"]),
    )


def _object_to_json(o: SceneObject) -> dict[str, Any]:
    """camera_from_canonical only where there is one."""
    placed, canonical = o.camera_from_object, o.camera_from_canonical
    known = canonical and {"camera_from_canonical": similarity_to_json(canonical)}
    return {
        "id": o.id,
        "label": o.label,
        "name": o.name,
        "mask": asdict(o.mask),
        "completion": _artifact(o.completion),
        "mesh": _artifact(o.mesh),
        "camera_from_object": placed and similarity_to_json(placed),
        "fit": o.fit and fit_to_json(o.fit),
        "failure": o.failure,
        **(known or {}),
    }


def _object_from_json(value: Mapping[str, Any]) -> SceneObject:
    placed, fit = value["camera_from_object"], value["fit"]
    canonical = value.get("camera_from_canonical")
    return SceneObject(
        id=value["id"],
        label=value["label"],
        name=value["name"],
        mask=artifact_from_json(value["mask"]),
        completion=_from_json(value["completion"]),
        mesh=_from_json(value["mesh"]),
        camera_from_object=placed and similarity_from_json(placed),
        fit=fit and fit_from_json(fit),
        failure=value["failure"],
        camera_from_canonical=canonical and similarity_from_json(canonical),
    )


def _artifact(artifact: Artifact | None) -> dict[str, str] | None:
    return None if artifact is None else asdict(artifact)


def _from_json(value: Mapping[str, str] | None) -> Artifact | None:
    return None if value is None else artifact_from_json(value)
