"""GLB files: one object by itself, and the scene with a named node per object."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scene.frames import gltf_from_opencv, gltf_node_from_similarity
from scene.png import encode_png
from scene.types import Camera, ObjectMesh, Similarity

GENERATOR = "photoscene"
# Dielectric and mostly matt: what most household things are when nothing better is known.
METALLIC, ROUGHNESS = 0.0, 0.8


@dataclass(frozen=True, eq=False)
class MeshNode:
    """A node of the scene's GLB: its name, mesh, place in the camera frame, and extras."""

    name: str
    mesh: ObjectMesh
    camera_from_object: Similarity
    extras: Mapping[str, Any]


def object_to_glb(mesh: ObjectMesh) -> bytes:
    """One object as GLB in glTF axes, cube of side 1 about the origin."""
    return _export([("object", mesh, np.eye(4))], _stamp)


def object_from_glb(data: bytes) -> ObjectMesh:
    """The inverse of `object_to_glb`; any GLB with one textured mesh, nodes applied, reads too."""
    import trimesh

    loaded = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False).to_mesh()
    visual = loaded.visual
    material = getattr(visual, "material", None)
    picture = getattr(material, "baseColorTexture", None)
    uv = getattr(visual, "uv", None)
    if uv is None or picture is None:
        raise ValueError("the GLB's mesh has no texture")
    flipped = np.stack([uv[:, 0], 1 - uv[:, 1]], 1)  # trimesh counts v from the bottom
    return ObjectMesh(
        gltf_from_opencv(np.asarray(loaded.vertices)).astype(np.float32),
        np.asarray(loaded.faces, np.int32),
        flipped.astype(np.float32),
        np.asarray(picture.convert("RGB")),
    )


def scene_to_glb(nodes: list[MeshNode], camera: Camera, extras: Mapping[str, Any]) -> bytes:
    """The whole scene: camera frame turned to glTF axes, the photo's camera at the origin.

    Every mesh is one node below the root; names are used as given and must differ.
    """
    meshes = [(n.name, n.mesh, gltf_node_from_similarity(n.camera_from_object)) for n in nodes]

    def finish(tree: dict[str, Any]) -> None:
        """Add what trimesh does not write: extras and the camera."""
        _stamp(tree)
        by_name = {each.get("name"): each for each in tree["nodes"]}
        for node in nodes:
            by_name[node.name]["extras"] = dict(node.extras)
        _add_camera(tree, camera)
        tree["scenes"][0]["extras"] = dict(extras)

    return _export(meshes, finish)


def _export(nodes: list[tuple[str, ObjectMesh, Any]], finish: Any) -> bytes:
    import trimesh
    from trimesh.exchange.gltf import export_glb

    scene = trimesh.Scene()
    for name, mesh, matrix in nodes:
        scene.add_geometry(_to_trimesh(mesh), node_name=name, geom_name=name, transform=matrix)
    return export_glb(scene, include_normals=True, tree_postprocessor=finish)


def _to_trimesh(mesh: ObjectMesh) -> Any:
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    material = PBRMaterial(
        baseColorTexture=_as_png(mesh.texture),
        metallicFactor=METALLIC,
        roughnessFactor=ROUGHNESS,
        alphaMode="OPAQUE",
        doubleSided=False,
    )
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1)
    visual = TextureVisuals(uv=uv, material=material)
    vertices = gltf_from_opencv(mesh.vertices)
    return trimesh.Trimesh(vertices, mesh.faces, visual=visual, process=False)


def _as_png(pixels: np.ndarray) -> Image.Image:
    """An image that trimesh embeds with the bytes of our own PNG encoding."""
    return Image.open(io.BytesIO(encode_png(pixels)))


def _stamp(tree: dict[str, Any]) -> None:
    """Write the generator, and name materials, textures and images after their mesh."""
    tree["asset"]["generator"] = GENERATOR
    for mesh in reversed(tree["meshes"]):  # equal materials are one, named by the first mesh
        material = tree["materials"][mesh["primitives"][0]["material"]]
        texture = tree["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
        for part in (material, texture, tree["images"][texture["source"]]):
            part["name"] = mesh["name"]


def _add_camera(tree: dict[str, Any], camera: Camera) -> None:
    """The photo's camera as a node at the origin, looking along -z; exact K rides in its extras."""
    vertical_fov_rad = 2 * float(np.arctan(camera.height / (2 * camera.fy_px)))
    perspective = {"yfov": vertical_fov_rad, "aspectRatio": camera.width / camera.height,
                   "znear": 0.001}  # fmt: skip
    tree["cameras"] = [{"type": "perspective", "name": "photo_camera", "perspective": perspective}]
    node = {"name": "photo_camera", "camera": 0,
            "extras": {"role": "camera", "K": camera.K.tolist(),
                       "width": camera.width, "height": camera.height}}  # fmt: skip
    tree["nodes"].append(node)
    tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)
