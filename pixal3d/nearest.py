"""Which points of a dense surface lie nearest to the points of its simplified mesh?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 8  # faces, by their centres, among which the nearest is
ROWS = 1 << 18  # points at once
TINY = 1e-30


def nearest_points(vertices: Tensor, faces: Tensor, points: Tensor) -> Tensor:
    """The point of the surface nearest to each of points (P, 3): (P, 3) float32.

    vertices (V, 3), faces (F, 3) int64, at least one. Exact among the faces whose centres are
    nearest, which is exact for the faces of a dual grid, all about as large as a voxel. The search
    tree is built on the CPU.
    """
    from scipy.spatial import KDTree

    corners = vertices.float()[faces]
    # Unbalanced: decoded faces lie evenly, and such a tree is built three times as fast.
    tree = KDTree(corners.mean(1).cpu().numpy(), balanced_tree=False, compact_nodes=False)
    count = min(CANDIDATES, len(faces))
    found = points.new_zeros(len(points), 3, dtype=torch.float32)
    for rows in torch.arange(len(points), device=points.device).split(ROWS):
        here = points[rows].float()
        ranked = tree.query(here.cpu().numpy(), count, workers=-1)[1].reshape(len(rows), count)
        candidates = torch.from_numpy(np.asarray(ranked)).to(corners.device)
        best = here.new_full((len(rows),), torch.inf)
        for face in candidates.unbind(1):
            on_face = nearest_in_triangles(corners[face], here)
            away = (on_face - here).square().sum(1)
            nearer = away < best
            best = torch.where(nearer, away, best)
            found[rows] = torch.where(nearer[:, None], on_face, found[rows])
    return found


def nearest_in_triangles(corners: Tensor, points: Tensor) -> Tensor:
    """The nearest point of each triangle (M, 3, 3) to its own point (M, 3): (M, 3).

    A triangle without area counts as its edges.
    """
    along = corners.roll(-1, dims=1) - corners
    across = points[:, None] - corners
    share = (along * across).sum(2) / along.square().sum(2).clamp(min=TINY)
    on_edges = corners + share.clamp(0, 1)[:, :, None] * along
    edge = (on_edges - points[:, None]).square().sum(2).argmin(1)
    nearest = on_edges[torch.arange(len(edge), device=edge.device), edge]
    normal = torch.linalg.cross(along[:, 0], -along[:, 2], dim=1)
    squared = normal.square().sum(1)
    height = (across[:, 0] * normal).sum(1) / squared.clamp(min=TINY)
    on_plane = points - height[:, None] * normal
    sides = torch.linalg.cross(along, on_plane[:, None] - corners, dim=2)
    inside = ((sides * normal[:, None]).sum(2) >= 0).all(dim=1) & (squared > TINY)
    return torch.where(inside[:, None], on_plane, nearest)
