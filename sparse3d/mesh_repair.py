"""How does a decoded mesh become one surface: whole, wound the same way, and small enough?

A dual grid's faces are wound as its axes happen to lie, and thin places leave small holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparse3d.errors import NothingMade

LARGEST_HOLE = 0.03  # perimeter, in sides of the cube: Pixal3D, commit cdbb2bb, fill_holes
# From so many faces on the CPU runs compiled loops; for fewer, compiling takes longer.
COMPILED_FACES = 100_000


@dataclass(frozen=True, eq=False)
class _Edges:
    """Every edge once, (E,) each, from `start` to `end` as the first of its faces runs.

    uses: how many faces it has; faces (E, 2): the first and last of them; opposed: whether the
    last one runs the other way.
    """

    start: Tensor
    end: Tensor
    uses: Tensor
    faces: Tensor
    opposed: Tensor


def clean_mesh(
    vertices: Tensor, faces: Tensor, largest_hole: float = LARGEST_HOLE
) -> tuple[Tensor, Tensor]:
    """One orderly surface from loose faces.

    vertices (V, 3) float32, object frame; faces (F, 3) int64. In this order: vertices at exactly
    one place become one; faces with a repeated corner, and all but the first of faces with the same
    corners, are dropped; holes with a perimeter below `largest_hole` are closed; the winding
    becomes consistent and outward; vertices without a face are dropped.
    Returns the new vertices and faces. Raises ValueError for other shapes and faces that name no
    vertex, NothingMade for vertices that are not finite.
    """
    check_mesh(vertices, faces)
    if vertices.device.type == "cpu" and len(faces) >= COMPILED_FACES:
        return clean_by_loops(vertices, faces, largest_hole)
    vertices, faces = merge_vertices(vertices, faces)
    vertices, faces = fill_holes(vertices, drop_useless_faces(faces), largest_hole)
    return drop_unused_vertices(vertices, orient(vertices, faces))


def clean_by_loops(
    vertices: Tensor, faces: Tensor, largest_hole: float = LARGEST_HOLE
) -> tuple[Tensor, Tensor]:
    """`clean_mesh` on the CPU by compiled loops, a tenth of the time. Needs numba.

    The same result, but for parts that no winding fits: there other faces stay unlike.
    """
    from meshes.repair import edges_of, merged_vertices, outward, useful_faces

    places = vertices.detach().float().numpy()
    triangles = merged_vertices(places, faces.numpy().astype(np.int32))
    triangles = useful_faces(triangles, len(places))
    edges = edges_of(triangles, len(places))
    rim = edges.uses == 1
    start, end = (torch.from_numpy(e[rim]).long() for e in (edges.start, edges.end))
    middles, fans = hole_fans(vertices, start, end, largest_hole)
    if len(fans):
        vertices = torch.cat((vertices, middles))
        places = vertices.detach().float().numpy()
        triangles = np.concatenate((triangles, fans.numpy().astype(np.int32)))
        edges = edges_of(triangles, len(places))
    wound = torch.from_numpy(outward(places, triangles, edges)).long()
    return drop_unused_vertices(vertices, wound)


def merge_vertices(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Give vertices at exactly one place one number; those left over stay, unused."""
    # Adding 0 makes -0.0 the same bits as 0.0.
    bits = (vertices.float() + 0.0).contiguous().view(torch.int32).long()
    first, group = _first_of_each(bits)
    return vertices, first[group][faces]


def drop_useless_faces(faces: Tensor) -> Tensor:
    """Without faces that repeat a corner and without later faces on the same three corners."""
    a, b, c = faces.unbind(1)
    faces = faces[(a != b) & (b != c) & (c != a)]
    first, _ = _first_of_each(faces.sort(dim=1).values)
    return faces[first.sort().values]


def drop_cancelled_faces(faces: Tensor) -> Tensor:
    """`drop_useless_faces`, but none is left of an even number on the same three corners: they have
    the two sides of what became flat, and what was closed stays so."""
    a, b, c = faces.unbind(1)
    faces = faces[(a != b) & (b != c) & (c != a)]
    first, group = _first_of_each(faces.sort(dim=1).values)
    odd = torch.bincount(group, minlength=len(first)) % 2 == 1
    return faces[first[odd].sort().values]


