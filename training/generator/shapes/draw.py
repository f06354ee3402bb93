"""How is a procedural object photographed? One seed, one object, one camera, one light."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from training.generator.samples import Sample, make_sample
from training.generator.shapes.grammar import MORE, STUDY, Family, draw_object
from training.generator.shapes.parts import (
    Floats,
    Paint,
    Solid,
    about_x,
    about_y,
    about_z,
    any_rotation,
)
from training.generator.shapes.tracing import (
    Light,
    Scene,
    TracedImage,
    View,
    inside_points,
    occupied,
    trace_each,
)

Tracer = Callable[[int, Sequence[Scene]], list[TracedImage]]

FOV_DEG = (8.0, 45.0)
FILL = (0.78, 0.94)  # of the frame by the larger side of the outline; the pipeline's is 0.91
MAX_DEPTH = 0.96  # of the cube's side
GRID, REACH = 22, 1.45  # nodes along a side, half side: where the object's extent is looked for
MIN_FRACTION = 0.02  # of the picture that must show the object
CUBE_FROM_UPRIGHT = np.diag([1.0, -1.0, -1.0])  # y up, z to the viewer -> y down, z forward


@dataclass(frozen=True, eq=False)
class Shot:
    """An object and how it is seen and lit."""

    family: Family
    solid: Solid
    paint: Paint
    view: View
    light: Light
    fov_rad: float


def draw_shot(seed: int, families: tuple[Family, ...] = STUDY + MORE) -> Shot | None:
    """The object, camera and light of a seed; None for the few objects that are next to nothing."""
    generator = np.random.default_rng(seed)
    family, solid, paint = draw_object(generator, families)
    rotation = draw_rotation(generator, family)
    fov_rad = math.radians(generator.uniform(*FOV_DEG))
    points = inside_points(GRID, REACH, solid, rotation)
    if len(points) < 12:
        return None
    view = frame_object(points, rotation, fov_rad, generator.uniform(*FILL))
    return Shot(family, solid, paint, view, draw_light(generator, rotation), fov_rad)


def draw_sample(seed: int, size: int, families: tuple[Family, ...] = STUDY + MORE) -> Sample | None:
    """The picture and layers of a seed at size x size pixels."""
    shot = draw_shot(seed, families)
    return None if shot is None else traced_samples([shot], size)[0]


def traced_samples(
    shots: Sequence[Shot], size: int, tracer: Tracer = trace_each
) -> list[Sample | None]:
    """The pictures and layers of shots; None for those that show next to nothing."""
    scenes = [(s.solid, s.paint, s.view, s.light) for s in shots]
    pictures = zip(shots, tracer(size, scenes), strict=True)
    return [
        make_sample(rgb, layers, back, inner, shot.fov_rad)
        if np.isfinite(layers[..., 0]).mean() >= MIN_FRACTION
        else None
        for shot, (rgb, layers, back, inner) in pictures
    ]


def true_occupancy(shot: Shot, size: int) -> np.ndarray:
    """(S, S, S) bool over the frustum's cells: z slices from near to far, rows, columns."""
    return occupied(size, shot.solid, shot.view)


def draw_rotation(generator: np.random.Generator, family: Family) -> Floats:
    """(3, 3) cube_from_object: mostly upright, a little from above; fronts mostly to the camera."""
    yaw = generator.uniform(-math.pi, math.pi)
    if family.frontal and generator.random() < 0.6:
        yaw = float(np.clip(generator.normal(0, 0.7), -1.6, 1.6))
    if generator.random() < 0.08:
        return CUBE_FROM_UPRIGHT @ any_rotation(generator)
    highest = 1.15 if family.table else 0.75
    roll, pitch = generator.normal(0, 0.06), generator.uniform(-0.12, highest)
    return CUBE_FROM_UPRIGHT @ about_z(roll) @ about_x(pitch) @ about_y(yaw)


def frame_object(points: Floats, rotation: Floats, fov_rad: float, fill: float) -> View:
    """Put the object's outline in the picture's middle and its depth range in the cube's."""
    distance = 0.5 / math.tan(fov_rad / 2)
    low, high = points.min(0), points.max(0)
    centre, extent = (low + high) / 2, high - low
    scale = min(fill / max(extent[0], extent[1]), MAX_DEPTH / extent[2])
    for _ in range(3):
        p = scale * (points - centre)
        seen = p[:, :2] * (distance / (distance + p[:, 2:]))
        centre[:2] += (seen.max(0) + seen.min(0)) / 2 / scale
        scale = min(scale * fill / float(np.ptp(seen, axis=0).max()), MAX_DEPTH / extent[2])
    return View(rotation, centre, float(scale), distance)


def draw_light(generator: np.random.Generator, rotation: Floats) -> Light:
    """A lamp from above and from the camera's side, a sky and a floor."""
    lamp = generator.normal(size=3)
    lamp[1] = abs(lamp[1]) + 0.3
    lamp /= np.linalg.norm(lamp)
    to_camera = rotation.T @ np.array([0.0, 0.0, -1.0])
    direction = lamp + to_camera * generator.uniform(0, 1.2)
    ambient = generator.uniform(0.25, 0.6)
    sky = ambient * (1 + generator.normal(0, 0.08, 3))
    ground = ambient * generator.uniform(0.35, 1.0) * (1 + generator.normal(0, 0.08, 3))
    return Light(
        direction / np.linalg.norm(direction),
        sky,
        ground,
        generator.uniform(0.3, 1.1) * (1 - ambient * 0.6),
        generator.uniform(0, 0.5) if generator.random() < 0.4 else 0.0,
        bool(generator.random() < 0.5),
        generator.uniform(0.6, 1.1),
    )
