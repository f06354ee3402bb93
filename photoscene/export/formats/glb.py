"""glb: binary glTF 2.0, all materials and metadata in one file; y up and metres by its standard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from photoscene.export.model import Exporter, ExportObject, ExportScene, licence_of
from scene.frames import GLTF_FROM_CAMERA, gltf_from_opencv
from scene.glb import MeshNode, scene_to_glb
from scene.types import Float64, Similarity


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.glb."""
    nodes = [_node(o) for o in scene.objects]
    extras = {"role": "scene", **scene.metadata}
    data = scene_to_glb(nodes, scene.camera, extras, camera_pose(scene), licence_of(scene))
    (folder / f"{scene.name}.glb").write_bytes(data)


def camera_pose(scene: ExportScene) -> Float64:
    """(4, 4) rigid, of a camera that looks along its -z with y up, in the axes of the file."""
    pose = np.eye(4)
    pose[:3, :3] = scene.file_from_camera.rotation @ GLTF_FROM_CAMERA
    pose[:3, 3] = scene.file_from_camera.translation
    return pose


def _node(o: ExportObject) -> MeshNode:
    """`scene_to_glb` turns OpenCV's axes to glTF's; these are glTF's by now, so turn them back."""
    normals = o.mesh.normals
    mesh = replace(
        o.mesh,
        vertices=gltf_from_opencv(o.mesh.vertices),
        normals=None if normals is None else gltf_from_opencv(normals),
    )
    place = Similarity(1.0, np.eye(3), GLTF_FROM_CAMERA @ o.position)
    return MeshNode(o.name, mesh, place, {"role": "object", **o.metadata})


EXPORTER = Exporter("glb", write, unit="m", up="y")
