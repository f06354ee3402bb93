"""The rows of the placement sweep: known scenes with a point map, masks or meshes made worse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import cv2
import numpy as np

from alignment.objects import PlacementInput
from alignment.reproject import reproject
from benchmarks.known_scenes import KnownObject, KnownScene, rotated, true_cube
from scene.cameras import pixel_centres, project, unproject
from scene.types import Camera, Float32, Float64, ObjectMesh, PointMap

BASE_NOISE = 0.03  # of every row that does not name its own
BLEED_PX = 3
OUTLIER_FACTORS = (0.3, 2.0)
WAVES, MAX_WAVES = 6, 1.5  # of a low-frequency field: how many, and periods across the picture
WIDEST_HALF_RAD = math.radians(40)  # a generator's own widest view
OCCLUDER_DEPTH = 0.8  # over the nearest depth of the object that it hides

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Case:
    """What the placers are told, next to the truth.

    objects: as generated, one per object of the known scene; point_map: as measured.
    """

    known: KnownScene
    objects: tuple[PlacementInput, ...]
    point_map: PointMap


@dataclass(frozen=True)
class Row:
    """One kind and strength of error; noisy False where the data are exact.

    kind: "" or the kind of object that the row is about ("flat", "thin", "symmetric").
    """

    name: str
    make: Callable[[KnownScene, Random], Case]
    noisy: bool = True
    kind: str = ""


def exact(known: KnownScene, random: Random) -> Case:
    """True meshes, masks and depths."""
    objects = []
    for o, mask in zip(known.objects, known.masks, strict=True):
        mesh, crop, outline = true_cube(o, known.camera)
        objects.append(PlacementInput(mesh, crop, mask, outline & ~mask))
    return Case(known, tuple(objects), PointMap(known.depth, known.camera))


def noise(case: Case, sigma: float, random: Random) -> Case:
    """Relative Gaussian noise of every pixel by itself."""
    factor = 1 + sigma * random.standard_normal(case.point_map.depth.shape)
    return _measured(case, case.point_map.depth * factor.clip(0.05))


def outliers(case: Case, random: Random, fraction: float) -> Case:
    """A share of all pixels measures anything from 0.3 to 2 times its depth."""
    depth = case.point_map.depth
    lost = random.random(depth.shape) < fraction
    return _measured(case, depth * np.where(lost, random.uniform(*OUTLIER_FACTORS, depth.shape), 1))


def bleeding(case: Case, random: Random) -> Case:
    """Depth edges smeared over 3 pixels to either side, as interpolating networks do."""
    side = 2 * BLEED_PX + 1
    return _measured(case, np.asarray(cv2.blur(case.point_map.depth, (side, side)), np.float32))


def warped(case: Case, random: Random, amplitude: float) -> Case:
    """A smooth relative error of the whole map, +-amplitude at its extremes."""
    depth = case.point_map.depth
    height, width = depth.shape
    at = pixel_centres(width, height) / max(width, height)
    return _measured(case, depth * (1 + amplitude * smooth_field(at, random)))


def rescaled(case: Case, random: Random) -> Case:
    """A map whose unit is unknown: anything from half to twice as large."""
    return _measured(case, case.point_map.depth * math.exp(random.uniform(-1, 1) * math.log(2)))


def occluded(case: Case, random: Random, fraction: float) -> Case:
    """Something unknown stands in front of every object and hides a share of its visible pixels."""
    depth, objects = case.point_map.depth.copy(), []
    for o in case.objects:
        rows, columns = np.nonzero(o.mask)
        angle = random.uniform(0, 2 * math.pi)
        side = columns * math.cos(angle) + rows * math.sin(angle)
        lost = side > np.quantile(side, 1 - fraction)
        hidden = np.zeros_like(o.mask)
        hidden[rows[lost], columns[lost]] = True
        depth[hidden] = OCCLUDER_DEPTH * case.known.depth[o.mask].min()
        objects.append(replace(o, mask=o.mask & ~hidden, occluder=o.occluder | hidden))
    return _measured(replace(case, objects=tuple(objects)), depth)


def misshapen(case: Case, random: Random, amplitude: float) -> Case:
    """Meshes whose surface is off along the viewing rays, smoothly, by +-amplitude of their size.

    So a pixel-aligned generator errs: the outline is given, the depth behind it is guessed.
    """
    objects = []
    for o in case.objects:
        distance = o.crop.camera.fx_px / o.crop.camera.width
        points = np.asarray(o.mesh.vertices, np.float64) + [0, 0, distance]
        size = float(np.ptp(points, axis=0).max())
        field = smooth_field((points - points.min(0)) / size, random)
        moved = points * (1 + amplitude * size * field / points[:, 2])[:, None]
        objects.append(replace(o, mesh=_with_vertices(o.mesh, moved - [0, 0, distance])))
    return replace(case, objects=tuple(objects))


def wrong_field_of_view(known: KnownScene, factor: float, random: Random) -> Case:
    """Everything believed of a camera whose field of view is wrong by a factor.

    Such maps know relief and lateral extent and solve focal length and distance together
    (docs/placement.md, equation 6): a wrong focal length comes with a shift of the whole scene,
    and the generator's meshes keep their pixels in the wrong camera.
    """
    before = known.camera
    half = before.fov_x_rad / 2
    longer = math.tan(half) / math.tan(factor * half)
    camera = replace(before, fx_px=longer * before.fx_px, fy_px=longer * before.fy_px)
    shift = (longer - 1) * float(np.median(known.depth[np.any(known.masks, axis=0)]))
    shift = max(shift, 0.02 - float(known.depth.min()))  # the nearest point stays before the camera
    believed = tuple(
        replace(o, vertices=_with_intrinsics(o, before, camera, shift)) for o in known.objects
    )
    case = exact(replace(known, camera=camera, objects=believed, depth=known.depth + shift), random)
    return replace(case, known=known)


def wrong_generator(case: Case, factor: float) -> Case:
    """Meshes of a generator that ran at another field of view, re-projected as generate does.

    What it makes is pixel-aligned in its own camera and as deep as the truth.
    """
    objects = []
    for o in case.objects:
        half = math.atan(o.crop.camera.width / (2 * o.crop.camera.fx_px))
        focal_px = o.crop.camera.width / (2 * math.tan(min(factor * half, WIDEST_HALF_RAD)))
        believed = replace(o.crop.camera, fx_px=focal_px, fy_px=focal_px)
        generator = replace(o.crop, camera=believed)
        made = reproject(o.mesh.vertices, o.crop, generator).astype(np.float32)
        objects.append(replace(o, mesh=_with_vertices(o.mesh, reproject(made, generator, o.crop))))
    return replace(case, objects=tuple(objects))


def smooth_field(at: Float64, random: Random) -> Float64:
    """(...) low-frequency random values, +-1 at the extremes, at positions (..., D) in [0, 1]."""
    waves = random.standard_normal((WAVES, at.shape[-1]))
    waves *= (random.uniform(0.3, MAX_WAVES, WAVES) / np.linalg.norm(waves, axis=1))[:, None]
    phases = random.uniform(0, 2 * math.pi, WAVES)
    values = np.cos(2 * math.pi * at @ waves.T + phases).sum(-1)
    values = values - values.mean()
    return values / np.abs(values).max()


def _with_intrinsics(o: KnownObject, before: Camera, after: Camera, shift: float) -> Float64:
    """Vertices that keep their pixels in another camera and lie further away by a shift."""
    depth = o.vertices[:, 2:] + shift
    return unproject(after, project(before, o.vertices)) * depth


def _measured(case: Case, depth: Float64 | Float32) -> Case:
    return replace(case, point_map=replace(case.point_map, depth=depth.astype(np.float32)))


def _with_vertices(mesh: ObjectMesh, vertices: Float64) -> ObjectMesh:
    return replace(mesh, vertices=cast(Float32, vertices))


def _noisy(change: Callable[[Case, Random], Case], sigma: float = BASE_NOISE):
    """A row's recipe: the exact case, one change, and noise."""

    def make(known: KnownScene, random: Random) -> Case:
        return noise(change(exact(known, random), random), sigma, random)

    return make


