"""A light copy of the scene's GLB for the page: JPEG textures, small numbers, a byte budget.

Each object is reduced by itself to a GLB of one node, so that a changed object costs only its own
reduction; `viewer_scene` then puts them together with the names and places of scene.glb.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene.frames import gltf_from_opencv, gltf_node_from_similarity
from scene.types import Float32, Float64, Material, ObjectMesh, Similarity

TOTAL_BUDGET_BYTES = 9_000_000  # for all objects: base64 makes 12 MB of it
MAX_OBJECT_BYTES = 600_000  # what a full relief needs once its numbers are small
TEXTURE_FRACTION = 0.4  # of an object's budget; the mesh gets what the texture leaves
TEXTURE_SIDES_PX = (512, 384, 256, 192, 128, 96, 64)
CELLS = (256, 192, 128, 96, 72, 56, 42, 32, 24, 18, 13, 10, 7, 5)  # cells along the longest side
FRAME_BYTES = 1500  # of the file's JSON and headers
CHART_CELLS = 8  # corners whose uv lie in different cells of this grid are never averaged
JPEG_QUALITY = 85
STEPS_OF_16_BITS = 65535
GLB_MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
UINT16, UINT32 = 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
EXTENSIONS = ["KHR_materials_unlit", "KHR_mesh_quantization"]


@dataclass(frozen=True, eq=False)
class ViewerObject:
    """An object as `light_object` made it, with its name and place."""

    name: str
    camera_from_object: Similarity
    glb: bytes


@dataclass(frozen=True, eq=False)
class Sphere:
    """Where something stands in the GLB's axes: centre (3,) and radius."""

    centre: Float64
    radius: float


def object_budget(count: int) -> int:
    """Bytes that one of `count` objects may take.

    It halves when the count doubles and stays put in between, so that a stored reduction serves
    scenes with a few objects more or fewer.
    """
    places = 1 << max(count - 1, 0).bit_length()
    return min(MAX_OBJECT_BYTES, TOTAL_BUDGET_BYTES // places)


def light_object(mesh: ObjectMesh, budget_bytes: int) -> bytes:
    """A GLB of one object in glTF axes, at most budget_bytes long.

    The texture becomes a JPEG, a PNG where some of it is see-through; positions and uv become
    16-bit numbers; normals and other maps are dropped, since the material is unlit and shows the
    texture as it is. Where that is too much still, near vertices are merged.
    """
    texture = _texture(mesh, round(budget_bytes * TEXTURE_FRACTION))
    mesh_budget = budget_bytes - len(texture) - FRAME_BYTES
    vertices = gltf_from_opencv(mesh.vertices).astype(np.float32)
    parts = (vertices, mesh.faces, mesh.uv)
    for cells in CELLS:
        if _mesh_bytes(len(parts[0]), len(parts[1])) <= mesh_budget:
            break
        parts = merged(vertices, mesh.faces, mesh.uv, cells)
    return _object_glb(*parts, texture, mesh.material)


def merged(
    vertices: Float32, faces: NDArray[np.int32], uv: Float32, cells: int
) -> tuple[Float32, NDArray[np.int32], Float32]:
    """A coarser mesh: all vertices (N, 3) in one cell of a cubic grid become their mean.

    Vertices whose uv (N, 2) lie far apart share the place, not the uv, so charts stay whole and no
    crack opens along their seams. cells: how many lie along the longest side.
    """
    low = vertices.min(0)
    extent = float((vertices.max(0) - low).max()) or 1.0
    cell = np.minimum((vertices - low) / extent * cells, cells - 1).astype(np.int64)
    place = _numbered(cell @ np.array([1, cells, cells * cells]))
    chart = np.clip(uv * CHART_CELLS, 0, CHART_CELLS - 1).astype(np.int64)
    corner = _numbered(place * CHART_CELLS**2 + chart @ np.array([1, CHART_CELLS]))
    place_of_corner = np.zeros(corner.max() + 1, np.int64)
    place_of_corner[corner] = place
    at = place[faces]
    kept = (at[:, 0] != at[:, 1]) & (at[:, 1] != at[:, 2]) & (at[:, 2] != at[:, 0])
    used, new_faces = np.unique(corner[faces[kept]], return_inverse=True)
    new_vertices = _means(vertices, place)[place_of_corner[used]]
    return new_vertices, new_faces.reshape(-1, 3).astype(np.int32), _means(uv, corner)[used]


def viewer_scene(objects: Sequence[ViewerObject]) -> bytes:
    """One GLB: a root node per object, named and placed as in scene.glb."""
    tree: dict[str, Any] = _new_tree()
    binary: list[bytes] = []
    size = 0
    for o in objects:
        piece, data = _read_glb(o.glb)
        node = gltf_node_from_similarity(o.camera_from_object) @ _matrix(piece["nodes"][0])
        _append(tree, piece, size)
        index = len(tree["meshes"]) - 1
        tree["meshes"][index]["name"] = o.name
        tree["nodes"].append({"name": o.name, "mesh": index, "matrix": node.T.ravel().tolist()})
        binary.append(data)
        size += len(data)
    tree["scenes"] = [{"nodes": list(range(len(objects)))}]
    return _glb(tree, b"".join(binary))


def box_corners(o: ViewerObject) -> Float64:
    """(8, 3) corners of an object's own box, where it stands in the GLB of `viewer_scene`."""
    piece, _ = _read_glb(o.glb)
    node = gltf_node_from_similarity(o.camera_from_object) @ _matrix(piece["nodes"][0])
    low, high = (np.array(piece["accessors"][0][end], np.float64) for end in ("min", "max"))
    pick = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])
    return (low + (high - low) * pick) @ node[:3, :3].T + node[:3, 3]