def drop_unused_vertices(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Only the vertices that a face uses, in their order."""
    used = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    used[faces.reshape(-1)] = True
    return vertices[used], (used.cumsum(0) - 1)[faces]


def fill_holes(
    vertices: Tensor, faces: Tensor, largest_hole: float = LARGEST_HOLE
) -> tuple[Tensor, Tensor]:
    """Close each boundary loop with a perimeter below `largest_hole`.

    A loop gets one new vertex, at the mean of its edges' middles, joined to each of its edges.
    Boundaries that meet themselves in a vertex are no loops and stay open.
    """
    edges = _edges(faces, len(vertices))
    rim = edges.uses == 1
    middles, fans = hole_fans(vertices, edges.start[rim], edges.end[rim], largest_hole)
    return torch.cat((vertices, middles)), torch.cat((faces, fans))


def hole_fans(
    vertices: Tensor, start: Tensor, end: Tensor, largest_hole: float
) -> tuple[Tensor, Tensor]:
    """What closes the holes between edges (E,) of one face each: vertices to append, and faces."""
    nodes, compact = torch.unique(torch.stack((start, end), dim=1), return_inverse=True)
    if not len(nodes):
        return vertices[:0], start.new_zeros(0, 3)
    loop, _ = spanning_parity(len(nodes), compact, torch.zeros_like(start, dtype=torch.bool))
    edge_loop = loop[compact[:, 0]]

    def total(values: Tensor, group: Tensor) -> Tensor:
        shape = (len(nodes), *values.shape[1:])
        return values.new_zeros(shape).index_add_(0, group, values)

    branching = torch.bincount(compact.reshape(-1), minlength=len(nodes)) != 2
    perimeter = total((vertices[start] - vertices[end]).norm(dim=1), edge_loop)
    sizes = torch.bincount(edge_loop, minlength=len(nodes))
    small = (sizes > 0) & (perimeter < largest_hole) & (total(branching.long(), loop) == 0)
    middles = total((vertices[start] + vertices[end]) / 2, edge_loop) / sizes[:, None]
    centre = len(vertices) + small.cumsum(0) - 1
    filled = small[edge_loop]
    fans = torch.stack((end, start, centre[edge_loop]), dim=1)[filled]
    return middles[small], fans


def orient(vertices: Tensor, faces: Tensor) -> Tensor:
    """The same faces, neighbours wound alike and every part outward.

    Faces are neighbours where exactly two share an edge. A part is outward when the volume it
    encloses is positive; for an open part, the volume of the cone from its centre, a guess.
    On a one-sided part (a Moebius strip) some neighbours must keep different windings.
    """
    edges = _edges(faces, len(vertices))
    shared = edges.uses == 2
    part, turned = spanning_parity(len(faces), edges.faces[shared], ~edges.opposed[shared])
    faces = torch.where(turned[:, None], faces.flip(1), faces)
    corners = vertices[faces].double()
    sums = corners.new_zeros(len(faces), 3).index_add_(0, part, corners.mean(1))
    sizes = torch.bincount(part, minlength=len(faces)).clamp(min=1)
    a, b, c = (corners - (sums / sizes[:, None])[part][:, None]).unbind(1)
    volumes = (a * torch.linalg.cross(b, c, dim=-1)).sum(1)
    inward = corners.new_zeros(len(faces)).index_add_(0, part, volumes) < 0
    return torch.where(inward[part][:, None], faces.flip(1), faces)


def spanning_parity(nodes: int, edges: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of a graph, and which nodes differ from their part's first node.

    edges (E, 2) int64 between nodes; odd (E,) bool: whether the two ends differ. Returns, per node,
    the smallest node of its part (N,) int64 and whether it differs from that one (N,) bool, along
    the edges that joined the parts; where odd contradicts itself, some edges are not obeyed.

    Every root hooks itself below its smallest neighbouring root until none is left, and paths are
    halved by pointer jumping: a few dozen array operations for any mesh.
    """
    root = torch.arange(nodes, device=edges.device)
    differs = torch.zeros(nodes, dtype=torch.bool, device=edges.device)
    while True:
        ends = root[edges]
        apart = ends[:, 0] != ends[:, 1]
        edges, odd, ends = edges[apart], odd[apart], ends[apart]
        if not len(edges):
            return root, differs
        flipped = differs[edges].sum(1) % 2 == 1
        high, low = ends.amax(1), ends.amin(1)
        target = torch.full_like(root, nodes).scatter_reduce_(0, high, low, "amin")
        rows = torch.arange(len(edges), device=edges.device)[low == target[high]]
        chosen = torch.full_like(root, len(edges)).scatter_reduce_(0, high[rows], rows, "amin")
        hooked = (chosen < len(edges)).nonzero()[:, 0]
        differs[hooked] = (flipped ^ odd)[chosen[hooked]]
        root[hooked] = target[hooked]
        while not torch.equal(root[root], root):
            differs, root = differs ^ differs[root], root[root]


def check_mesh(vertices: Tensor, faces: Tensor) -> None:
    """NothingMade for vertices that are not finite, ValueError unless they are (V, 3) floats and
    faces (F, 3) int64 name them."""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not vertices.dtype.is_floating_point:
        raise ValueError(f"vertices: (V, 3) float, got {tuple(vertices.shape)} {vertices.dtype}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces: (F, 3) int64, got {tuple(faces.shape)} {faces.dtype}")
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        low, high = int(faces.min()), int(faces.max())
        raise ValueError(f"faces: between 0 and {len(vertices) - 1}, got {low} to {high}")
    if not bool(vertices.isfinite().all()):
        raise NothingMade("vertices: finite, got NaN or infinity")


def _first_of_each(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each group of equal rows (N, 3) int64 of 32 bits, and every row's group."""
    group = rows[:, 0]
    for column in rows[:, 1:].unbind(1):
        group = torch.unique((group << 32) | (column & 0xFFFFFFFF), return_inverse=True)[1]
    groups = int(group.max()) + 1 if len(rows) else 0
    first = torch.full((groups,), len(rows), device=rows.device)
    here = torch.arange(len(rows), device=rows.device)
    return first.scatter_reduce_(0, group, here, "amin"), group


def _edges(faces: Tensor, vertices: int) -> _Edges:
    start = faces.reshape(-1)
    end = faces.roll(-1, dims=1).reshape(-1)
    codes = torch.minimum(start, end) * vertices + torch.maximum(start, end)
    order = codes.argsort(stable=True)
    uses = torch.unique_consecutive(codes[order], return_counts=True)[1]
    last = uses.cumsum(0) - 1
    first, last = order[last - uses + 1], order[last]
    users = torch.stack((first // 3, last // 3), dim=1)
    return _Edges(start[first], end[first], uses, users, start[first] != start[last])
