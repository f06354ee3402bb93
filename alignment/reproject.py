"""Frustum re-projection: a mesh made for one crop camera, made pixel-aligned in another.

A generator that believes a wrong field of view draws its mesh on the right pixels of a wrong
camera. No scale and no shift mends that: re-projection moves every vertex onto its pixel's ray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.visible import generator_distance
from scene.errors import CannotGenerate
from scene.types import CropCamera, Float64


def reproject(
    vertices: NDArray[np.floating], from_crop: CropCamera, to_crop: CropCamera
) -> Float64:
    """Vertices of the object cube that from_crop sees, moved to where to_crop sees them so.

    vertices, result (N, 3): in the object cube; the crops differ in focal length alone. With
    the generator's focal length f_g (in half crop sides) and distance d_g, and the true f_c
    (docs/placement.md, equation 5), a vertex x keeps its pixel,
    f_c X'_xy / Z' = f_g x_xy / (x_z + d_g), at any new depth Z', so

        X'_xy = (f_g / f_c) (Z' / (x_z + d_g)) x_xy,   Z' = s x_z + D,   s = D f_g / (f_c d_g);

    that s keeps the proportions of the centre plane. The cube's centre stands at d = f / 2 in both
    cameras (`generator_distance`), so D = d_c gives s = 1: depth in the cube is kept, and

        X'_xy = x_xy (1 + x_z / d_c) / (1 + x_z / d_g).

    Raises CannotGenerate for a vertex that is not before both cameras.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices: expected (N, 3), got {vertices.shape}")
    x = vertices.astype(np.float64)
    d_g, d_c = generator_distance(from_crop), generator_distance(to_crop)
    for distance, whose in ((d_g, "they were made for"), (d_c, "sees the crop")):
        missed = int((~(x[:, 2] + distance > 0)).sum())
        if missed:
            raise CannotGenerate(
                f"{missed} of the mesh's vertices are not before the camera that {whose}"
            )
    magnified = (1 + x[:, 2] / d_c) / (1 + x[:, 2] / d_g)
    return np.stack([x[:, 0] * magnified, x[:, 1] * magnified, x[:, 2]], -1)
