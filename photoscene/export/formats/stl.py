"""stl: binary STL of closed solids for printers; millimetres and z up, as slicers take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from photoscene.export.model import Exporter, ExportScene
from photoscene.export.solids import solid_surface

HEADER_BYTES = 80
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.stl: all objects as one list of triangles, which is all that the format knows."""
    surfaces = [solid_surface(o) for o in scene.objects]
    corners = np.concatenate([vertices[faces] for vertices, faces, _ in surfaces])
    triangles = np.zeros(len(corners), TRIANGLE)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    triangles["normal"] = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    triangles["corners"] = corners
    # "solid" at the beginning would be taken for the text format.
    header = f"photoscene {scene.name}: unit {scene.unit}, {scene.up} up".encode()[:HEADER_BYTES]
    count = len(triangles).to_bytes(4, "little")
    data = header.ljust(HEADER_BYTES, b" ") + count + triangles.tobytes()
    (folder / f"{scene.name}.stl").write_bytes(data)


EXPORTER = Exporter("stl", write, unit="mm", up="z", closed=True)
