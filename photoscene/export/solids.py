"""The surface of a solid, as printers need it: its vertices welded, closed, and facing outwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photoscene.export.model import ExportObject
from scene.errors import BadInput
from scene.seams import is_closed, welded
from scene.types import Float32


def solid_surface(o: ExportObject) -> tuple[Float32, NDArray[np.int32], NDArray[np.int64]]:
    """vertices (N, 3) in the file's axes and unit, each at a place of its own; faces (M, 3), wound
    outwards; and which faces of the object's mesh these are, (M,).

    BadInput where it is not closed, since no inside can be told from outside then.
    """
    vertices, faces = welded(o.vertices.astype(np.float32), o.mesh.faces)
    a, b, c = faces.T
    kept = np.flatnonzero((a != b) & (b != c) & (c != a))  # else a line or a point by now
    faces = faces[kept]
    if not is_closed(vertices, faces):
        raise BadInput(
            f"{o.name} is not closed in single precision, so it is no solid: give it a larger "
            "--size, or fewer --faces"
        )
    corners = o.mesh.vertices.astype(np.float64)[o.mesh.faces[kept]]
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return vertices, faces if volume > 0 else faces[:, ::-1], kept
