"""Reads a GLB that other programs wrote as one textured mesh: nodes applied, one atlas.

What is read is what glTF 2.0 says a viewer shows of an opaque, unlit model at rest: triangles under
their nodes' transforms, base colours and their textures. Our own files come back as they are.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene.errors import BadInput
from scene.frames import gltf_from_opencv
from scene.texture_atlas import WRAPS, Part, join_parts
from scene.types import Float64, ObjectMesh, Uint8

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
DTYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
TRIANGLES, STRIP, FAN = 4, 5, 6
MAX_DEPTH = 1000  # of nodes below nodes
# Without these a file cannot be read; others that it may require change how it looks, no more.
GEOMETRY_EXTENSIONS = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp"}
APPEARANCE_EXTENSIONS = ("KHR_materials_", "KHR_lights_", "KHR_xmp", "KHR_animation_")
SPECULAR = "KHR_materials_pbrSpecularGlossiness"
WHITE = (1.0, 1.0, 1.0, 1.0)

Tree = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _File:
    """A GLB's JSON and its binary chunk."""

    tree: Tree
    binary: bytes

    def listed(self, name: str, index: Any) -> Tree:
        """One entry of a top-level list."""
        return self.tree[name][index]


def mesh_from_glb(data: bytes) -> ObjectMesh:
    """All surfaces of a GLB in its default scene as one mesh in the object frame's axes.

    BadInput, as the end of a sentence that begins with the file, for what cannot be read.
    """
    try:
        file = _open(data)
        _check_extensions(file.tree)
        parts = [
            part
            for index, matrix in _placed_nodes(file.tree)
            for part in _node_parts(file, file.listed("nodes", index), matrix)
        ]
    except (
        KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error, RecursionError,
        binascii.Error, OSError,
    ) as error:  # fmt: skip
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"is no whole GLB file ({error}): save it again") from None
    if not parts:
        raise BadInput("has no surface: save it with its mesh")
    vertices, faces, uv, texture = join_parts(parts)
    if not np.isfinite(vertices).all():
        raise BadInput("has vertices that are not finite numbers: save it again")
    return ObjectMesh(gltf_from_opencv(vertices).astype(np.float32), faces, uv, texture)


def _open(data: bytes) -> _File:
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != MAGIC:
        raise BadInput("is no GLB file: save it as binary glTF (.glb)")
    chunks: dict[int, bytes] = {}
    position = 12
    while position + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, position)
        chunks.setdefault(kind, data[position + 8 : position + 8 + length])
        if len(chunks[kind]) < length and kind in (JSON_CHUNK, BINARY_CHUNK):
            raise BadInput("is cut short: save it again")
        position += 8 + length
    return _File(json.loads(chunks[JSON_CHUNK]), chunks.get(BINARY_CHUNK, b""))


def _check_extensions(tree: Tree) -> None:
    for name in tree.get("extensionsRequired", []):
        if name not in GEOMETRY_EXTENSIONS and not str(name).startswith(APPEARANCE_EXTENSIONS):
            raise BadInput(f"needs {name}: save it without that extension (no compression)")


def _placed_nodes(tree: Tree) -> Iterator[tuple[int, Float64]]:
    """The nodes of the scene that is shown, with their transforms to its root."""
    nodes = tree.get("nodes", [])
    if "scenes" in tree:
        roots = tree["scenes"][tree.get("scene", 0)].get("nodes", [])
    else:
        below = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in below]
    waiting = [(root, np.eye(4), 0) for root in reversed(roots)]
    while waiting:
        index, parent, depth = waiting.pop()
        if depth > MAX_DEPTH or not isinstance(index, int) or index < 0:
            raise ValueError("its nodes form a ring")
        matrix = parent @ _own_matrix(nodes[index])
        yield index, matrix
        children = reversed(nodes[index].get("children", []))
        waiting += [(child, matrix, depth + 1) for child in children]


