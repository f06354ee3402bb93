"""What the scene's terms do for things that touch: penetration, contact and translation error.

With and without them, on the piles, in three rows: noise, a warped map, wrong shapes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from alignment.objects import Placement
from alignment.support import Ground, SupportPlane, find_ground
from benchmarks.known_scenes import KnownScene
from benchmarks.perturb import ROWS, Case
from benchmarks.piles import piles
from benchmarks.placement_errors import errors_of
from benchmarks.surfaces import Mesh, surface_of
from scene.types import Float32, Float64
from stages.place import pixel_aligned

TOUCHING_ROWS = ("noise 3 %", "warp 5 %", "shape off by 10 %")
WITHOUT = pixel_aligned.Settings(plane=0, contact=0, penetration=0, order=0)
WITH = pixel_aligned.Settings()
SAMPLES = 4000  # points on every surface, besides its vertices
CONTACT = 0.01  # gap over the size of the scene up to which things still touch


@dataclass(frozen=True)
class Touch:
    """One placed pile: penetrations (m) of pairs, kept contacts of pairs and with the plane, and
    the mean translation error."""

    penetration_m: list[float]
    kept_pairs: list[bool]
    kept_plane: list[bool]
    translation: float


def touching_table(data: Path, seeds: int, workers: int) -> str:
    """Without and with the terms, per row: means over all piles with contacts, and seeds."""
    work = [(row, seed) for row in TOUCHING_ROWS for seed in range(seeds)]
    with ProcessPoolExecutor(workers) as pool:
        done = list(pool.map(partial(_trial, data), work))
    lines = [
        "| row | terms | penetration, mm | ratio | contacts kept, pairs | with the plane | all | "
        "translation error, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in TOUCHING_ROWS:
        found = [trial for (name, _), trial in zip(work, done, strict=True) if name == row]
        before = [t for pair in found for t in pair[0]]
        after = [t for pair in found for t in pair[1]]
        ratio = _penetration(after) / max(_penetration(before), 1e-12)
        lines.append(f"| {row} | without | {_cells(before, '')}")
        lines.append(f"| {row} | with | {_cells(after, f'{ratio:.2f}')}")
    return "\n".join(lines)


def _trial(data: Path, work: tuple[str, int]) -> tuple[list[Touch], list[Touch]]:
    """One row and seed on all piles in which things touch, without and with the terms."""
    name, seed = work
    row = next(r for r in ROWS if r.name == name)
    both: tuple[list[Touch], list[Touch]] = ([], [])
    for scene in _piles(data):
        case = row.make(scene, np.random.default_rng([seed, zlib.crc32(name.encode())]))
        ground = find_ground(case.point_map, [o.mask for o in case.objects])
        for settings, found in zip((WITHOUT, WITH), both, strict=True):
            placer = pixel_aligned.load(settings, "cpu")
            placements = placer.place(list(case.objects), case.point_map, ground)
            found.append(_touch(case, placements, ground))
    return both


@cache
def _piles(data: Path) -> list[KnownScene]:
    return [scene for scene in piles(data / "objects") if scene.touching]


def deepest_pair(case: Case, placements: list[Placement]) -> tuple[float, tuple[int, int]]:
    """How deep (m) the worst pair of a placed pile reaches into each other, and which one it is."""
    least = _min_distances(case, _placed_meshes(case, placements))
    pair = min(least, key=lambda p: least[p])
    return -least[pair], pair


def _touch(case: Case, placements: list[Placement], ground: Ground) -> Touch:
    """Measure one placed pile; what the plane is to it is the plane that was found."""
    meshes = _placed_meshes(case, placements)
    size = float(np.linalg.norm(np.ptp(np.concatenate([v for v, _ in meshes]), axis=0)))
    least = _min_distances(case, meshes)
    penetration = [max(0.0, -distance) for distance in least.values()]
    kept = [least[pair] < CONTACT * size for pair in least if pair in case.known.touching]
    plane = [_gap(meshes[k][0], ground.plane) < CONTACT * size for k in case.known.standing]
    translation = float(np.mean([e.translation for e in errors_of(case, placements)]))
    return Touch(penetration, kept, plane, translation)


def _placed_meshes(case: Case, placements: list[Placement]) -> list[Mesh]:
    meshes = [
        (p.camera_from_object.apply(o.mesh.vertices), o.mesh.faces)
        for p, o in zip(placements, case.objects, strict=True)
        if p.camera_from_object is not None
    ]
    if len(meshes) < len(placements):
        raise RuntimeError(f"{case.known.name}: not every object was placed")
    return meshes


def _min_distances(case: Case, meshes: list[Mesh]) -> dict[tuple[int, int], float]:
    """Least signed distance of every pair whose boxes overlap or that should touch."""
    surfaces = [surface_of(mesh) for mesh in meshes]
    points = [np.concatenate([v, _samples(v, f)]).astype(np.float32) for v, f in meshes]
    found = {}
    for k, one in enumerate(meshes):
        for other in range(k):
            apart = np.maximum(one[0].min(0), meshes[other][0].min(0)) > np.minimum(
                one[0].max(0), meshes[other][0].max(0)
            )
            if (other, k) in case.known.touching or not apart.any():
                found[other, k] = min(
                    _min_gap(surfaces[other], points[k]), _min_gap(surfaces[k], points[other])
                )
    return found


def _min_gap(surface: Any, points: Float32) -> float:
    """The least signed distance of points (N, 3) to a closed surface, negative inside."""
    return float(surface.compute_signed_distance(points, nthreads=1, nsamples=3).numpy().min())


def _gap(vertices: Float64, plane: SupportPlane | None) -> float:
    """How far the lowest vertex stays above the plane, metres; inf without a plane."""
    if plane is None:
        return np.inf
    return abs(float((vertices @ plane.normal).min()) + plane.height)


def _samples(vertices: Float64, faces: np.ndarray) -> Float64:
    """(SAMPLES, 3) points spread evenly over a surface."""
    random = np.random.default_rng(0)
    corners = vertices[faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    chosen = corners[random.choice(len(faces), SAMPLES, p=area / area.sum())]
    weights = random.dirichlet((1, 1, 1), SAMPLES)
    return (chosen * weights[..., None]).sum(1)


def _penetration(found: Sequence[Touch]) -> float:
    return float(np.mean([p for t in found for p in t.penetration_m]))


def _cells(found: Sequence[Touch], ratio: str) -> str:
    pairs = [k for t in found for k in t.kept_pairs]
    plane = [k for t in found for k in t.kept_plane]
    translation = 100 * float(np.mean([t.translation for t in found]))
    return (
        f"{1000 * _penetration(found):.3f} | {ratio} | {np.mean(pairs):.3f} | "
        f"{np.mean(plane):.3f} | {np.mean(pairs + plane):.3f} | {translation:.3f} |"
    )
