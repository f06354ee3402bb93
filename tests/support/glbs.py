"""GLB files as other programs write them, of a given mesh."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
from PIL import Image

from scene.foreign_glb import BINARY_CHUNK, JSON_CHUNK, MAGIC
from scene.frames import gltf_from_opencv
from scene.types import ObjectMesh

CODES = {"int16": 5122, "uint16": 5123, "uint8": 5121, "uint32": 5125, "float32": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Glb:
    """A GLB under construction: `tree` is its JSON, to be changed at will."""

    def __init__(self, generator: str = "Khronos glTF Blender I/O v4.2.57") -> None:
        self.binary = b""
        self.tree: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": generator}, "accessors": [], "bufferViews": [],
            "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [], "meshes": [],
        }  # fmt: skip

    def view(self, data: bytes, stride: int | None = None) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.binary += data
        self.tree["bufferViews"].append(view | ({"byteStride": stride} if stride else {}))
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, normalized: bool = False) -> int:
        values = np.ascontiguousarray(values)
        width = 1 if values.ndim == 1 else values.shape[1]
        padding = -width * values.itemsize % 4  # attributes begin at multiples of 4
        stride = width * values.itemsize + padding if padding and width > 1 else None
        rows = values.reshape(len(values), -1).view(np.uint8)
        data = np.pad(rows, ((0, 0), (0, padding))).tobytes() if stride else values.tobytes()
        entry = {"bufferView": self.view(data, stride), "count": len(values), "type": TYPES[width],
                 "componentType": CODES[values.dtype.name]}  # fmt: skip
        self.tree["accessors"].append(entry | ({"normalized": True} if normalized else {}))
        return len(self.tree["accessors"]) - 1

    def picture(self, pixels: np.ndarray, kind: str = "PNG") -> None:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind, lossless=True)
        image = {"bufferView": self.view(out.getvalue()), "mimeType": f"image/{kind.lower()}"}
        self.tree.setdefault("images", []).append(image)
        source = len(self.tree["images"]) - 1
        self.tree.setdefault("textures", []).append({"source": source})

    def material(self, **base: Any) -> int:
        self.tree.setdefault("materials", []).append({"pbrMetallicRoughness": base})
        return len(self.tree["materials"]) - 1

    def data(self) -> bytes:
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        self.tree["buffers"] = [{"byteLength": len(binary)}]
        text = json.dumps(self.tree).encode()
        text += b" " * (-len(text) % 4)
        chunks = ((JSON_CHUNK, text), (BINARY_CHUNK, binary))
        body = b"".join(struct.pack("<II", len(c), kind) + c for kind, c in chunks)
        return struct.pack("<III", MAGIC, 2, 12 + len(body)) + body


def plain(mesh: ObjectMesh) -> Glb:
    """One node, one primitive, no normals, its texture embedded."""
    glb = Glb()
    glb.picture(mesh.texture)
    attributes = {
        "POSITION": glb.accessor(gltf_from_opencv(mesh.vertices).astype(np.float32)),
        "TEXCOORD_0": glb.accessor(mesh.uv),
    }
    indices = glb.accessor(mesh.faces.reshape(-1).astype(np.uint32))
    material = glb.material(baseColorTexture={"index": 0})
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    glb.tree["meshes"].append({"primitives": [primitive]})
    glb.tree["nodes"].append({"mesh": 0, "name": "Cup"})
    return glb


def turned(mesh: ObjectMesh) -> Glb:
    """Blender's z up: the vertices turned, a root node that turns them back, another in between."""
    glb = plain(mesh)
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)  # by -90 degrees about x
    vertices = gltf_from_opencv(mesh.vertices) @ turn / 2 - [0, 1, 0]
    attributes = glb.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["POSITION"] = glb.accessor(vertices.astype(np.float32))
    half = float(np.sqrt(0.5))
    glb.tree["nodes"] = [
        {"rotation": [-half, 0, 0, half], "children": [2]},
        {"name": "Light", "translation": [4, 1, 6]},
        {"scale": [2, 2, 2], "translation": [0, 2, 0], "children": [3]},
        {"mesh": 0},
    ]
    glb.tree["scenes"] = [{"nodes": [0, 1]}]
    return glb


