"""The flexible dual grid of a triangle mesh.

The inverse of `dual_grid`, for training data and tests. A voxel is active when the mesh crosses one
of its twelve edges; its vertex minimises a quadratic error inside the voxel: squared distances to
the planes of the faces that cross its edges (once per crossing), to the planes of the faces that
touch it, to the mesh boundary's lines that run through it, and, lightly, to the mean crossing.
TRELLIS.2, commit 5565d24, o-voxel/src/convert/flexible_dual_grid.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

FACE_ROWS = 1 << 20  # pairs of face and voxel column looked at together: about 0.5 GB
SHORTEST_BOUNDARY = 1e-6  # of the cube's side; a shorter boundary edge has no direction
LAYERS = 4  # voxels that a plane can touch above a column of the axis it faces most


@dataclass(frozen=True, eq=False)
class DualGrid:
    """A flexible dual grid: rows sorted by (x, y, z).

    coords (N, 3) int32; dual_vertices (N, 3) float32 in [0, 1], in voxels from the voxel's low
    corner; intersected (N, 3) bool, the crossed edges along x, y, z at the far corner of the two
    other axes.
    """

    coords: Tensor
    dual_vertices: Tensor
    intersected: Tensor


@dataclass(frozen=True, eq=False)
class _Crossings:
    """Where faces cross grid edges: `voxel` (M, 3) carries the edge's flag, `point` in voxels."""

    face: Tensor
    axis: Tensor
    voxel: Tensor
    point: Tensor


@dataclass(frozen=True, eq=False)
class _Quadrics:
    """Per voxel the error x^T A x - 2 b^T x, x from its low corner: A (N, 3, 3), b (N, 3)."""

    A: Tensor
    b: Tensor

    def add(self, rows: Tensor, A: Tensor, point: Tensor) -> None:
        """Add the terms (x - point)^T A (x - point) at these rows."""
        self.A.index_add_(0, rows, A)
        self.b.index_add_(0, rows, (A @ point[:, :, None])[:, :, 0])


