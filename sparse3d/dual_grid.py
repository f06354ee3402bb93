"""The triangle mesh of a flexible dual grid.

A flexible dual grid has one vertex per voxel and one flag per voxel and axis: does the surface
cross the grid edge that runs along the axis at the far corner of the two other axes? Each crossed
edge joins the vertices of its four voxels to a quad. TRELLIS.2, commit 5565d24,
o-voxel/o_voxel/convert/flexible_dual_grid.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The other three voxels around the edge along x, y and z, going round the edge.
QUAD_OFFSETS = (
    ((0, 0, 1), (0, 1, 1), (0, 1, 0)),
    ((1, 0, 0), (1, 0, 1), (0, 0, 1)),
    ((0, 1, 0), (1, 1, 0), (1, 0, 0)),
)
SPLIT_ALONG_02 = ((0, 1, 2), (0, 2, 3))
SPLIT_ALONG_13 = ((0, 1, 3), (3, 1, 2))


def dual_grid_to_mesh(
    coords: Tensor,
    dual_vertices: Tensor,
    intersected: Tensor,
    split_weight: Tensor | None,
    grid_size: int,
) -> tuple[Tensor, Tensor]:
    """The mesh of one object's flexible dual grid.

    coords (N, 3) integer, unique, each in [0, grid_size); dual_vertices (N, 3) float, in voxels
    from the voxel's low corner; intersected (N, 3) bool, the crossed edges along x, y and z;
    split_weight (N, 1) float or None: the diagonal whose two weights have the larger product is
    drawn; without weights the diagonal runs from corner 0 to 2 (`has_area_along_02`).
    Returns vertices (N, 3) float32 in the object frame (the grid fills [-0.5, 0.5]^3), one per
    voxel in the order of coords and also where no face uses it, and faces (F, 3) int64, two per
    quad, voxel by voxel and there x, y, z. A quad with a missing voxel is left out.
    The flags carry no sign, so neighbouring faces may be wound differently.
    Raises ValueError for other shapes, coords out of the grid or repeated coords.
    """
    _check(coords, dual_vertices, intersected, split_weight, grid_size)
    vertices = (coords + dual_vertices.float()) * (1.0 / grid_size) - 0.5
    quads = dual_grid_quads(coords, intersected, grid_size)
    if split_weight is None:
        along_02 = has_area_along_02(vertices, quads)
    else:
        weights = split_weight.reshape(-1)[quads]
        along_02 = weights[:, 0] * weights[:, 2] > weights[:, 1] * weights[:, 3]
    splits = torch.tensor([SPLIT_ALONG_13, SPLIT_ALONG_02], device=quads.device).reshape(2, 6)
    return vertices, quads.gather(1, splits[along_02.long()]).reshape(-1, 3)


def dual_grid_quads(coords: Tensor, intersected: Tensor, grid_size: int) -> Tensor:
    """The quads whose four voxels exist: (Q, 4) int64 rows of coords, going round the edge.

    Arguments and order of the quads as in `dual_grid_to_mesh`.
    """
    codes, order = _codes(coords, grid_size).sort()
    if bool((codes[1:] == codes[:-1]).any()):
        raise ValueError("coords: every voxel once, but some rows are equal")
    first, axis = intersected.nonzero(as_tuple=True)
    offsets = torch.tensor(QUAD_OFFSETS, device=coords.device)
    around = _codes(coords, grid_size)[first, None] + _codes(offsets, grid_size)[axis]
    places = torch.searchsorted(codes, around).clamp_(max=max(len(codes) - 1, 0))
    complete = (codes[places] == around).all(dim=1)
    return torch.cat((first[complete, None], order[places[complete]]), dim=1)


def has_area_along_02(vertices: Tensor, quads: Tensor) -> Tensor:
    """Whether the triangle of corners 0, 1, 2 of each quad (Q, 4) has an area: (Q,) bool.

    The reference means to choose the flatter of the two splits, but measures that triangle against
    itself and compares with the product of two parallel vectors, which is zero. So it splits from
    corner 0 to 2 wherever it can; meshes that match it need the same rule.
    """
    a, b, c = (vertices[quads[:, corner]] for corner in range(3))
    once = torch.linalg.cross(b - a, c - a, dim=-1)
    again = torch.linalg.cross(c - b, a - b, dim=-1)
    return (once * again).sum(dim=-1) != 0


def _codes(coords: Tensor, grid_size: int) -> Tensor:
    """One int64 per voxel; the stride leaves room for the neighbour just outside the grid."""
    x, y, z = coords.long().unbind(-1)
    stride = grid_size + 1
    return (x * stride + y) * stride + z


def _check(
    coords: Tensor,
    dual_vertices: Tensor,
    intersected: Tensor,
    split_weight: Tensor | None,
    grid_size: int,
) -> None:
    if grid_size < 1:
        raise ValueError(f"grid_size: at least 1, got {grid_size}")
    if coords.ndim != 2 or coords.shape[1] != 3 or coords.dtype.is_floating_point:
        raise ValueError(f"coords: (N, 3) integer, got {tuple(coords.shape)} {coords.dtype}")
    for name, tensor in (("dual_vertices", dual_vertices), ("intersected", intersected)):
        if tensor.shape != coords.shape:
            raise ValueError(f"{name}: {tuple(coords.shape)}, got {tuple(tensor.shape)}")
    if intersected.dtype != torch.bool:
        raise ValueError(f"intersected: bool, got {intersected.dtype}")
    if split_weight is not None and split_weight.shape != (len(coords), 1):
        raise ValueError(f"split_weight: ({len(coords)}, 1), got {tuple(split_weight.shape)}")
    if len(coords) and not 0 <= int(coords.min()) <= int(coords.max()) < grid_size:
        low, high = int(coords.min()), int(coords.max())
        raise ValueError(f"coords: between 0 and {grid_size - 1}, got {low} to {high}")
