"""Material and UV: which maps there are, how sharp, and how they lie on the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photoscene.quality.edges import Edges, face_areas
from photoscene.quality.evidence import ObjectEvidence
from photoscene.quality.rubric import Row, measured, not_measured
from scene.raycast import texture_colours
from scene.seams import parts_of
from scene.types import Camera, Float64, ObjectMesh

MIN_TEXELS = 8  # along a side: a smaller texture is a colour, no map
GRID = 512  # rays along the texture, for what two faces claim
INSET = 1e-3  # of an edge: its ends lie on other seams, too
MAX_SEAMS = 5000


def material_rows(subject: ObjectEvidence, camera: Camera, edges: Edges) -> list[Row]:
    """The rows of one object."""
    name, mesh = subject.placed.name, subject.placed.mesh
    maps = maps_of(mesh)
    step = seam_step(mesh, edges)
    return [
        measured(name, "maps", len(maps), ", ".join(maps) or "one colour"),
        measured(
            name, "resolution", texels_per_pixel(subject, camera),
            f"{mesh.texture.shape[1]} x {mesh.texture.shape[0]} px",
        ),
        not_measured(name, "seams", "the texture has none")
        if step is None
        else measured(name, "seams", step),
    ]  # fmt: skip


def uv_rows(subject: ObjectEvidence) -> list[Row]:
    """The rows of one object's layout."""
    name, mesh = subject.placed.name, subject.placed.mesh
    islands = int(parts_of(mesh.faces).max()) + 1
    return [
        measured(name, "UV islands", len(mesh.faces) / islands, f"{islands} islands"),
        measured(name, "UV overlap", overlap(mesh)),
        measured(name, "UV stretch", stretch(mesh)),
    ]


def maps_of(mesh: ObjectMesh) -> list[str]:
    """The maps that hold more than one value."""
    material = mesh.material
    found = {"colour": mesh.texture, "roughness": material.metallic_roughness,
             "normals": material.normal_map, "alpha": material.alpha}  # fmt: skip
    return [
        name
        for name, pixels in found.items()
        if pixels is not None
        and min(pixels.shape[:2]) >= MIN_TEXELS
        and (pixels.reshape(-1, pixels.shape[-1] if pixels.ndim == 3 else 1).std(0) > 0).any()
    ]


def texels_per_pixel(subject: ObjectEvidence, camera: Camera) -> float:
    """Texels along a pixel of the photo at the object's distance, in the mean over its surface."""
    mesh, placed = subject.placed.mesh, subject.placed
    height, width = mesh.texture.shape[:2]
    texels = np.abs(_uv_areas(mesh)).sum() * width * height
    area = face_areas(mesh).sum() * placed.camera_from_object.scale**2
    distance = float(np.median(placed.camera_vertices[:, 2]))
    pixels = area * camera.fx_px * camera.fy_px / distance**2
    return float(np.sqrt(texels / pixels)) if pixels > 0 and distance > 0 else 0.0


