"""Surfaces whose finish is known: closed and hollow bodies, open sheets, decoded fields, scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from scene.types import DenseMesh, Float64, ObjectMesh

FIELD_CELLS = 48
FIELDS = 5
BUMP = 0.012  # of the longest side: how far the relief of scans goes up and down


def ball(subdivisions: int = 4) -> trimesh.Trimesh:
    """A sphere."""
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.4)


def torus() -> trimesh.Trimesh:
    """A ring."""
    return trimesh.creation.torus(0.3, 0.12, 96, 48)


def double_shell() -> trimesh.Trimesh:
    """A hollow sphere, as decoders make them: a second surface, inside out, a little below."""
    inner = ball()
    inner.vertices *= 0.96
    inner.invert()
    outer = ball()
    vertices = np.concatenate([outer.vertices, inner.vertices])
    faces = np.concatenate([outer.faces, inner.faces + len(outer.vertices)])
    return trimesh.Trimesh(vertices, faces, process=False)


def open_sheet() -> trimesh.Trimesh:
    """A curved sheet without thickness."""
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, 48), np.linspace(-0.3, 0.3, 36))
    points = np.stack([x, y, 0.06 * np.sin(6 * x) * np.cos(5 * y)], -1).reshape(-1, 3)
    at = np.arange(len(points)).reshape(x.shape)
    quads = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], -1).reshape(-1, 4)
    return trimesh.Trimesh(points, quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), process=False)


def decoded_field(seed: int) -> trimesh.Trimesh:
    """The level of a random smooth field, meshed by the generator's dual grid, which leaves it as
    the networks do: its faces wound by the axes, not by what is inside."""
    import torch

    from sparse3d.dual_grid import dual_grid_to_mesh

    values = _field(seed)
    solid = values > 0
    far = solid[1:, 1:, 1:]  # a voxel has the edges that end at its far corner
    crossing = np.stack([
        solid[:-1, 1:, 1:] != far, solid[1:, :-1, 1:] != far, solid[1:, 1:, :-1] != far
    ], -1)  # fmt: skip
    corners = np.stack([
        values[i : i - 1 or None, j : j - 1 or None, k : k - 1 or None]
        for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ])  # fmt: skip
    inside = (corners > 0).sum(0)
    voxels = np.argwhere((inside > 0) & (inside < 8))
    coords, flags = torch.from_numpy(voxels), torch.from_numpy(crossing)[tuple(voxels.T)]
    middles = torch.from_numpy(_level_points(corners[:, *voxels.T]))
    size = FIELD_CELLS
    vertices, faces = dual_grid_to_mesh(coords.int(), middles, flags, None, size)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


def _level_points(corners: Float64) -> Float64:
    """(N, 3) the points of voxels, in them, where their corners' (8, N) plane fit is zero."""
    sides = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    slope = sides.T @ corners / 4  # (3, N) per voxel
    step = -corners.mean(0) * slope / np.maximum((slope**2).sum(0), 1e-12)
    return np.clip(0.5 + step.T, 0.02, 0.98)


def _field(seed: int) -> Float64:
    """(N, N, N) values, negative towards the border of the cube."""
    random = np.random.default_rng(seed)
    axis = np.linspace(-0.5, 0.5, FIELD_CELLS + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    total = np.zeros(points.shape[:3])
    for _ in range(12):
        wave = random.normal(size=3) * 9
        total += np.cos(points @ wave + random.uniform(0, 2 * np.pi))
    return total / 3 - 40 * np.clip(np.linalg.norm(points, axis=-1) - 0.3, 0, None)


def displaced_scan(path: Path, levels: int = 3) -> trimesh.Trimesh:
    """A scan in the cube, its faces cut finely and lifted by a pattern: outwards only, or the sides
    of a thin plate would cut through each other, and show their backs."""
    scan = trimesh.load(path, force="mesh", process=False)
    assert isinstance(scan, trimesh.Trimesh)
    scan = trimesh.Trimesh(scan.vertices, scan.faces, process=True)
    scan.apply_translation(-scan.bounds.mean(0))
    scan.apply_scale(0.8 / scan.extents.max())
    for _ in range(levels):
        scan = scan.subdivide()
    x, y, z = (35 * scan.vertices).T
    pattern = 1 + np.sin(x) * np.sin(y + 1) * np.sin(z + 2)
    lift = BUMP * scan.extents.max() * pattern
    normals = np.asarray(scan.vertex_normals)
    return trimesh.Trimesh(scan.vertices + lift[:, None] * normals, scan.faces, process=False)


def as_dense(shape: trimesh.Trimesh) -> DenseMesh:
    """The shape with a colour that tells the place, half rough, not metallic, opaque."""
    merged = trimesh.Trimesh(shape.vertices, shape.faces, process=True)
    colours = np.clip(merged.vertices + 0.5, 0, 1) * 255
    values = np.column_stack([colours, np.zeros(len(colours)), np.full((len(colours), 2), 255)])
    values[:, 4] = 128
    return DenseMesh(
        np.asarray(merged.vertices, np.float32),
        np.asarray(merged.faces, np.int32),
        np.rint(values).astype(np.uint8),
    )


def as_object(shape: trimesh.Trimesh) -> ObjectMesh:
    """The shape, grey."""
    return ObjectMesh(
        np.asarray(shape.vertices, np.float32),
        np.asarray(shape.faces, np.int32),
        np.full((len(shape.vertices), 2), 0.5, np.float32),
        np.full((4, 4, 3), 128, np.uint8),
    )


def shaded_normals(mesh: ObjectMesh, count: int, seed: int) -> tuple[Float64, Float64]:
    """Random points (N, 3) of a mesh, and the normals (N, 3) that a viewer shades them with: of the
    vertices, bent by the normal map."""
    from scene.normals import vertex_tangents

    assert mesh.normals is not None and mesh.material.normal_map is not None
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, face = trimesh.sample.sample_surface(whole, count, seed=seed)[:2]
    weights = trimesh.triangles.points_to_barycentric(whole.triangles[face], points)
    tangents = vertex_tangents(mesh.vertices, mesh.faces, mesh.uv, mesh.normals)

    def mean(values: np.ndarray) -> Float64:
        return (weights[:, :, None] * values[mesh.faces[face]]).sum(1)

    normal, tangent, uv = _unit(mean(mesh.normals)), mean(tangents), mean(mesh.uv)
    along = _unit(tangent[:, :3])
    across = _unit(np.cross(normal, along) * np.sign(tangent[:, 3:]))
    height, width = mesh.material.normal_map.shape[:2]
    column = np.clip(uv[:, 0] * width, 0, width - 1).astype(np.int64)
    row = np.clip(uv[:, 1] * height, 0, height - 1).astype(np.int64)
    bent = mesh.material.normal_map[row, column] / 127.5 - 1
    frame = np.stack([along, across, normal], 1)
    return points, _unit((bent[:, :, None] * frame).sum(1))


def _unit(vectors: Float64) -> Float64:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
