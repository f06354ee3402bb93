"""GLB files: one object by itself, and the scene with a named node per object."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scene.frames import gltf_from_opencv, gltf_node_from_similarity
from scene.normals import UPWARD, vertex_tangents
from scene.png import encode_png
from scene.types import Camera, Float32, Float64, Material, ObjectMesh, Similarity, Uint8

GENERATOR = "photoscene"
# Dielectric and mostly matt: what most household things are when nothing better is known.
METALLIC, ROUGHNESS = 0.0, 0.8
OPAQUE, TRANSPARENT = "OPAQUE", "BLEND"
# trimesh marks attributes that it does not know; the tree then has the name of the standard.
MARKED_TANGENT, TANGENT = "_TANGENT", "TANGENT"


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

    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    loaded = scene.to_mesh()  # computes the normals anew
    visual = loaded.visual
    material = getattr(visual, "material", None)
    image = getattr(material, "baseColorTexture", None)
    uv = getattr(visual, "uv", None)
    if material is None or uv is None or image is None:
        raise ValueError("the GLB's mesh has no texture")
    flipped = np.stack([uv[:, 0], 1 - uv[:, 1]], 1)  # trimesh counts v from the bottom
    return ObjectMesh(
        gltf_from_opencv(np.asarray(loaded.vertices)).astype(np.float32),
        np.asarray(loaded.faces, np.int32),
        flipped.astype(np.float32),
        np.asarray(image.convert("RGB")),
        material=_read_material(material),
        normals=_written_normals(scene),
    )


def _written_normals(scene: Any) -> Float32 | None:
    """The file's own normals, where it has one mesh whose node leaves it where it is."""
    meshes = list(scene.geometry.values())
    (node, *others) = scene.graph.nodes_geometry
    if len(meshes) > 1 or others or not np.array_equal(scene.graph[node][0], np.eye(4)):
        return None
    return gltf_from_opencv(np.asarray(meshes[0].vertex_normals)).astype(np.float32)


def _read_material(material: Any) -> Material:
    """What `_to_trimesh` wrote."""
    blue_to_red, normals = material.metallicRoughnessTexture, material.normalTexture
    alpha = None
    if material.alphaMode == TRANSPARENT:
        alpha = np.asarray(material.baseColorTexture.convert("RGBA"))[..., 3]
    return Material(
        alpha,
        None if blue_to_red is None else np.asarray(blue_to_red.convert("RGB"))[..., [2, 1]],
        None if normals is None else np.asarray(normals.convert("RGB")),
        bool(material.doubleSided),
    )


def scene_to_glb(
    nodes: list[MeshNode],
    camera: Camera | None,
    extras: Mapping[str, Any],
    camera_pose: Float64 | None = None,
    rights: str = "",
) -> bytes:
    """The whole scene: camera frame turned to glTF axes, the photo's camera at the origin.

    Every mesh is one node below the root; names are used as given and must differ. camera_pose:
    (4, 4) the matrix of the camera's node where it stands elsewhere; no camera: no such node.
    rights: under which the file is given away.
    """
    meshes = [(n.name, n.mesh, gltf_node_from_similarity(n.camera_from_object)) for n in nodes]

    def finish(tree: dict[str, Any]) -> None:
        """Add what trimesh does not write: extras and the camera."""
        _stamp(tree)
        by_name = {each.get("name"): each for each in tree["nodes"]}
        for node in nodes:
            by_name[node.name]["extras"] = dict(node.extras)
        if camera is not None:
            _add_camera(tree, camera, camera_pose)
        tree["scenes"][0]["extras"] = dict(extras)
        if rights:
            tree["asset"]["copyright"] = rights

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

    material = mesh.material
    mapped = material.metallic_roughness is not None  # factors are multiplied with the map
    look = PBRMaterial(
        baseColorTexture=_as_png(_base_colour(mesh)),
        metallicRoughnessTexture=_as_png(_metallic_roughness(material)) if mapped else None,
        normalTexture=None if material.normal_map is None else _as_png(material.normal_map),
        metallicFactor=1.0 if mapped else METALLIC,
        roughnessFactor=1.0 if mapped else ROUGHNESS,
        alphaMode=OPAQUE if material.alpha is None else TRANSPARENT,
        doubleSided=material.double_sided,
    )
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1)
    visual = TextureVisuals(uv=uv, material=look)
    made = trimesh.Trimesh(
        gltf_from_opencv(mesh.vertices),
        mesh.faces,
        vertex_normals=None if mesh.normals is None else gltf_from_opencv(mesh.normals),
        visual=visual,
        process=False,
    )
    normals = made.vertex_normals
    without = np.linalg.norm(normals, axis=1) < 0.5  # all of its faces have no area
    if without.any():
        made.vertex_normals = np.where(without[:, None], UPWARD, normals)
    if material.normal_map is not None:
        # Given ones, so that every viewer has the frames in which the map was baked.
        tangents = vertex_tangents(made.vertices, mesh.faces, mesh.uv, made.vertex_normals)
        made.vertex_attributes[MARKED_TANGENT] = tangents
    return made