def seam_step(mesh: ObjectMesh, edges: Edges) -> float | None:
    """Median step of colour, in levels of 255, across edges whose faces have different uv there;
    None for a texture without seams."""
    pairs = _shared_edges(mesh, edges)
    if not len(pairs):
        return None
    (one, own), (other, theirs) = ((pairs[:, i, 0], pairs[:, i, 1]) for i in (0, 1))
    a0, a1 = (mesh.faces[one, (own + k) % 3] for k in (0, 1))
    # The neighbour runs along the edge the other way.
    b0, b1 = (mesh.faces[other, (theirs + k) % 3] for k in (1, 0))
    split = (np.abs(mesh.uv[a0] - mesh.uv[b0]) > 1e-5).any(1) | (
        np.abs(mesh.uv[a1] - mesh.uv[b1]) > 1e-5
    ).any(1)
    chosen = np.flatnonzero(split)
    if not len(chosen):
        return None
    chosen = chosen[:: max(1, len(chosen) // MAX_SEAMS)]
    colours = [
        texture_colours(mesh, faces[chosen], _middle(corner[chosen]))
        for faces, corner in ((one, own), (other, theirs))
    ]
    return float(np.median(np.abs(colours[0] - colours[1]).max(axis=1)))


def overlap(mesh: ObjectMesh) -> float:
    """Share of the covered texture that two faces claim, plus the share of faces outside it.

    Every face lies at a height of its own over the texture: where the first hit from above is not
    the first from below, two are there.
    """
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    count = len(mesh.faces)
    height = (np.arange(count, dtype=np.float32) + 1) / count
    corners = np.dstack([mesh.uv[mesh.faces], np.repeat(height[:, None], 3, 1)]).astype(np.float32)
    scene = EmbreeScene()
    TriangleMesh(scene, corners)
    steps = (np.arange(GRID, dtype=np.float32) + np.float32(0.5)) / GRID
    u, v = np.meshgrid(steps, steps)
    flat = np.stack([u.ravel(), v.ravel()], 1)
    hits: list[NDArray[np.int32]] = []
    for start, down in ((2.0, -1.0), (-1.0, 1.0)):
        origins = np.column_stack([flat, np.full(len(flat), start, np.float32)])
        rays = np.tile(np.array([0, 0, down], np.float32), (len(flat), 1))
        hits.append(np.asarray(scene.run(np.ascontiguousarray(origins), rays)))
    above, below = hits
    covered = above >= 0
    if not covered.any():
        return 1.0
    twice = float((above != below)[covered].mean())
    beyond = np.any((mesh.uv < -INSET) | (mesh.uv > 1 + INSET), axis=1)
    return min(1.0, twice + float(np.asarray(beyond)[mesh.faces].any(axis=1).mean()))


def stretch(mesh: ObjectMesh) -> float:
    """L2 stretch (Sander et al. 2001, equation 3) of the texture in texels, over that of a layout
    of the same area without any: 1 is best, infinite where a face has no area in the texture."""
    height, width = mesh.texture.shape[:2]
    uv = mesh.uv[mesh.faces].astype(np.float64) * [width, height]
    p = mesh.vertices[mesh.faces].astype(np.float64)
    (u1, v1), (u2, v2), (u3, v3) = (uv[:, i].T for i in range(3))
    double = (u2 - u1) * (v3 - v1) - (u3 - u1) * (v2 - v1)
    area = face_areas(mesh)
    total, texels = float(area.sum()), float(np.abs(double).sum()) / 2
    flat = np.abs(double) <= 1e-6
    if not total or area[flat].sum() > 0.01 * total:
        return float("inf")
    double = np.where(flat, 1.0, double)[:, None]
    along_u = (p[:, 0] * (v2 - v3)[:, None] + p[:, 1] * (v3 - v1)[:, None]
               + p[:, 2] * (v1 - v2)[:, None]) / double  # fmt: skip
    along_v = (p[:, 0] * (u3 - u2)[:, None] + p[:, 1] * (u1 - u3)[:, None]
               + p[:, 2] * (u2 - u1)[:, None]) / double  # fmt: skip
    squares = np.where(flat, 0, ((along_u**2).sum(1) + (along_v**2).sum(1)) / 2)
    return float(np.sqrt((squares * area).sum() / total) * np.sqrt(texels / total))


def _uv_areas(mesh: ObjectMesh) -> Float64:
    """(M,) areas of the faces in the texture, of 1, negative where they are mirrored."""
    a, b, c = (mesh.uv[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    one, other = b - a, c - a
    return (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2


def _shared_edges(mesh: ObjectMesh, edges: Edges) -> NDArray[np.int64]:
    """(E, 2, 2): for every edge of two faces that run along it in opposite directions, each face
    and the corner at which the edge begins."""
    start = edges.corners.T.reshape(-1)  # corner 0 of all faces, then corner 1, then corner 2
    end = np.roll(edges.corners, -1, axis=1).T.reshape(-1)
    count = int(edges.corners.max()) + 1
    ahead, back = start * count + end, end * count + start
    order = np.argsort(ahead, kind="stable")
    found = order[np.minimum(np.searchsorted(ahead[order], back), len(order) - 1)]
    paired = (ahead[found] == back) & (start < end)
    first, second = np.flatnonzero(paired), found[paired]
    m = len(mesh.faces)
    return np.stack(
        [np.stack([first % m, first // m], 1), np.stack([second % m, second // m], 1)], axis=1
    )


def _middle(corner: NDArray[np.int64]) -> Float64:
    """(N, 3) barycentric coordinates of the middles of the edges that begin at a corner."""
    out = np.zeros((len(corner), 3))
    out[np.arange(len(corner)), corner] = 0.5
    out[np.arange(len(corner)), (corner + 1) % 3] = 0.5
    return out