def mesh_to_dual_grid(
    vertices: Tensor,
    faces: Tensor,
    grid_size: int,
    face_weight: float = 1.0,
    boundary_weight: float = 0.2,
    regularization: float = 1e-2,
) -> DualGrid:
    """The flexible dual grid of one mesh.

    vertices (V, 3) float in [-0.5, 0.5]; faces (F, 3) integer, of which edges that only one face
    uses are the boundary (vertices at one place must be one vertex). The weights belong to the
    terms above; regularization, towards the mean crossing, must be positive.
    Computed in float64 on the device of `vertices`; the reference solves in float32 (2e-3 voxels).
    Raises ValueError for other shapes, vertices outside the cube or faces that name no vertex.
    """
    _check(vertices, faces, grid_size, regularization)
    # The shift is rounded to float32 as the reference's, or crossings on grid lines differ.
    positions = (vertices.float() + 0.5).double() * grid_size
    corners = positions[faces.long()]
    hits = _join([_crossings(corners, axis, grid_size) for axis in range(3)])
    codes, rows = torch.unique(
        _codes(hits.voxel[:, None] + _around_edge(hits.axis), grid_size), return_inverse=True
    )
    coords = torch.stack((codes // grid_size**2, codes // grid_size % grid_size, codes % grid_size))
    coords = coords.T.contiguous()
    intersected = torch.zeros(len(coords), 3, dtype=torch.bool, device=vertices.device)
    intersected[rows[:, 0], hits.axis] = True

    quadrics = _Quadrics(positions.new_zeros(len(codes), 3, 3), positions.new_zeros(len(codes), 3))
    _add_crossings(quadrics, coords, corners, hits, rows, regularization)
    if face_weight > 0:
        _add_faces(quadrics, coords, codes, corners, grid_size, face_weight)
    if boundary_weight > 0:
        ends = positions[_boundary_edges(faces.long())]
        _add_boundary(quadrics, coords, codes, ends, grid_size, boundary_weight)
    return DualGrid(coords.int(), _lowest_in_voxel(quadrics).float(), intersected)


def _crossings(corners: Tensor, axis: int, grid_size: int) -> _Crossings:
    """Crossings of faces with the grid edges along one axis, by scan lines of the face's shadow.

    A face owns the lines in (low, high] of either direction, so that two faces with a common edge
    never both take the line through it.
    """
    u, v = (axis + 1) % 3, (axis + 2) % 3
    order = corners[:, :, v].argsort(dim=1, stable=True)
    low, middle, high = corners.gather(1, order[:, :, None].expand(-1, -1, 3)).unbind(1)
    face, row = _whole_numbers(low[:, v], high[:, v], grid_size)
    below = (row <= middle[face, v])[:, None]
    short_from = torch.where(below, low[face], middle[face])
    short_to = torch.where(below, middle[face], high[face])
    ends = torch.stack(
        (_at(short_from, short_to, v, row), _at(low[face], high[face], v, row)), dim=1
    )
    left, right = ends.gather(
        1, ends[:, :, u].argsort(dim=1, stable=True)[:, :, None].expand(-1, -1, 3)
    ).unbind(1)
    line, column = _whole_numbers(left[:, u], right[:, u], grid_size)
    point = _at(left[line], right[line], u, column)
    # Interpolated coordinates may miss the grid line by a rounding error.
    point[:, u], point[:, v] = column, row[line]
    voxel = point.floor().long()
    voxel[:, u] -= 1
    voxel[:, v] -= 1
    inside = (voxel[:, axis] >= 0) & (voxel[:, axis] < grid_size)
    axes = torch.full_like(line, axis)
    return _Crossings(face[line][inside], axes[inside], voxel[inside], point[inside])


def _join(parts: list[_Crossings]) -> _Crossings:
    columns = zip(*((p.face, p.axis, p.voxel, p.point) for p in parts), strict=True)
    return _Crossings(*(torch.cat(column) for column in columns))


def _whole_numbers(low: Tensor, high: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
    """The inner grid lines in each interval (low, high]: which interval (M,) and the line (M,)."""
    first = low.floor().clamp(0, grid_size - 1)
    counts = (high.floor().clamp(0, grid_size - 1) - first).long()
    owner, place = _expand(counts)
    return owner, first[owner] + 1 + place


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each index i repeated counts[i] times, and the running number within each repetition."""
    owner = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    start = (counts.cumsum(0) - counts)[owner]
    return owner, torch.arange(len(owner), device=counts.device) - start


def _at(start: Tensor, end: Tensor, axis: int, value: Tensor) -> Tensor:
    """The points of the segments (M, 3) where the coordinate `axis` has this value (M,)."""
    share = ((value - start[:, axis]) / (end[:, axis] - start[:, axis]))[:, None]
    return (1 - share) * start + share * end


def _around_edge(axis: Tensor) -> Tensor:
    """Offsets (M, 4, 3) from the voxel that carries an edge's flag to the four around the edge."""
    tables = [
        [[0 if a == along else pair[(a - along - 1) % 3] for a in range(3)] for pair in pairs]
        for along, pairs in ((a, list(product((0, 1), repeat=2))) for a in range(3))
    ]
    return torch.tensor(tables, device=axis.device)[axis]


def _add_crossings(
    quadrics: _Quadrics,
    coords: Tensor,
    corners: Tensor,
    hits: _Crossings,
    rows: Tensor,
    regularization: float,
) -> None:
    normals = _unit_normals(corners)[hits.face]
    planes = normals[:, :, None] * normals[:, None, :]
    pull = regularization * torch.eye(3, dtype=corners.dtype, device=corners.device)
    for neighbour in rows.T:
        quadrics.add(neighbour, planes, corners[hits.face, 0] - coords[neighbour])
        quadrics.add(neighbour, pull.expand_as(planes), hits.point - coords[neighbour])


def _add_faces(
    quadrics: _Quadrics,
    coords: Tensor,
    codes: Tensor,
    corners: Tensor,
    grid_size: int,
    weight: float,
) -> None:
    """Add every face's plane to the active voxels it touches."""
    normals = _unit_normals(corners)
    facing = normals.abs().argmax(dim=1)
    u, v = (facing + 1) % 3, (facing + 2) % 3
    low = corners.amin(1).floor().clamp(0, grid_size - 1).long()
    high = corners.amax(1).floor().clamp(0, grid_size - 1).long()
    width, height = (_pick(high - low + 1, a) for a in (u, v))
    counts = torch.where(normals.any(dim=1), width * height, 0)
    ends = counts.cumsum(0)
    for pair in torch.arange(int(counts.sum()), device=counts.device).split(FACE_ROWS):
        face = torch.searchsorted(ends, pair, right=True)
        place = pair - (ends - counts)[face]
        voxel = low[face]
        voxel.scatter_add_(1, u[face, None], (place % width[face])[:, None])
        voxel.scatter_add_(1, v[face, None], (place // width[face])[:, None])
        voxel = _layers(voxel, normals[face], corners[face, 0], facing[face])
        face = face.repeat_interleave(LAYERS)
        boxed = ((voxel >= low[face]) & (voxel <= high[face])).all(dim=1)
        face, voxel = face[boxed], voxel[boxed]
        active, row = _find(codes, voxel, grid_size)
        face, row = face[active], row[active]
        touched = _touches(corners[face], normals[face], coords[row].to(corners.dtype))
        face, row = face[touched], row[touched]
        planes = weight * normals[face, :, None] * normals[face, None, :]
        quadrics.add(row, planes, corners[face, 0] - coords[row])


def _layers(column: Tensor, normals: Tensor, point: Tensor, facing: Tensor) -> Tensor:
    """The voxels of columns (M, 3) that planes may touch: (M * LAYERS, 3), a column's together."""
    axis = facing[:, None]
    steep = normals.gather(1, axis)
    centre = column + 0.5
    reach = (normals.abs().sum(1, keepdim=True) - steep.abs()) / (2 * steep.abs())
    across = ((centre - point) * normals).sum(1, keepdim=True)
    height = centre.gather(1, axis) - across / steep
    lowest = (height - reach).ceil().long() - 1
    steps = torch.arange(LAYERS, device=column.device)
    voxel = column[:, None, :].repeat(1, LAYERS, 1)
    voxel.scatter_(2, axis[:, None].expand(-1, LAYERS, 1), (lowest + steps)[:, :, None])
    return voxel.reshape(-1, 3)


def _touches(corners: Tensor, normals: Tensor, low: Tensor) -> Tensor:
    """Whether triangles (M, 3, 3) touch the unit boxes at these low corners (M, 3), M at a time.

    Separating axes after Schwarz and Seidel, "Fast parallel surface and solid voxelization on
    GPUs" (2010): the triangle's plane, and its edges in the three coordinate planes. Boxes must
    already meet the triangle's bounding box.
    """
    near = (normals * (low + (normals <= 0) - corners[:, 0])).sum(1)
    far = (normals * (low + (normals > 0) - corners[:, 0])).sum(1)
    touching = near * far <= 0
    edges = corners.roll(-1, dims=1) - corners
    for a, b, dropped in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        side = torch.where(normals[:, dropped] < 0, -1.0, 1.0)[:, None]
        inward_a, inward_b = -side * edges[:, :, b], side * edges[:, :, a]
        distance = inward_a * (low[:, None, a] - corners[:, :, a]) + inward_a.clamp(min=0)
        distance += inward_b * (low[:, None, b] - corners[:, :, b]) + inward_b.clamp(min=0)
        touching &= (distance >= 0).all(dim=1)
    return touching


def _boundary_edges(faces: Tensor) -> Tensor:
    """The edges (E, 2) that exactly one face uses, the smaller vertex first."""
    edges = torch.cat((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]])).sort(dim=1).values
    edges, uses = torch.unique(edges, dim=0, return_counts=True)
    return edges[uses == 1]


def _add_boundary(
    quadrics: _Quadrics,
    coords: Tensor,
    codes: Tensor,
    ends: Tensor,
    grid_size: int,
    weight: float,
) -> None:
    """Add the distance to every boundary edge (E, 2, 3) to the active voxels it runs through."""
    length = (ends[:, 1] - ends[:, 0]).norm(dim=1)
    ends = ends[length >= SHORTEST_BOUNDARY * grid_size]
    edge, voxel = _voxels_along(ends)
    inside = ((voxel >= 0) & (voxel < grid_size)).all(dim=1)
    edge, voxel = edge[inside], voxel[inside]
    active, row = _find(codes, voxel, grid_size)
    edge, row = edge[active], row[active]
    direction = torch.nn.functional.normalize(ends[edge, 1] - ends[edge, 0], dim=1)
    along = direction[:, :, None] * direction[:, None, :]
    across = torch.eye(3, dtype=ends.dtype, device=ends.device) - along
    quadrics.add(row, weight * across, ends[edge, 0] - coords[row])


def _voxels_along(ends: Tensor) -> tuple[Tensor, Tensor]:
    """The voxels that segments (E, 2, 3) run through: segment (M,) and voxel (M, 3).

    Each crossed grid plane is one step into the next voxel, in the order along the segment.
    """
    start, end = ends.unbind(1)
    rising = end > start
    counts = torch.where(rising, end.floor() - start.floor(), start.floor() - end.ceil() + 1)
    counts = torch.where(end == start, 0, counts).clamp(min=0).long()
    owner, place = _expand(counts.reshape(-1))
    segment, axis = owner // 3, owner % 3
    step = torch.where(rising, 1, -1).reshape(-1)[owner]
    plane = start.floor()[segment, axis] + torch.where(step > 0, place + 1, -place)
    time = (plane - start[segment, axis]) / (end - start)[segment, axis]
    # At a tie the reference steps along z first, then y, then x.
    order = (2 - axis).argsort(stable=True)
    for key in (time, segment):
        order = order[key[order].argsort(stable=True)]
    segment, axis, step = segment[order], axis[order], step[order]
    moves = torch.zeros(len(order), 3, dtype=torch.long, device=ends.device)
    moves[torch.arange(len(order), device=ends.device), axis] = step
    total = moves.cumsum(0)
    steps = counts.sum(1)
    before = torch.cat((total.new_zeros(1, 3), total))[(steps.cumsum(0) - steps)]
    first = start.floor().long()
    visited = first[segment] + total - before[segment]
    everyone = torch.arange(len(ends), device=ends.device)
    return torch.cat((everyone, segment)), torch.cat((first, visited))


def _lowest_in_voxel(quadrics: _Quadrics) -> Tensor:
    """The point of [0, 1]^3 where each quadric is least: (N, 3).

    Where the free minimum lies outside, the least of the minima on the voxel's faces, edges and
    corners that lie on them.
    """
    best = _solve(quadrics.A, quadrics.b)
    outside = ((best < 0) | (best > 1)).any(dim=1).nonzero()[:, 0]
    A, b = quadrics.A[outside], quadrics.b[outside]
    lowest = torch.full_like(b[:, 0], torch.inf)
    for sides in product((0.0, None, 1.0), repeat=3):
        point = _minimum_at(A, b, sides)
        feasible = ((point >= 0) & (point <= 1)).all(dim=1)
        error = ((A @ point[:, :, None])[:, :, 0] * point).sum(1) - 2 * (b * point).sum(1)
        better = feasible & (error < lowest)
        lowest = torch.where(better, error, lowest)
        best[outside[better]] = point[better]
    return best


def _minimum_at(A: Tensor, b: Tensor, sides: tuple[float | None, ...]) -> Tensor:
    """The minimum with some coordinates held: at 0.0 or 1.0, None is free."""
    A, b = A.clone(), b.clone()
    for axis, side in enumerate(sides):
        if side is not None:
            A[:, axis] = 0
            A[:, axis, axis] = 1
            b[:, axis] = side
    point = _solve(A, b)
    for axis, side in enumerate(sides):
        if side is not None:
            point[:, axis] = side
    return point


def _solve(A: Tensor, b: Tensor) -> Tensor:
    """x of A x = b, (N, 3, 3) and (N, 3), by Cramer's rule: batched solvers are slow at 3 x 3."""
    first, second, third = A.unbind(2)
    cross = torch.linalg.cross
    across = (cross(second, third), cross(third, first), cross(first, second))
    determinant = (first * across[0]).sum(1, keepdim=True)
    return torch.stack([(b * c).sum(1) for c in across], dim=1) / determinant


def _unit_normals(corners: Tensor) -> Tensor:
    """(F, 3) unit normals; zero for a face without area."""
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / normals.norm(dim=1, keepdim=True).clamp(min=torch.finfo(normals.dtype).tiny)


def _pick(values: Tensor, axis: Tensor) -> Tensor:
    return values.gather(1, axis[:, None])[:, 0]


def _find(codes: Tensor, voxel: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
    """Whether voxels inside the grid (M, 3) are active, and their rows where they are."""
    wanted = _codes(voxel, grid_size)
    row = torch.searchsorted(codes, wanted).clamp_(max=max(len(codes) - 1, 0))
    return (codes[row] == wanted if len(codes) else torch.zeros_like(row, dtype=torch.bool)), row


def _codes(coords: Tensor, grid_size: int) -> Tensor:
    x, y, z = coords.unbind(-1)
    return (x * grid_size + y) * grid_size + z


def _check(vertices: Tensor, faces: Tensor, grid_size: int, regularization: float) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not vertices.dtype.is_floating_point:
        raise ValueError(f"vertices: (V, 3) float, got {tuple(vertices.shape)} {vertices.dtype}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.is_floating_point:
        raise ValueError(f"faces: (F, 3) integer, got {tuple(faces.shape)} {faces.dtype}")
    if grid_size < 1:
        raise ValueError(f"grid_size: at least 1, got {grid_size}")
    if regularization <= 0:
        raise ValueError(f"regularization: above 0, got {regularization}")
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        low, high = int(faces.min()), int(faces.max())
        raise ValueError(f"faces: between 0 and {len(vertices) - 1}, got {low} to {high}")
    if not bool((vertices.abs() <= 0.5).all()):
        farthest = float(vertices.abs().max())
        raise ValueError(f"vertices: within [-0.5, 0.5], got a coordinate of size {farthest}")
