"""From a run's placed meshes to what one format writes: axes, unit, origin, and a pivot each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from photoscene.export.frames import (
    CAMERA,
    base_centre,
    file_from_camera,
    floor_point,
    rotation_from_camera,
)
from photoscene.export.model import METRES, Exporter, ExportObject, ExportScene
from photoscene.export.names import plain_names
from photoscene.export.options import ExportOptions
from photoscene.export.source import Source, metadata_of
from photoscene.physics.bodies import body_of
from photoscene.physics.colliders import Colliders
from scene.placed import PlacedMesh
from scene.types import Float64, Similarity

METRIC, RELATIVE = "metric", "relative"


def unit_and_up(exporter: Exporter, options: ExportOptions) -> tuple[str, str]:
    """Those of the format, where it has one only; else what was asked for; else metres, y up."""
    return exporter.unit or options.unit or "m", exporter.up or options.up or "y"


def build_scene(
    name: str,
    source: Source,
    exporter: Exporter,
    options: ExportOptions,
    size_scale: float,
    extras: Mapping[str, Any],
    colliders: Mapping[str, Colliders],
) -> ExportScene:
    """All objects of a run as a format has them. size_scale: metres in a unit of the camera frame,
    or what stands for it; extras: metadata of the whole, plain JSON; colliders: by the objects'
    ids, in the camera frame. The options have a frame and an origin. BadInput where these are not
    known."""
    assert options.frame is not None
    unit, up = unit_and_up(exporter, options)
    rotation = rotation_from_camera(options.frame, up, source.world_from_camera)
    scale = size_scale / METRES[unit]
    turned = Similarity(scale, rotation, np.zeros(3))
    if options.origin == CAMERA:
        placed_from_camera = turned
    elif options.origin == "floor":
        floor = floor_point(source.world_from_camera)
        placed_from_camera = file_from_camera(rotation, scale, floor)
    else:
        base = base_centre([turned.apply(o.camera_vertices) for o in source.placed], up)
        placed_from_camera = replace(turned, translation=-base)
    keys = plain_names([o.name for o in source.placed])
    objects = tuple(
        _object(o, key, placed_from_camera, up) for o, key in zip(source.placed, keys, strict=True)
    )
    if exporter.physical or options.colliders:
        objects = tuple(
            _with_body(o, colliders.get(each.id), placed_from_camera, METRES[unit], options.density)
            for each, o in zip(source.placed, objects, strict=True)
        )
    metadata = {
        "generator": "photoscene",
        "frame": options.frame,
        "origin": options.origin,
        "up": up,
        "unit": unit,
        "scale": METRIC if extras.get("metric") else RELATIVE,
        **extras,
    }
    return ExportScene(name, objects, unit, up, source.camera, placed_from_camera, metadata)


def single_scenes(scene: ExportScene, about_object: bool) -> list[ExportScene]:
    """A scene per object, without the camera; about_object: each with its base at the origin."""
    return [
        replace(
            scene,
            name=f"{scene.name}_{o.key}",
            objects=(replace(o, position=np.zeros(3)) if about_object else o,),
            camera=None,
        )
        for o in scene.objects
    ]


def _with_body(
    o: ExportObject,
    colliders: Colliders | None,
    file_from_camera: Similarity,
    metres: float,
    density: float,
) -> ExportObject:
    body = body_of(
        o.mesh.vertices, o.mesh.faces, colliders, file_from_camera, o.position, metres, density
    )
    return replace(o, body=body)


def _object(placed: PlacedMesh, key: str, to_file: Similarity, up: str) -> ExportObject:
    vertices: Float64 = to_file.apply(placed.camera_vertices)
    position = base_centre([vertices], up)
    normals = placed.mesh.normals
    if normals is not None:
        rotation = to_file.rotation @ placed.camera_from_object.rotation
        normals = (normals @ rotation.T).astype(np.float32)
    mesh = replace(
        placed.mesh, vertices=(vertices - position).astype(np.float32), normals=normals, dense=None
    )
    return ExportObject(
        placed.name, key, placed.label, placed.fit.grade, mesh, position, metadata_of(placed)
    )
