"""ply: binary PLY with normals and a colour at every vertex, for point and mesh tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from photoscene.export.model import Exporter, ExportObject, ExportScene, asset_json
from scene.normals import smooth_normals
from scene.types import Uint8

VERTEX = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
VERTEX += [(name, "u1") for name in ("red", "green", "blue", "alpha")]
FACE = np.dtype([("count", "u1"), ("vertex_indices", "<i4", 3)])
PROPERTY = {"<f4": "float", "u1": "uchar"}


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.ply: all objects as one mesh; comments have the range of faces of each."""
    vertices = np.concatenate([_vertices(o) for o in scene.objects])
    starts = np.cumsum([0, *(len(o.mesh.vertices) for o in scene.objects)])
    indices = np.concatenate(
        [o.mesh.faces + start for o, start in zip(scene.objects, starts, strict=False)]
    )
    faces = np.zeros(len(indices), FACE)
    faces["count"], faces["vertex_indices"] = 3, indices
    data = _header(scene, len(vertices), len(faces)) + vertices.tobytes() + faces.tobytes()
    (folder / f"{scene.name}.ply").write_bytes(data)


def _header(scene: ExportScene, vertices: int, faces: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0"]
    scale = scene.metadata["scale"]
    lines.append(f"comment photoscene: {scene.up} up, unit {scene.unit}, scale {scale}")
    if asset := asset_json(scene):
        lines.append(f"comment asset {asset}")
    first = 0
    for o in scene.objects:
        last = first + len(o.mesh.faces) - 1
        lines.append(f"comment object {o.key}, grade {o.grade}: faces {first} to {last}")
        first = last + 1
    lines.append(f"element vertex {vertices}")
    lines += [f"property {PROPERTY[kind]} {name}" for name, kind in VERTEX]
    lines += [f"element face {faces}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(lines) + "\n").encode("ascii")


def _vertices(o: ExportObject) -> np.ndarray:
    mesh = o.mesh
    normals = mesh.normals
    if normals is None:
        normals = smooth_normals(mesh.vertices, mesh.faces)
    rows = np.zeros(len(mesh.vertices), np.dtype(VERTEX))
    for names, values in (
        (("x", "y", "z"), o.vertices),
        (("nx", "ny", "nz"), normals),
        (("red", "green", "blue"), _at(mesh.texture, mesh.uv)),
    ):
        for name, column in zip(names, values.T, strict=True):
            rows[name] = column
    alpha = mesh.material.alpha
    rows["alpha"] = 255 if alpha is None else _at(alpha, mesh.uv)
    return rows


def _at(texture: Uint8, uv: np.ndarray) -> Uint8:
    """The pixels of a map (H, W, ...) in which uv (N, 2), v from the top, are."""
    height, width = texture.shape[:2]
    x = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
    y = np.clip((uv[:, 1] * height).astype(np.int64), 0, height - 1)
    return texture[y, x]


EXPORTER = Exporter("ply", write)