def _own_matrix(node: Tree) -> Float64:
    """(4, 4) of a node: its matrix, or translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    length = x * x + y * y + z * z + w * w
    if length == 0:
        raise ValueError("a node's rotation is zero")
    s = 2 / length
    out = np.eye(4)
    out[:3, :3] = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    out[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), np.float64)
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _node_parts(file: _File, node: Tree, matrix: Float64) -> Iterator[Part]:
    if "mesh" not in node:
        return
    if "skin" in node:
        raise BadInput("has a mesh with an armature: apply it, then save")
    mesh = file.listed("meshes", node["mesh"])
    for primitive in mesh["primitives"]:
        if primitive.get("mode", TRIANGLES) not in (TRIANGLES, STRIP, FAN):
            continue  # points and lines have no surface
        positions = _positions(file, primitive, node.get("weights", mesh.get("weights", [])))
        faces = _faces(file, primitive, len(positions))
        if len(faces) == 0:
            continue
        if np.linalg.det(matrix[:3, :3]) < 0:
            faces = faces[:, ::-1]  # a mirror turns surfaces inside out
        if not np.array_equal(matrix, np.eye(4)):  # else to the bit, -0 too
            positions = positions @ matrix[:3, :3].T + matrix[:3, 3]
        yield _painted(file, primitive, positions, faces)


def _positions(file: _File, primitive: Tree, weights: list[float]) -> Float64:
    """(N, 3) with the shape keys at their saved strengths."""
    positions = _accessor(file, primitive["attributes"]["POSITION"]).astype(np.float64)
    for weight, target in zip(weights, primitive.get("targets", []), strict=False):
        if weight and "POSITION" in target:
            positions = positions + weight * _accessor(file, target["POSITION"])
    return positions


def _faces(file: _File, primitive: Tree, count: int) -> NDArray[np.int32]:
    """(M, 3) corners, of triangles, strips and fans alike."""
    if "indices" in primitive:
        corners = _accessor(file, primitive["indices"]).reshape(-1).astype(np.int64)
    else:
        corners = np.arange(count)
    if len(corners) and corners.max() >= count:
        raise ValueError("a face names a vertex that is not there")
    mode = primitive.get("mode", TRIANGLES)
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3).astype(np.int32)
    first, second, third = corners[:-2], corners[1:-1], corners[2:]
    if mode == FAN:
        return np.stack([second, third, np.full_like(second, corners[0])], 1).astype(np.int32)
    odd = (np.arange(len(first)) % 2).astype(bool)
    faces = np.stack([first, np.where(odd, third, second), np.where(odd, second, third)], 1)
    return faces.astype(np.int32)


def _painted(file: _File, primitive: Tree, vertices: Float64, faces: NDArray[np.int32]) -> Part:
    """A primitive with its base colour: of the texture, the factor, and the vertices."""
    material: Tree = {}
    if "material" in primitive:
        material = file.listed("materials", primitive["material"])
    base = material.get("pbrMetallicRoughness", {})
    texture, factor = base.get("baseColorTexture"), base.get("baseColorFactor", WHITE)
    glossy = material.get("extensions", {}).get(SPECULAR)
    if glossy is not None and texture is None:
        texture, factor = glossy.get("diffuseTexture"), glossy.get("diffuseFactor", factor)
    linear = np.array(factor[:3], np.float64)
    attributes = primitive["attributes"]
    named = texture and f"TEXCOORD_{_texture_set(texture)}"
    if texture is not None and named in attributes:
        uv = _transformed(_accessor(file, attributes[named]).astype(np.float64), texture)
        image, wraps = _texture_image(file, file.listed("textures", texture["index"]))
        return Part(vertices, faces, uv, image, linear, wraps)
    colours = None
    if "COLOR_0" in attributes:
        colours = _accessor(file, attributes["COLOR_0"])[:, :3].astype(np.float64)
    return Part(vertices, faces, None, None, linear, (WRAPS[0], WRAPS[0]), colours)


def _texture_set(texture: Tree) -> int:
    moved = texture.get("extensions", {}).get("KHR_texture_transform", {})
    return moved.get("texCoord", texture.get("texCoord", 0))


def _transformed(uv: Float64, texture: Tree) -> Float64:
    """uv (N, 2) as KHR_texture_transform moves them: scaled, turned, then shifted."""
    moved = texture.get("extensions", {}).get("KHR_texture_transform")
    if moved is None:
        return uv
    turn = moved.get("rotation", 0.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (uv * moved.get("scale", (1, 1))) @ rotation.T + moved.get("offset", (0, 0))


def _texture_image(file: _File, texture: Tree) -> tuple[Uint8, tuple[str, str]]:
    """A texture's picture (H, W, 3) sRGB, and how it goes on beyond its sides in u and in v."""
    webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
    image = file.listed("images", webp["source"] if "source" in webp else texture["source"])
    if "bufferView" in image:
        data = _view(file, image["bufferView"])
    elif str(image["uri"]).startswith("data:"):
        data = base64.b64decode(image["uri"].partition(",")[2])
    else:
        raise BadInput(f"keeps its texture in {image['uri']!r}: save it with textures embedded")
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    sampler = file.listed("samplers", texture["sampler"]) if "sampler" in texture else {}
    names = {10497: WRAPS[0], 33648: WRAPS[1], 33071: WRAPS[2]}
    return pixels, (names[sampler.get("wrapS", 10497)], names[sampler.get("wrapT", 10497)])


