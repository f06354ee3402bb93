"""What stands in the scenes? Meshes from files and from the shape grammar, in one form.

A body stands upright on y = 0 above the origin, y up, its longest side 1. Where it is from and
whether training may see it is said by `split`: one in eight is kept for measuring.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meshes.marching import march
from scene.types import Float32, Uint8
from training.generator.scans import Surface, read_surface, usable_files
from training.generator.shapes.fields import compiled, signed_distance
from training.generator.shapes.grammar import Family
from training.generator.shapes.parts import Builder, Paint, Solid

NODES = 48  # along the longest side of a procedural body
REACH = 1.45  # half side of the cube in which the grammar builds
CREASE_COSINE = 0.7
ONE_KEPT_IN = 8  # one body in so many is never trained on


@dataclass(frozen=True, eq=False)
class Body:
    """A mesh with colours: corners, normals (F, 3, 3) and uv (F, 3, 2) float32 of every face;
    material (F,) int32: index into textures, or into the parts of paint; kind: what it is."""

    name: str
    kind: str
    corners: Float32
    normals: Float32
    uv: Float32
    material: NDArray[np.int32]
    textures: tuple[Uint8, ...] = ()
    paint: Paint | None = None

    @property
    def size(self) -> Float32:
        """(3,) extent."""
        points = self.corners.reshape(-1, 3)
        return points.max(0) - points.min(0)


def split(name: str) -> str:
    """`kept` for the bodies, textures and skies that only measure, else `train`."""
    digest = hashlib.sha256(name.encode()).digest()
    return "kept" if digest[0] % ONE_KEPT_IN == 0 else "train"


def standing(corners: NDArray[np.floating]) -> Float32:
    """The same faces above the origin, on y = 0, longest side 1."""
    low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
    shift = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return ((corners - shift) / max(float((high - low).max()), 1e-9)).astype(np.float32)


def mesh_bodies(folder: Path) -> list[Body]:
    """The meshes of an unpacked archive that may be trained on."""
    kinds = {e["file"]: e["kind"] for e in json.loads((folder / "index.json").read_text("utf-8"))}
    return [mesh_body(file, kinds[file.name]) for file in usable_files(folder)]


def mesh_body(file: Path, kind: str, z_up: bool = False) -> Body:
    """A mesh from a file."""
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if z_up else None
    surface: Surface = read_surface(file, upright)
    corners = standing(surface.corners)
    return Body(
        file.stem,
        kind,
        corners,
        creased_normals(corners),
        surface.uv.astype(np.float32),
        surface.texture.astype(np.int32),
        tuple(surface.textures),
    )


def grammar_body(family: Family, seed: int) -> Body | None:
    """A procedural object of a seed; None for the few that are next to nothing."""
    builder = Builder(np.random.default_rng(seed))
    family.build(builder)
    solid, paint = builder.finish()
    coarse = _inside(*_sampled(solid, np.full(3, -REACH), np.full(3, 2 * REACH / 23), (24,) * 3))
    if coarse is None:
        return None
    step = 2 * REACH / 23
    low, high = coarse[0] * step - REACH - step, coarse[1] * step - REACH + step
    spacing = float((high - low).max()) / (NODES - 3)
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing) + 3)
    start = low - spacing
    distance, part = _sampled(solid, start, np.full(3, spacing), shape)
    distance[[0, -1]] = distance[:, [0, -1]] = distance[:, :, [0, -1]] = spacing
    if _inside(distance, part) is None:
        return None

    def crossing(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        a, b = distance[tuple(first.T)], distance[tuple(second.T)]
        return np.clip(a / (a - b), 0.01, 0.99)

    cut = march(distance < 0, crossing)
    corners = cut.points[cut.triangles]
    centre = np.clip(np.rint(corners.mean(1)).astype(int), 0, np.array(shape) - 1)
    corners = standing(corners)
    name = f"{family.name} {seed}"
    zeros = np.zeros((len(corners), 3, 2), np.float32)
    material = part[tuple(centre.T)].astype(np.int32)
    return Body(name, family.name, corners, creased_normals(corners), zeros, material, paint=paint)


def _inside(distance: NDArray, _part: NDArray) -> tuple[NDArray, NDArray] | None:
    """First and last index (3,) of the inside nodes."""
    inside = np.argwhere(distance < 0)
    return (inside.min(0), inside.max(0)) if len(inside) > 3 else None


@compiled
def _sampled(solid: Solid, start, spacing, shape):
    """Signed distance and nearest part at the nodes of a grid."""
    distance = np.zeros(shape)
    part = np.zeros(shape, np.int64)
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                distance[i, j, k], part[i, j, k] = signed_distance(
                    start[0] + i * spacing[0], start[1] + j * spacing[1],
                    start[2] + k * spacing[2], solid,
                )  # fmt: skip
    return distance, part


def creased_normals(corners: Float32) -> Float32:
    """(F, 3, 3) normals at the corners: smooth over flat edges, sharp over those above 45 degrees.

    A corner takes the mean, weighted by area, of the faces about it that look its face's way.
    """
    from scipy.sparse import csr_matrix

    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
    rounded = np.round(corners.reshape(-1, 3), 5)
    _, point = np.unique(rounded, axis=0, return_inverse=True)
    point = point.reshape(-1)
    count = np.bincount(point)
    face = np.repeat(np.arange(len(corners)), 3)
    if (count.astype(np.int64) ** 2).sum() > 4_000_000:  # a fan of thousands stays faceted
        return np.repeat(unit[:, None], 3, 1).astype(np.float32)
    owner = csr_matrix((np.ones(len(point)), (np.arange(len(point)), point)))
    pairs = (owner @ owner.T).tocoo()
    ours, theirs = face[pairs.row], face[pairs.col]
    alike = (unit[ours] * unit[theirs]).sum(1) > CREASE_COSINE
    out = np.zeros((len(point), 3))
    np.add.at(out, pairs.row[alike], flat[theirs[alike]])
    length = np.linalg.norm(out, axis=1, keepdims=True)
    out = np.where(length > 1e-20, out / np.maximum(length, 1e-20), unit[face])
    return out.reshape(-1, 3, 3).astype(np.float32)
