"""Convex parts that together cover a mesh: CoACD's cuts, each grown over the surface near it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene.seams import is_closed, welded
from scene.types import Float64

Faces = NDArray[np.int32]

VERSION = "1"
MAX_PARTS = 16
MAX_PART_VERTICES = 64  # what PhysX takes of a convex shape on a GPU
MAX_UNCOVERED = 0.03  # of the mesh's size: parts that leave more are reported as not covering it
# CoACD's time grows fast with the faces; cuts need only the coarse shape, since the parts are grown
# over the true surface afterwards.
MAX_CUT_FACES = 600
CONCAVITY = 0.1  # at which a part counts as convex: deeper than CoACD's 0.05, 3 times as fast
SEARCH = {"mcts_iterations": 20, "mcts_nodes": 10, "mcts_max_depth": 2, "resolution": 500}
REPAIR_CELLS = 30  # of the grid by which CoACD closes an open mesh before it cuts
MAX_EDGE = 0.05  # of the size: longer edges are split before faces are given to parts
OBLIQUE = np.array([1.0, 0.7, 0.4])  # no side of a box lies across it
TOLERANCE = 1e-6  # of the size: what rounding in float32 leaves of a plane
MIN_THICKNESS = 0.002  # of the size: thinner parts have no volume that a simulator takes
EXACT_POINTS = 100  # the farthest points, whose distance from the parts is measured exactly


@dataclass(frozen=True, eq=False)
class ConvexPart:
    """A closed convex mesh: vertices (N, 3) float64, at most 64, and faces (M, 3) wound outward."""

    vertices: Float64
    faces: Faces

    @property
    def planes(self) -> tuple[Float64, Float64]:
        """Unit normals (M, 3) out of the part and their offsets (M,): inside, n . x <= offset."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        normals = np.cross(b - a, c - a)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        return normals, (normals * a).sum(1)

    @property
    def volume(self) -> float:
        """In cubes of the vertices' unit."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return float((a * np.cross(b, c)).sum() / 6)


@dataclass(frozen=True, eq=False)
class Colliders:
    """Convex parts of an object, in the frame of its vertices.

    uncovered: the farthest that a point of the mesh lies outside all of them, over its size, the
    diagonal of its box.
    """

    parts: tuple[ConvexPart, ...]
    uncovered: float


def convex_colliders(vertices: NDArray[np.floating], faces: Faces) -> Colliders:
    """At most 16 convex parts that cover a mesh, vertices (N, 3) and faces (M, 3).

    The same mesh gives the same parts, bit for bit. Needs CoACD and fast_simplification.
    """
    size = box_diagonal(vertices)
    centre = (np.min(vertices, axis=0) + np.max(vertices, axis=0)).astype(np.float64) / 2
    around = (vertices.astype(np.float64) - centre) / size
    points, split = _with_area(around, faces)
    cut = _cut(points, split)
    points, split = _with_short_edges(points, split)
    grown = _grown(cut, points, split)
    parts = tuple(ConvexPart(p.vertices * size + centre, p.faces) for p in grown)
    return Colliders(parts, _uncovered(grown, points, split))


def convex_hull(points: Float64) -> ConvexPart:
    """The hull of points (N, 3), with at most 64 vertices; flat ones get a little thickness."""
    from scipy.spatial import ConvexHull

    corners = _outermost(_thickened(points))
    faces = ConvexHull(corners).simplices.astype(np.int32)
    a, b, c = (corners[faces[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * (a - corners.mean(axis=0))).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return ConvexPart(corners, faces)


def _outermost(points: Float64) -> Float64:
    """At most 64 corners of the hull of points (N, 3): again and again the one that stands out the
    farthest, until none does by more than a rounding error. Points that lie on an edge but for
    such an error are no corners: qhull makes faces without area of them."""
    from scipy.spatial import ConvexHull

    corners = points[np.sort(ConvexHull(points).vertices)]
    tolerance = TOLERANCE * box_diagonal(corners)
    from_centre = ((corners - corners.mean(axis=0)) ** 2).sum(axis=1)

    def outermost(height: Float64) -> int:
        # Of one side's points, which stand out alike, the farthest from the centre is a corner.
        alike = np.flatnonzero(height >= height.max() - tolerance)
        return int(alike[np.argmax(from_centre[alike])])

    box = [outermost(sign * corners[:, axis]) for axis in range(3) for sign in (-1, 1)]
    chosen = [*dict.fromkeys([*_simplex(corners), *box])]
    while len(chosen) < MAX_PART_VERTICES:
        equations = ConvexHull(corners[chosen]).equations
        beyond = np.max(corners @ equations[:, :3].T + equations[:, 3], axis=1)
        if beyond.max() <= tolerance:
            break
        chosen.append(outermost(beyond))
    return corners[np.sort(chosen)]


def _simplex(corners: Float64) -> list[int]:
    """Four corners of a body (N, 3): each the farthest from the point, line or plane of those
    before."""
    chosen = [int(np.argmax(corners @ OBLIQUE))]
    beside = corners - corners[chosen[0]]
    for _ in range(3):
        chosen.append(int(np.argmax((beside**2).sum(axis=1))))
        axis = beside[chosen[-1]] / np.linalg.norm(beside[chosen[-1]])
        beside = beside - np.outer(beside @ axis, axis)
    return chosen


def outside(part: ConvexPart, points: Float64) -> Float64:
    """(N,) how far points lie beyond the farthest plane of a part; negative inside.

    A lower bound of the distance, exact where the nearest point lies within a face.
    """
    normals, offsets = part.planes
    return np.max(points @ normals.T - offsets, axis=1)


def box_diagonal(vertices: NDArray[np.floating]) -> float:
    """The size of a mesh: the diagonal of the box about its vertices (N, 3)."""
    return float(np.linalg.norm(np.ptp(vertices.astype(np.float64), axis=0))) or 1.0


def _with_area(vertices: Float64, faces: Faces) -> tuple[Float64, Faces]:
    """The mesh with one vertex at each place, without faces that have no area then."""
    points, joined = welded(vertices, faces)
    return points, joined[(joined != np.roll(joined, 1, axis=1)).all(1)]


def _cut(vertices: Float64, faces: Faces) -> list[ConvexPart]:
    """CoACD's parts of the coarse shape."""
    coacd: Any = importlib.import_module("coacd")  # it may be missing where types are checked
    if len(faces) > MAX_CUT_FACES:
        decimation: Any = importlib.import_module("fast_simplification")
        light, reduced = decimation.simplify(
            np.ascontiguousarray(vertices, np.float32), faces, target_count=MAX_CUT_FACES
        )
        vertices, faces = _with_area(light.astype(np.float64), reduced.astype(np.int32))
    coacd.set_log_level("error")
    made = coacd.run_coacd(
        coacd.Mesh(vertices, faces),
        threshold=CONCAVITY,
        max_convex_hull=MAX_PARTS,
        preprocess_mode="off" if is_closed(vertices, faces) else "on",
        preprocess_resolution=REPAIR_CELLS,
        seed=0,
        **SEARCH,
    )
    return [convex_hull(np.asarray(points, np.float64)) for points, _ in made[:MAX_PARTS]]


