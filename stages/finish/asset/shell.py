"""What does an object look like as a solid: one closed shell around a mesh of any kind?

Space outside is flooded from the border of a grid; what the flood does not reach, across a band
around the surface, is the solid: hollow bodies fill up, open sheets become thin plates. Its border
is meshed by dual contouring of the band, then drawn tight onto the surface.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from meshes.nearest import SurfaceTree, at_nearest, nearest_points
from scene.seams import is_closed, parts_of, welded
from scene.types import Bool, Float32, Float64, Uint8

BAND = 0.6  # cells around the surface that the flood does not enter; over 0.5 nothing leaks
SAMPLE_CELLS = 0.25  # between the samples of a face by which the cells of the surface are found
MARGIN = 3  # empty cells around the object
SKIN = 0.02  # cells by which the shell stays out of the surface: no two vertices coincide
PLATE = 0.3  # the same where the object is thinner than the grid resolves: plates have a volume
THIN = 1.5  # cells into the surface, within which a plate ends
MAX_REPAIRS = 100

Faces = NDArray[np.int32]


def closed_shell(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], tree: SurfaceTree, cells: int
) -> tuple[Float32, Faces]:
    """A closed, outward shell of a mesh: vertices (V, 3) float32, faces (F, 3) int32.

    vertices (N, 3), faces (M, 3): in any order, open or not; tree: of the same mesh; cells: along
    the longest side. Every edge of the shell has two faces, wound alike.
    """
    points = np.asarray(vertices, np.float64)
    low = points[faces.reshape(-1)].min(0)
    extent = points[faces.reshape(-1)].max(0) - low
    cell = max(float(extent.max()), 1e-9) / cells
    size = np.ceil(extent / cell).astype(np.int64) + 2 * MARGIN + 1
    origin = low - MARGIN * cell
    in_cells = ((points - origin) / cell).astype(np.float32)
    marked = np.zeros(size, np.uint8)
    _mark(in_cells, np.asarray(faces, np.int32), SAMPLE_CELLS, marked)
    near = np.argwhere(marked)
    distance = np.ones(len(near), np.float32)  # in cells, at most one
    found = nearest_points(tree, near * cell + origin, cell)
    distance = np.minimum(found.distance / np.float32(cell), 1)
    solid = _solid(marked, near, distance)
    well_composed(solid)
    level = np.full(size, np.float32(1 - BAND))
    level[tuple(near.T)] = distance - np.float32(BAND)
    border, quads = _dual_surface(solid, level)
    shell = _drawn_tight(border, solid, tree, points, np.asarray(faces), origin, cell)
    return shell, _triangles(shell, quads)


def as_closed_shell(vertices: Float32, faces: NDArray[np.integer]) -> tuple[Float32, Faces] | None:
    """The mesh with the vertices of each place joined, where that is a closed, outward shell in one
    part already; else None."""
    if not is_closed(vertices, faces):
        return None
    joined, corners = welded(vertices, faces)
    points = joined[corners].astype(np.float64)
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    outward = float((points[:, 0] * normals).sum()) > 0
    return (joined, corners) if outward and not parts_of(corners).any() else None


def _solid(marked: Uint8, points: NDArray[np.int64], distance: Float32) -> Uint8:
    """1 where the flood from the grid's border does not come, else 0."""
    from scipy import ndimage

    open_space = np.ones(marked.shape, bool)
    within = points[distance <= BAND]
    open_space[tuple(within.T)] = False
    parts: Any = np.zeros(marked.shape, np.int32)
    ndimage.label(open_space, output=parts)
    return (parts != parts[0, 0, 0]).astype(np.uint8)


def well_composed(solid: Uint8) -> None:
    """Fill grid points until no two parts of the solid, or of the space, touch in an edge or a
    corner alone: then its border has two faces at every edge. In place; the grid's rim is empty."""
    for _ in range(MAX_REPAIRS):
        if _fill_contacts(solid) == 0:
            return