def bounding_sphere(points: Float64) -> Sphere:
    """A sphere around points (N, 3), about the centre of their box."""
    centre = (points.min(0) + points.max(0)) / 2
    return Sphere(centre, float(np.linalg.norm(points - centre, axis=1).max()))


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) keys -> (N,) numbers from 0, the same for the same key."""
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def _means(values: Float32, group: NDArray[np.int64]) -> Float32:
    """(N, C) values and their group numbers (N,) -> (G, C) means."""
    count = np.bincount(group)
    sums = [np.bincount(group, values[:, c].astype(np.float64)) for c in range(values.shape[1])]
    return (np.stack(sums, 1) / count[:, None]).astype(np.float32)


def _mesh_bytes(vertices: int, faces: int) -> int:
    """Bytes of 16-bit positions (padded to 8), uv, and indices."""
    return vertices * 12 + faces * 3 * (2 if vertices <= STEPS_OF_16_BITS else 4)


def _texture(mesh: ObjectMesh, budget_bytes: int) -> bytes:
    """The texture as JPEG, or with its alpha as PNG, as large as the budget allows."""
    alpha, options = mesh.material.alpha, {"format": "JPEG", "quality": JPEG_QUALITY}
    image = Image.fromarray(mesh.texture)
    if alpha is not None:
        image, options = Image.fromarray(np.dstack([mesh.texture, alpha])), {"format": "PNG"}
    data = b""
    for side in TEXTURE_SIDES_PX:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, **options)
        data = out.getvalue()
        if len(data) <= budget_bytes:
            break
    return data


def _object_glb(
    vertices: Float32, faces: NDArray[np.int32], uv: Float32, texture: bytes, material: Material
) -> bytes:
    low = vertices.min(0).astype(np.float64)
    step = (float((vertices.max(0) - low).max()) or 1.0) / STEPS_OF_16_BITS
    positions = np.zeros((len(vertices), 4), np.uint16)  # the fourth pads rows to 8 bytes
    positions[:, :3] = np.rint((vertices - low) / step)
    small_uv = np.rint(np.clip(uv, 0, 1) * STEPS_OF_16_BITS).astype(np.uint16)
    index_type = np.uint16 if len(vertices) <= STEPS_OF_16_BITS else np.uint32
    indices = faces.astype(index_type)
    blocks = [positions.tobytes(), small_uv.tobytes(), indices.tobytes(), texture]
    tree = _new_tree()
    offset = 0
    for block in blocks:
        tree["bufferViews"].append({"buffer": 0, "byteOffset": offset, "byteLength": len(block)})
        offset += len(_padded(block))
    tree["bufferViews"][0] |= {"byteStride": 8, "target": ARRAY_BUFFER}
    tree["bufferViews"][1] |= {"target": ARRAY_BUFFER}
    tree["bufferViews"][2] |= {"target": ELEMENT_ARRAY_BUFFER}
    tree["accessors"] = [
        {"bufferView": 0, "componentType": UINT16, "count": len(vertices), "type": "VEC3",
         "min": positions[:, :3].min(0).tolist(), "max": positions[:, :3].max(0).tolist()},
        {"bufferView": 1, "componentType": UINT16, "count": len(vertices), "type": "VEC2",
         "normalized": True},
        {"bufferView": 2, "componentType": UINT16 if index_type is np.uint16 else UINT32,
         "count": indices.size, "type": "SCALAR"},
    ]  # fmt: skip
    opaque = material.alpha is None
    tree["images"] = [{"bufferView": 3, "mimeType": "image/jpeg" if opaque else "image/png"}]
    tree["textures"] = [{"source": 0, "sampler": 0}]
    tree["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0},
         "extensions": {"KHR_materials_unlit": {}}}
    ]  # fmt: skip
    if not opaque:
        tree["materials"][0]["alphaMode"] = "BLEND"
    if material.double_sided:
        tree["materials"][0]["doubleSided"] = True
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    tree["meshes"] = [{"primitives": [primitive]}]
    node = np.diag([step, step, step, 1.0])
    node[:3, 3] = low
    tree["nodes"] = [{"name": "object", "mesh": 0, "matrix": node.T.ravel().tolist()}]
    tree["scenes"] = [{"nodes": [0]}]
    return _glb(tree, b"".join(_padded(block) for block in blocks))


def _new_tree() -> dict[str, Any]:
    sampler = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR,
               "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}  # fmt: skip
    lists = ("bufferViews", "accessors", "images", "textures", "materials", "meshes", "nodes")
    return {
        "asset": {"version": "2.0", "generator": "photoscene"},
        "extensionsUsed": EXTENSIONS,
        "extensionsRequired": ["KHR_mesh_quantization"],
        "samplers": [sampler],
        "scene": 0,
        **{name: [] for name in lists},
    }


def _append(tree: dict[str, Any], piece: Mapping[str, Any], offset: int) -> None:
    """Add the lists of one object's tree, whose bytes start at `offset` of the common buffer."""
    views, accessors = len(tree["bufferViews"]), len(tree["accessors"])
    first = len(tree["meshes"])  # every piece has one image, texture, material and mesh
    tree["bufferViews"] += [
        {**v, "byteOffset": v["byteOffset"] + offset} for v in piece["bufferViews"]
    ]
    tree["accessors"] += [{**a, "bufferView": a["bufferView"] + views} for a in piece["accessors"]]
    tree["images"] += [{**i, "bufferView": i["bufferView"] + views} for i in piece["images"]]
    tree["textures"].append({"source": first, "sampler": 0})
    material = json.loads(json.dumps(piece["materials"][0]))
    material["pbrMetallicRoughness"]["baseColorTexture"]["index"] = first
    tree["materials"].append(material)
    primitive = piece["meshes"][0]["primitives"][0]
    attributes = {name: index + accessors for name, index in primitive["attributes"].items()}
    moved = {"indices": primitive["indices"] + accessors, "material": first}
    tree["meshes"].append({"primitives": [{"attributes": attributes, **moved}]})


def _matrix(node: Mapping[str, Any]) -> Float64:
    return np.array(node["matrix"], np.float64).reshape(4, 4).T


def _padded(block: bytes, fill: bytes = b"\0") -> bytes:
    return block + fill * (-len(block) % 4)


def _glb(tree: dict[str, Any], binary: bytes) -> bytes:
    """The tree and its one buffer as binary glTF."""
    tree["buffers"] = [{"byteLength": len(binary)}]
    text = _padded(json.dumps(tree, separators=(",", ":")).encode(), b" ")
    total = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        (
            struct.pack("<III", GLB_MAGIC, 2, total),
            struct.pack("<II", len(text), JSON_CHUNK), text,
            struct.pack("<II", len(binary), BINARY_CHUNK), binary,
        )
    )  # fmt: skip


def _read_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The tree and the buffer of a GLB that `_glb` wrote."""
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