def _off_axis(degrees: float) -> Callable[[KnownScene, Random], Case]:
    def make(known: KnownScene, random: Random) -> Case:
        return noise(exact(rotated(known, math.radians(degrees)), random), BASE_NOISE, random)

    return make


def _wrong_fov(error: float) -> Callable[[KnownScene, Random], Case]:
    """Too wide or too narrow, as chance has it."""

    def make(known: KnownScene, random: Random) -> Case:
        factor = 1 + error * random.choice((-1.0, 1.0))
        return noise(wrong_field_of_view(known, factor, random), BASE_NOISE, random)

    return make


def _wrong_generator(error: float) -> Callable[[KnownScene, Random], Case]:
    def make(known: KnownScene, random: Random) -> Case:
        case = wrong_generator(exact(known, random), 1 + error * random.choice((-1.0, 1.0)))
        return noise(case, BASE_NOISE, random)

    return make


def _same(case: Case, random: Random) -> Case:
    return case


ROWS: tuple[Row, ...] = (
    Row("exact", exact, noisy=False),
    *(Row(f"noise {100 * s:g} %", _noisy(_same, s)) for s in (0.01, 0.02, 0.03, 0.05, 0.1)),
    Row("35 % outliers", _noisy(partial(outliers, fraction=0.35))),
    Row("35 % outliers, noise 5 %", _noisy(partial(outliers, fraction=0.35), 0.05)),
    Row("bleeding 3 px", _noisy(bleeding)),
    Row("occluded 40 %", _noisy(partial(occluded, fraction=0.4))),
    *(Row(f"field of view off by {100 * f:g} %", _wrong_fov(f)) for f in (0.1, 0.2, 0.3)),
    *(Row(f"generator's off by {100 * f:g} %", _wrong_generator(f)) for f in (0.1, 0.2, 0.3)),
    *(Row(f"{d} degrees off axis", _off_axis(d)) for d in (10, 20, 30)),
    *(Row(f"{kind} objects", _noisy(_same), kind=kind) for kind in ("flat", "thin", "symmetric")),
    *(Row(f"warp {100 * a:g} %", _noisy(partial(warped, amplitude=a))) for a in (0.02, 0.05, 0.1)),
    Row("shape off by 5 %", _noisy(partial(misshapen, amplitude=0.05))),
    Row("shape off by 10 %", _noisy(partial(misshapen, amplitude=0.1))),
    Row("unknown unit", _noisy(rescaled)),
)  # fmt: skip