def quantised(mesh: ObjectMesh) -> Glb:
    """Numbers of 16 bits, as packers write them, with a webp texture."""
    glb = plain(mesh)
    glb.picture(mesh.texture, "WEBP")
    vertices = gltf_from_opencv(mesh.vertices)
    reach = float(np.abs(vertices).max())
    attributes = glb.tree["meshes"][0]["primitives"][0]["attributes"]
    numbers = np.rint(vertices / reach * 32767).astype(np.int16)
    attributes["POSITION"] = glb.accessor(numbers, normalized=True)
    attributes["TEXCOORD_0"] = glb.accessor(np.rint(mesh.uv * 65535).astype(np.uint16), True)
    glb.tree["nodes"] = [{"mesh": 0, "scale": [reach] * 3}]
    glb.tree["textures"] = [{"extensions": {"EXT_texture_webp": {"source": 1}}}]
    names = ["KHR_mesh_quantization", "EXT_texture_webp"]
    glb.tree |= {"extensionsUsed": names, "extensionsRequired": names}
    return glb


def in_pieces(mesh: ObjectMesh) -> Glb:
    """Two nodes with a mesh each, one of two primitives, all over the same list of vertices."""
    glb = plain(mesh)
    first = glb.tree["meshes"][0]["primitives"][0]
    thirds = np.array_split(mesh.faces.astype(np.uint16), 3)
    parts = [{**first, "indices": glb.accessor(t.reshape(-1))} for t in thirds]
    glb.tree["meshes"] = [{"primitives": parts[:2]}, {"primitives": parts[2:]}]
    glb.tree["nodes"] = [{"mesh": 0}, {"mesh": 1}]
    glb.tree["scenes"] = [{"nodes": [0, 1]}]
    return glb


def mirrored(mesh: ObjectMesh) -> Glb:
    """A node that mirrors what was mirrored before: its faces point inwards in the file."""
    glb = plain(mesh)
    vertices = gltf_from_opencv(mesh.vertices) * [-1, 1, 1]
    primitive = glb.tree["meshes"][0]["primitives"][0]
    primitive["attributes"]["POSITION"] = glb.accessor(vertices.astype(np.float32))
    primitive["indices"] = glb.accessor(mesh.faces[:, ::-1].reshape(-1).astype(np.uint32))
    glb.tree["nodes"] = [{"mesh": 0, "matrix": np.diag([-1.0, 1, 1, 1]).ravel().tolist()}]
    return glb


def moved_texture(mesh: ObjectMesh) -> Glb:
    """uv of another set, that KHR_texture_transform turns, scales and shifts into place."""
    glb = plain(mesh)
    angle = 0.3
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    uv = ((mesh.uv - [0.1, 0.2]) @ turn) / [0.5, 2.0]
    attributes = glb.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = glb.accessor(uv.astype(np.float32))
    moved = {"offset": [0.1, 0.2], "rotation": angle, "scale": [0.5, 2.0], "texCoord": 1}
    texture = {"index": 0, "extensions": {"KHR_texture_transform": moved}}
    glb.tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = texture
    glb.tree |= {"extensionsUsed": ["KHR_texture_transform", "KHR_materials_unlit"],
                 "extensionsRequired": ["KHR_materials_unlit"]}  # fmt: skip
    return glb


def repeated(mesh: ObjectMesh) -> Glb:
    """uv some whole turns away, which a repeating texture shows alike."""
    glb = plain(mesh)
    attributes = glb.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_0"] = glb.accessor((mesh.uv + [3, -2]).astype(np.float32))
    return glb


STYLES = {f.__name__: f for f in (plain, turned, quantised, in_pieces, mirrored, moved_texture,
                                  repeated)}  # fmt: skip
