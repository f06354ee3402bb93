"""Canonical generators in the placement sweep: what errors of their poses cost either method.

A mesh that its pose has put into the crop's frame is off by the pose's error: rotated about its
middle, by so many degrees about any axis. `pixel_aligned` keeps that rotation and finds one scale;
`umeyama`, CUPID's component-aligned composition, finds a rotation of its own from the point map.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.spatial import KDTree
from scipy.stats import t

from alignment.objects import Placement
from alignment.support import find_ground
from benchmarks.known_scenes import KnownObject, KnownScene, load_scene, scene_folders
from benchmarks.narrow import table
from benchmarks.perturb import BASE_NOISE, Case, Random, exact, misshapen, noise, warped
from benchmarks.pose import random_rotation
from scene.types import CanonicalPose, Float32, Float64, Similarity
from stages import place
from stages.generate.shared.canonical import FRONT
from stages.place import Placer, pixel_aligned, umeyama

POSE_ERRORS_DEG = (0.0, 2.0, 5.0, 10.0)
CONDITIONS: dict[str, Callable[[Case, Random], Case]] = {
    "noise 3 %": lambda case, random: case,
    "warp 5 %": partial(warped, amplitude=0.05),
    "shape off by 5 %": partial(misshapen, amplitude=0.05),
}
WITH_TERMS = "with the scene's terms"  # pixel_aligned as it places meshes that have no pose
METHODS: dict[str, Callable[[], Placer]] = {
    "pixel_aligned": lambda: pixel_aligned.load(pixel_aligned.Settings(), "cpu"),
    "umeyama": lambda: umeyama.load(umeyama.Settings(), "cpu"),
    WITH_TERMS: lambda: pixel_aligned.load(pixel_aligned.Settings(), "cpu"),
}
COMPARED = ("pixel_aligned", "umeyama")
NO_POSE = "no pose"
POSED, UNPOSED = (
    CanonicalPose(Similarity(1.0, FRONT, np.zeros(3)), known, 1.0 if known else 0.0)
    for known in (True, False)
)
SAMPLES = 2000  # vertices compared


@dataclass(frozen=True)
class CanonicalErrors:
    """surface: mean distance between placed and true surface, both ways, over the diameter (ADD-S);
    centre: over the distance; size: |log| of the scale; rotation_deg: modulo the object's axis of
    revolution; outline: 1 - silhouette IoU."""

    surface: float
    centre: float
    size: float
    rotation_deg: float
    outline: float


FIGURES: dict[str, Callable[[CanonicalErrors], float]] = {
    "surface, % of the diameter": lambda e: 100 * e.surface,
    "centre, % of the distance": lambda e: 100 * e.centre,
    "size, %": lambda e: 100 * e.size,
    "rotation, degrees": lambda e: e.rotation_deg,
    "outline, 100 (1 - IoU)": lambda e: 100 * e.outline,
}
Trial = dict[str, list[CanonicalErrors]]  # by method, per object


def canonical_tables(data: Path, seeds: int, workers: int) -> str:
    """Both methods under every pose error and condition, and meshes without a pose."""
    rows = [(c, degrees) for c in CONDITIONS for degrees in POSE_ERRORS_DEG]
    work = [(*row, seed) for row in rows for seed in range(seeds)]
    with ProcessPoolExecutor(workers) as pool:
        trials = list(pool.map(partial(_trial, data), work, chunksize=2))
        unposed = list(pool.map(partial(_unposed_trial, data), range(seeds)))
    found = {row: [x for w, x in zip(work, trials, strict=True) if w[:2] == row] for row in rows}
    parts = [_verdict(found)]
    for name, read in FIGURES.items():
        lines = [[c, f"{degrees:g}", *_cells(found[c, degrees], read)] for c, degrees in rows]
        header = ["point map", "pose off by, degrees", *COMPARED, "better", WITH_TERMS]
        parts.append(f"Error of the {name}:\n\n{table(header, lines)}")
    return "\n\n".join([*parts, _unposed(unposed)])


def _trial(data: Path, work: tuple[str, float, int]) -> Trial:
    condition, degrees, seed = work
    known = _scenes(data)[seed % len(_scenes(data))]
    # The same map and axes for every pose error: rows of a condition differ by the angle alone.
    random = np.random.default_rng([seed, zlib.crc32(condition.encode())])
    case = noise(CONDITIONS[condition](exact(known, random), random), BASE_NOISE, random)
    rotations = [_rotation(random, math.radians(degrees)) for _ in case.objects]
    middles = [_middle(o.mesh.vertices) for o in case.objects]
    moved = tuple(
        replace(
            o,
            mesh=replace(o.mesh, vertices=cast(Float32, (o.mesh.vertices - m) @ r.T + m)),
            canonical=POSED,
        )
        for o, r, m in zip(case.objects, rotations, middles, strict=True)
    )
    ground = find_ground(case.point_map, [o.mask for o in case.objects])
    placed = {}
    for method, load in METHODS.items():
        pose = None if method == WITH_TERMS else POSED
        objects = [replace(o, canonical=pose) for o in moved]
        placed[method] = load().place(objects, case.point_map, ground)
    turned = replace(case, objects=moved)
    return {
        method: [
            _errors(turned, k, placement, r @ turned.objects[k].crop.photo_from_crop.T)
            for k, (placement, r) in enumerate(zip(placements, rotations, strict=True))
        ]
        for method, placements in placed.items()
    }


def _unposed_trial(data: Path, seed: int) -> list[tuple[CanonicalErrors, str]]:
    """Upright meshes at any azimuth, of unit size, registered by their shape: errors and grades."""
    known = _scenes(data)[seed % len(_scenes(data))]
    random = np.random.default_rng([seed, zlib.crc32(NO_POSE.encode())])
    case = noise(exact(known, random), BASE_NOISE, random)
    objects, rotations = [], []
    for o, true in zip(case.objects, known.objects, strict=True):
        azimuth = random.uniform(0, 2 * math.pi)
        cos, sin = math.cos(azimuth), math.sin(azimuth)
        upright = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        rotation = FRONT @ upright @ known.world_from_camera[:3, :3]
        vertices = true.vertices @ rotation.T
        vertices = (vertices - _middle(vertices)) / np.ptp(vertices, axis=0).max()
        mesh = replace(o.mesh, vertices=vertices.astype(np.float32))
        objects.append(replace(o, mesh=mesh, canonical=UNPOSED))
        rotations.append(rotation)
    masks = [o.mask for o in objects]
    placed = place.run(METHODS["pixel_aligned"](), objects, case.point_map, masks).placements
    unit = replace(case, objects=tuple(objects))
    return [
        (
            _errors(unit, k, placement, rotations[k]),
            placement.fit.grade if placement.fit else "lost",
        )
        for k, placement in enumerate(placed)
    ]


def _errors(
    case: Case, index: int, placement: Placement, object_from_photo: Float64
) -> CanonicalErrors:
    """object_from_photo (3, 3): the rotation that its mesh has against the truth."""
    true, o = case.known.objects[index], case.objects[index]
    if placement.camera_from_object is None or placement.fit is None:
        return CanonicalErrors(1.0, 1.0, 1.0, 180.0, 1.0)
    vertices = placement.camera_from_object.apply(o.mesh.vertices)
    diameter = float(np.linalg.norm(np.ptp(true.vertices, axis=0)))
    chosen = np.linspace(0, len(vertices) - 1, min(len(vertices), SAMPLES)).astype(int)
    there = KDTree(true.vertices).query(vertices[chosen])[0].mean()
    back = KDTree(vertices).query(true.vertices[chosen])[0].mean()
    true_size, made_size = (
        np.linalg.norm(v - v.mean(0)) for v in (true.vertices, vertices)
    )  # rotations change no distance from the mean
    offset = vertices.mean(0) - true.vertices.mean(0)
    return CanonicalErrors(
        float(there + back) / 2 / diameter,
        float(np.linalg.norm(offset) / np.linalg.norm(true.vertices.mean(0))),
        abs(math.log(float(made_size / true_size))),
        _angle_deg(placement.camera_from_object.rotation @ object_from_photo, true),
        1 - placement.fit.silhouette_iou,
    )


def _angle_deg(rotation: Float64, true: KnownObject) -> float:
    if true.axis is None:
        cosine = (float(np.trace(rotation)) - 1) / 2
    else:
        cosine = abs(float(true.axis @ rotation @ true.axis))
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def _rotation(random: Random, angle_rad: float) -> Float64:
    """By an angle about any axis."""
    from scipy.spatial.transform import Rotation

    axis = random_rotation(random)[0]
    return Rotation.from_rotvec(angle_rad * axis).as_matrix()


def _middle(vertices: Any) -> Float64:
    points = np.asarray(vertices, np.float64)
    return (points.min(0) + points.max(0)) / 2


@cache
def _scenes(data: Path) -> list[KnownScene]:
    return [load_scene(folder) for folder in scene_folders(data)]


def _means(
    trials: Sequence[Trial], method: str, read: Callable[[CanonicalErrors], float]
) -> Float64:
    """(seeds,) mean over the objects of every seed."""
    return np.array([np.mean([read(e) for e in trial[method]]) for trial in trials], np.float64)


def _difference(
    trials: Sequence[Trial], read: Callable[[CanonicalErrors], float]
) -> tuple[float, float]:
    """umeyama's error minus pixel_aligned's, seed by seed: the mean and half its 95 % interval."""
    by_seed = _means(trials, "umeyama", read) - _means(trials, "pixel_aligned", read)
    return float(by_seed.mean()), _half_interval(by_seed)


def _half_interval(values: Float64) -> float:
    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def _better(trials: Sequence[Trial], read: Callable[[CanonicalErrors], float]) -> str:
    middle, half = _difference(trials, read)
    if not abs(middle) > half:
        return "-"
    return "pixel_aligned" if middle > 0 else "umeyama"


def _cells(trials: Sequence[Trial], read: Callable[[CanonicalErrors], float]) -> list[str]:
    cells = []
    for method in METHODS:
        values = _means(trials, method, read)
        cells.append(f"{values.mean():.2f} ± {_half_interval(values):.2f}")
    return [*cells[:2], _better(trials, read), cells[2]]


def _verdict(found: dict[tuple[str, float], list[Trial]]) -> str:
    """From which pose error on umeyama has the smaller error, beyond the 95 % interval."""
    lines = []
    for condition in CONDITIONS:
        for name, read in FIGURES.items():
            by_error = {d: _better(found[condition, d], read) for d in POSE_ERRORS_DEG}
            parts = [
                f"{winner} at {', '.join(f'{d:g}' for d in degrees)}"
                for winner in COMPARED
                if (degrees := [d for d, best in by_error.items() if best == winner])
            ]
            if parts:
                what = name.split(",")[0]
                lines.append(f"- {condition}, {what}: {'; '.join(parts)} degrees.")
    return "The better method beyond the 95 % interval of the difference:\n\n" + "\n".join(lines)


def _unposed(trials: Sequence[list[tuple[CanonicalErrors, str]]]) -> str:
    every = [o for trial in trials for o in trial]
    errors, grades = [e for e, _ in every], [g for _, g in every]
    rows = [
        [name, *(f"{np.quantile([read(e) for e in errors], q):.2f}" for q in (0.5, 0.75, 0.9))]
        for name, read in FIGURES.items()
    ]
    counts = ", ".join(f"{grades.count(g)} {g}" for g in ("check", "failed", "lost"))
    return (
        f"Without a pose, {len(every)} upright objects at any azimuth, noise 3 %, registered by "
        f"their shape ({counts}):\n\n" + table(["error of", "median", "75 %", "90 %"], rows)
    )