def _dual_surface(solid: Uint8, level: Float32) -> tuple[Float64, NDArray[np.int32]]:
    """A vertex (V, 3) in cells for each cell that the border goes through, at the mean of its
    crossings, and a quad (Q, 4) of them around each edge that it crosses, outward."""
    number = np.full([n - 1 for n in solid.shape], -1, np.int32)
    counts = np.zeros(2, np.int64)
    _number_cells(solid, number, counts)
    positions = np.zeros((counts[0], 3))
    quads = np.zeros((counts[1], 4), np.int32)
    _place_vertices(solid, level, number, positions)
    _connect(solid, number, quads)
    return positions, quads


def _drawn_tight(
    border: Float64, solid: Uint8, tree: SurfaceTree, points: Float64, faces: NDArray,
    origin: Float64, cell: float,
) -> Float32:  # fmt: skip
    """The border's vertices moved to the surface, but for a skin on their own side of it."""
    here = border * cell + origin
    nearest = nearest_points(tree, here)
    surface = at_nearest(nearest, faces, points)
    outward = here - surface
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    outward = np.divide(outward, length, out=np.zeros_like(outward), where=length > 1e-12)
    behind = np.rint((surface - THIN * cell * outward - origin) / cell).astype(np.int64)
    behind = np.clip(behind, 0, np.array(solid.shape) - 1)
    thin: Bool = solid[tuple(behind.T)] == 0
    skin = np.where(thin, PLATE, SKIN)[:, None] * cell
    return (surface + np.minimum(skin, length) * outward).astype(np.float32)


def _triangles(vertices: Float32, quads: NDArray[np.int32]) -> Faces:
    """Two triangles of each quad, cut along its shorter diagonal."""
    corners = vertices[quads]
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    turned = np.where((first <= second)[:, None], quads, np.roll(quads, -1, axis=1))
    return turned[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


@njit(cache=True, nogil=True)
def _mark(points, faces, step, marked):  # pragma: no cover
    """Mark the corners of every cell in which a sample of a face lies."""
    for f in range(len(faces)):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        longest = 0.0
        for k in range(3):
            longest = max(longest, abs(b[k] - a[k]), abs(c[k] - a[k]), abs(c[k] - b[k]))
        parts = int(np.ceil(longest / step)) + 1
        for i in range(parts + 1):
            for j in range(parts + 1 - i):
                u, v = i / parts, j / parts
                x = int(a[0] + u * (b[0] - a[0]) + v * (c[0] - a[0]))
                y = int(a[1] + u * (b[1] - a[1]) + v * (c[1] - a[1]))
                z = int(a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2]))
                for dx in range(2):
                    for dy in range(2):
                        for dz in range(2):
                            marked[x + dx, y + dy, z + dz] = 1


@njit(cache=True, nogil=True)
def _fill_contacts(solid):  # pragma: no cover
    """One pass of `well_composed`; returns how many points it filled."""
    filled = 0
    nx, ny, nz = solid.shape
    for x in range(nx - 1):
        for y in range(ny - 1):
            for z in range(nz - 1):
                count = 0
                for k in range(8):
                    count += solid[x + (k >> 2), y + ((k >> 1) & 1), z + (k & 1)]
                if count < 2 or count > 6:
                    continue
                for axis in range(3):
                    for side in range(2):
                        filled += _fill_diagonal(solid, x, y, z, axis, side)
                if count == 2 or count == 6:
                    filled += _fill_corners(solid, x, y, z, count)
    return filled


@njit(cache=True, nogil=True)
def _fill_diagonal(solid, x, y, z, axis, side):  # pragma: no cover
    """Fill one of the two free points of a square whose solid points are diagonal."""
    ux, uy, uz = (0, 1, 0) if axis == 0 else (1, 0, 0)
    vx, vy, vz = (0, 1, 0) if axis == 2 else (0, 0, 1)
    x, y, z = x + side * (axis == 0), y + side * (axis == 1), z + side * (axis == 2)
    a, b = solid[x, y, z], solid[x + ux, y + uy, z + uz]
    c, d = solid[x + vx, y + vy, z + vz], solid[x + ux + vx, y + uy + vy, z + uz + vz]
    if a != d or b != c or a == b:
        return 0
    if a == 1:
        solid[x + ux, y + uy, z + uz] = 1
    else:
        solid[x, y, z] = 1
    return 1


