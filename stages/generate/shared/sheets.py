"""How do a front and a back over one outline become a closed mesh on the crop's pixels?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.visible import generator_distance
from scene.types import Float32, Float64, ObjectCrop
from stages.generate.shared.lattice import at_points
from stages.generate.shared.outline import Outline


def close_sheets(
    outline: Outline, front: Float64, back: Float64, crop: ObjectCrop
) -> tuple[Float32, NDArray[np.int32]]:
    """Front and back sheets as one closed mesh in the object cube: vertices, faces.

    front, back (G + 1, G + 1): z in any unit at the lattice's nodes. The vertices are the outline's
    points, and after them its interior points once more, on the back.
    """
    camera, grid = crop.camera.camera, front.shape[0] - 1
    step = camera.width / grid
    pixels = outline.points * step
    z_front, z_back = at_points(front, outline.points), at_points(back, outline.points)
    z = np.concatenate([z_front, z_back[outline.interior]])
    pixels = np.concatenate([pixels, pixels[outline.interior]])
    distance = generator_distance(crop.camera)
    # Scaling about the camera centre keeps every pixel; the cube's centre goes to mid depth.
    z = z * (2 * distance / (z.min() + z.max()))
    x = (pixels[:, 0] - camera.cx_px) / camera.fx_px * z
    y = (pixels[:, 1] - camera.cy_px) / camera.fy_px * z
    vertices = np.stack([x, y, z - distance], -1).astype(np.float32)
    twin = np.arange(len(outline.points))
    twin[outline.interior] = len(outline.points) + np.arange(len(outline.interior))
    faces = np.concatenate([outline.triangles, twin[outline.triangles][:, ::-1]])
    return vertices, faces.astype(np.int32)