def _view(file: _File, index: int) -> bytes:
    view = file.listed("bufferViews", index)
    buffer = file.listed("buffers", view["buffer"])
    data = file.binary
    if "uri" in buffer:
        if not str(buffer["uri"]).startswith("data:"):
            raise BadInput(f"keeps its data in {buffer['uri']!r}: save it as one .glb file")
        data = base64.b64decode(buffer["uri"].partition(",")[2])
    start = view.get("byteOffset", 0)
    part = data[start : start + view["byteLength"]]
    if len(part) < view["byteLength"]:
        raise BadInput("is cut short: save it again")
    return part


def _accessor(file: _File, index: int) -> NDArray[Any]:
    """(N, C) values; integers that stand for shares of 1 come as floats."""
    accessor = file.listed("accessors", index)
    count, width = accessor["count"], WIDTHS[accessor["type"]]
    dtype = np.dtype(DTYPES[accessor["componentType"]])
    values = np.zeros((count, width), dtype)
    if "bufferView" in accessor:
        stride = file.listed("bufferViews", accessor["bufferView"]).get("byteStride")
        start = accessor.get("byteOffset", 0)
        values = _strided(_view(file, accessor["bufferView"]), start, count, width, dtype, stride)
    if "sparse" in accessor:
        sparse, values = accessor["sparse"], values.copy()
        at, to = sparse["indices"], sparse["values"]
        number = np.dtype(DTYPES[at["componentType"]])
        data = _view(file, at["bufferView"])
        rows = _strided(data, at.get("byteOffset", 0), sparse["count"], 1, number, None)
        data = _view(file, to["bufferView"])
        values[rows[:, 0].astype(np.int64)] = _strided(
            data, to.get("byteOffset", 0), sparse["count"], width, dtype, None
        )
    if accessor.get("normalized") and dtype.kind in "iu":
        return np.maximum(values / np.iinfo(dtype).max, -1.0)
    return values


def _strided(
    data: bytes, start: int, count: int, width: int, dtype: np.dtype, stride: int | None
) -> NDArray[Any]:
    """(count, width) numbers that lie every `stride` bytes, or one after the other."""
    row = width * dtype.itemsize
    stride = stride or row
    if count and start + (count - 1) * stride + row > len(data):
        raise ValueError("an accessor reaches beyond its data")
    if count == 0:
        return np.zeros((0, width), dtype)
    shape, strides = (count, width), (stride, dtype.itemsize)
    return np.ndarray(shape, dtype, data, start, strides)
