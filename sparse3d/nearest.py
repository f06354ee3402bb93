"""Which points of a dense surface lie nearest to the points of its simplified mesh?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def nearest_points(vertices: Tensor, faces: Tensor, points: Tensor) -> Tensor:
    """The point of the surface nearest to each of points (P, 3), exactly: (P, 3) float32.

    vertices (V, 3), faces (F, 3) int64, at least one. Searched on the CPU; needs numba.
    """
    from meshes.nearest import at_nearest, surface_tree
    from meshes.nearest import nearest_points as nearest_in_tree

    corners = vertices.detach().float().cpu().numpy()
    triangles = faces.cpu().numpy().astype(np.int32)
    nearest = nearest_in_tree(surface_tree(corners, triangles), points.float().cpu().numpy())
    found = at_nearest(nearest, triangles, corners).astype(np.float32)
    return torch.from_numpy(found).to(points.device)