def _base_colour(mesh: ObjectMesh) -> Uint8:
    """The texture (H, W, 3), with alpha (H, W, 4) where some of it is see-through."""
    alpha = mesh.material.alpha
    return mesh.texture if alpha is None else np.dstack([mesh.texture, alpha])


def _metallic_roughness(material: Material) -> Uint8:
    """As glTF has it: roughness in green, metallic in blue; red, where occlusion may be, full."""
    assert material.metallic_roughness is not None
    metallic, roughness = np.moveaxis(material.metallic_roughness, 2, 0)
    return np.dstack([np.full_like(metallic, 255), roughness, metallic])


def _as_png(pixels: np.ndarray) -> Image.Image:
    """An image that trimesh embeds with the bytes of our own PNG encoding."""
    return Image.open(io.BytesIO(encode_png(pixels)))


def _stamp(tree: dict[str, Any]) -> None:
    """Write the generator, and name materials, textures and images after their mesh."""
    tree["asset"]["generator"] = GENERATOR
    for mesh in reversed(tree["meshes"]):  # equal materials are one, named by the first mesh
        primitive = mesh["primitives"][0]
        attributes = primitive["attributes"]
        if MARKED_TANGENT in attributes:
            attributes[TANGENT] = attributes.pop(MARKED_TANGENT)
        material = tree["materials"][primitive["material"]]
        material["name"] = mesh["name"]
        surface = material["pbrMetallicRoughness"]
        _name_map(tree, surface["baseColorTexture"], mesh["name"])
        if "metallicRoughnessTexture" in surface:
            name = f"{mesh['name']} metallic-roughness"
            _name_map(tree, surface["metallicRoughnessTexture"], name)
        if "normalTexture" in material:
            _name_map(tree, material["normalTexture"], f"{mesh['name']} normals")


def _name_map(tree: dict[str, Any], used: Mapping[str, int], name: str) -> None:
    texture = tree["textures"][used["index"]]
    texture["name"] = tree["images"][texture["source"]]["name"] = name


def _add_camera(tree: dict[str, Any], camera: Camera, pose: Float64 | None) -> None:
    """The photo's camera as a node, at the origin without a pose, looking along -z; exact K rides
    in its extras."""
    vertical_fov_rad = 2 * float(np.arctan(camera.height / (2 * camera.fy_px)))
    perspective = {"yfov": vertical_fov_rad, "aspectRatio": camera.width / camera.height,
                   "znear": 0.001}  # fmt: skip
    tree["cameras"] = [{"type": "perspective", "name": "photo_camera", "perspective": perspective}]
    node = {"name": "photo_camera", "camera": 0,
            "extras": {"role": "camera", "K": camera.K.tolist(),
                       "width": camera.width, "height": camera.height}}  # fmt: skip
    if pose is not None:
        node["matrix"] = pose.T.reshape(-1).tolist()
    tree["nodes"].append(node)
    tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)