@njit(cache=True, nogil=True)
def _fill_corners(solid, x, y, z, count):  # pragma: no cover
    """Fill a point of a cube whose two solid, or two free, points are opposite corners."""
    odd = 1 if count == 2 else 0
    for k in range(4):
        i, j, m = k >> 1, k & 1, 0
        one = solid[x + i, y + j, z + m]
        other = solid[x + 1 - i, y + 1 - j, z + 1 - m]
        if one == odd and other == odd:
            total = 0
            for n in range(8):
                total += solid[x + (n >> 2), y + ((n >> 1) & 1), z + (n & 1)]
            if total != count:  # already mended
                return 0
            if odd == 1:
                solid[x + 1 - i, y + j, z + m] = 1
            else:
                solid[x + i, y + j, z + m] = 1
            return 1
    return 0


@njit(cache=True, nogil=True)
def _number_cells(solid, number, counts):  # pragma: no cover
    nx, ny, nz = number.shape
    cells, quads = 0, 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                here, total = solid[x, y, z], 0
                for k in range(8):
                    total += solid[x + (k >> 2), y + ((k >> 1) & 1), z + (k & 1)]
                if total != 0 and total != 8:
                    number[x, y, z] = cells
                    cells += 1
                quads += (here != solid[x + 1, y, z]) + (here != solid[x, y + 1, z])
                quads += here != solid[x, y, z + 1]
    counts[0], counts[1] = cells, quads


@njit(cache=True, nogil=True)
def _place_vertices(solid, level, number, positions):  # pragma: no cover
    nx, ny, nz = number.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                if number[x, y, z] < 0:
                    continue
                px, py, pz, crossings = 0.0, 0.0, 0.0, 0
                for k in range(8):
                    cx, cy, cz = x + (k >> 2), y + ((k >> 1) & 1), z + (k & 1)
                    for axis in range(3):
                        if (k >> (2 - axis)) & 1:
                            continue
                        ex, ey, ez = cx + (axis == 0), cy + (axis == 1), cz + (axis == 2)
                        if solid[cx, cy, cz] == solid[ex, ey, ez]:
                            continue
                        one, other = abs(level[cx, cy, cz]), abs(level[ex, ey, ez])
                        at = one / max(one + other, 1e-6)
                        px += cx + at * (axis == 0)
                        py += cy + at * (axis == 1)
                        pz += cz + at * (axis == 2)
                        crossings += 1
                row = number[x, y, z]
                positions[row, 0] = px / crossings
                positions[row, 1] = py / crossings
                positions[row, 2] = pz / crossings


@njit(cache=True, nogil=True)
def _connect(solid, number, quads):  # pragma: no cover
    """The quad around the edge from a point along an axis, counter-clockwise from outside."""
    nx, ny, nz = number.shape
    row = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                here = solid[x, y, z]
                for axis in range(3):
                    there = solid[x + (axis == 0), y + (axis == 1), z + (axis == 2)]
                    if here == there:
                        continue
                    ux, uy, uz = (axis == 2), (axis == 0), (axis == 1)
                    vx, vy, vz = (axis == 1), (axis == 2), (axis == 0)
                    first = number[x - ux - vx, y - uy - vy, z - uz - vz]
                    second = number[x - vx, y - vy, z - vz]
                    third = number[x, y, z]
                    fourth = number[x - ux, y - uy, z - uz]
                    if here == 0:
                        second, fourth = fourth, second
                    quads[row, 0], quads[row, 1] = first, second
                    quads[row, 2], quads[row, 3] = third, fourth
                    row += 1
