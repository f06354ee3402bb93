"""How does a mesh of millions of faces become one of thousands?

First by clusters of vertices, on the device of the mesh; `meshes.clusters` has how, and what the
CPU runs. What is left is small enough for edges to collapse one after the other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparse3d.mesh_repair import check_mesh, clean_mesh, drop_cancelled_faces, spanning_parity

COARSE_FACES = 10  # for each face that is kept: their places are then far more exact than its own
MIN_COARSENED = 100_000  # faces; of fewer the edges collapse in a moment
FACES_PER_CELL = 3  # that a surface leaves, for each square as wide as a cell
SAMPLED_FACES = 1 << 18  # by which the area is estimated
PULL = 1e-3  # as in meshes.clusters


def simplify(vertices: Tensor, faces: Tensor, target_faces: int) -> tuple[Tensor, Tensor]:
    """The mesh with about `target_faces` faces at most: coarsened, then by quadric edge collapse.

    Arguments and results as in `clean_mesh`; a smaller mesh is returned as it is. Edges collapse on
    the CPU, by the package fast-simplification; the result lies on the device of the vertices.
    """
    check_mesh(vertices, faces)
    if target_faces < 4:
        raise ValueError(f"target_faces: at least 4, got {target_faces}")
    if len(faces) <= target_faces:
        return vertices, faces
    try:
        import fast_simplification
    except ImportError as error:
        raise ImportError(
            "simplify needs fast-simplification: pip install 'photoscene[pixal3d]'"
        ) from error
    vertices, faces = coarsened(vertices, faces, target_faces)
    points, triangles = fast_simplification.simplify(
        vertices.detach().cpu().numpy().astype(np.float64),
        faces.cpu().numpy().astype(np.int32),
        target_count=target_faces,
    )[:2]
    small = torch.from_numpy(np.asarray(points, np.float32)).to(vertices.device)
    return clean_mesh(
        small, torch.from_numpy(np.asarray(triangles, np.int64)).to(vertices.device), 0.0
    )


def coarsened(vertices: Tensor, faces: Tensor, target_faces: int) -> tuple[Tensor, Tensor]:
    """What is to be simplified to target_faces: about COARSE_FACES as many faces.

    vertices (V, 3) float32, faces (F, 3) int64, without repeated corners; a mesh with at most twice
    as many is returned as it is. On the CPU it needs numba.
    """
    if len(faces) <= max(MIN_COARSENED, 2 * COARSE_FACES * target_faces):
        return vertices, faces
    sample = vertices[faces[:: max(1, len(faces) // SAMPLED_FACES)]].double()
    sides = sample[:, 1:] - sample[:, :1]
    area = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=1).mean() * len(faces) / 2
    # A whole number: the last bits of a sum would decide over every cell.
    cells = max(1, round(float(COARSE_FACES * target_faces / (FACES_PER_CELL * area)) ** 0.5))
    if vertices.device.type != "cpu":
        return clustered(vertices, faces, cells)
    from meshes import clusters

    points, triangles = clusters.clustered(
        vertices.detach().float().numpy(), faces.numpy().astype(np.int32), cells
    )
    return torch.from_numpy(points), torch.from_numpy(triangles).long()


def clustered(vertices: Tensor, faces: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """`meshes.clusters.clustered` in operations of any device: the same faces."""
    at = (vertices.float() * cells).floor()
    pairs = torch.stack((faces, faces.roll(-1, dims=1)), dim=2).reshape(-1, 2)
    inside = pairs[(at[pairs[:, 0]] == at[pairs[:, 1]]).all(dim=1)]
    first, _ = spanning_parity(len(vertices), inside, torch.zeros_like(inside[:, 0]).bool())
    cluster = torch.unique(first, return_inverse=True)[1]
    sizes = torch.bincount(cluster)
    points = vertices.double()
    means = points.new_zeros(len(sizes), 3).index_add_(0, cluster, points) / sizes[:, None]
    low = torch.zeros_like(means)
    low[cluster] = at.double() / cells
    planes, offsets = _quadrics(points[faces], cluster[faces], means)
    weights = planes.diagonal(dim1=1, dim2=2).sum(1)
    pull = (PULL * weights + 1e-30)[:, None, None] * torch.eye(3).to(planes)
    places = means + torch.linalg.solve(planes + pull, offsets)
    places = places.clamp(low, low + 1 / cells)
    return places.float(), drop_cancelled_faces(cluster[faces])


def _quadrics(corners: Tensor, owners: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the faces (F, 3, 3) of each cluster (F, 3): of n n^T, n as long as twice the face's
    area, and of n times the plane's offset from the cluster's mean."""
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    planes, offsets = means.new_zeros(len(means), 3, 3), torch.zeros_like(means)
    for k in range(3):  # a face counts once in each of its clusters
        fresh = (owners[:, k, None] != owners[:, :k]).all(dim=1)
        owner, n = owners[fresh, k], normal[fresh]
        offset = (n * (corners[fresh, 0] - means[owner])).sum(1)
        planes.index_add_(0, owner, n[:, :, None] * n[:, None])
        offsets.index_add_(0, owner, n * offset[:, None])
    return planes, offsets