def _with_short_edges(vertices: Float64, faces: Faces) -> tuple[Float64, Faces]:
    """The same surface with no edge above MAX_EDGE: a face that spans two parts would make one of
    them reach over to the other."""
    from trimesh.remesh import subdivide_to_size

    made: Any = subdivide_to_size(vertices, faces, MAX_EDGE, max_iter=12)
    return np.asarray(made[0]), np.asarray(made[1], np.int32)


def _grown(parts: list[ConvexPart], points: Float64, faces: Faces) -> list[ConvexPart]:
    """The parts, each with the faces that it is the nearest to: together they cover every face."""
    distance = np.stack([outside(part, points) for part in parts], axis=1)
    of_faces = distance[faces].max(axis=1)
    nearest = of_faces.argmin(axis=1)
    beyond = np.take_along_axis(of_faces, nearest[:, None], 1)[:, 0] > 0
    grown = []
    for index, part in enumerate(parts):
        own = np.unique(faces[beyond & (nearest == index)])
        grown.append(convex_hull(np.concatenate([part.vertices, points[own]])))
    return grown


def _uncovered(parts: list[ConvexPart], points: Float64, faces: Faces) -> float:
    """The farthest distance of vertices and face centres from the nearest part, in sizes."""
    from trimesh.triangles import closest_point

    samples = np.concatenate([points, points[faces].mean(axis=1)])
    bound = np.min([outside(part, samples) for part in parts], axis=0)
    far = np.argsort(-bound, kind="stable")[:EXACT_POINTS]
    far = far[bound[far] > 0]
    if not len(far):
        return 0.0
    distances = []
    for part in parts:
        corners = part.vertices[part.faces]
        pairs = np.broadcast_to(corners, (len(far), *corners.shape)).reshape(-1, 3, 3)
        asked = np.repeat(samples[far], len(corners), axis=0)
        gap = np.linalg.norm(closest_point(pairs, asked) - asked, axis=1)
        distances.append(gap.reshape(len(far), -1).min(axis=1))
    return float(np.min(distances, axis=0).max())


def _thickened(points: Float64) -> Float64:
    """Points that span a body: where they are flat or a line, copies to both sides of them."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for axis in axes:
        if np.ptp(points @ axis) < MIN_THICKNESS:
            offset = axis * (MIN_THICKNESS / 2)
            points = np.concatenate([points - offset, points + offset])
    return points
