"""Known meshes seen by a known camera, as placers are told of them: letters, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alignment.objects import Placement, PlacementInput
from alignment.visible import generator_distance
from benchmarks.known_scenes import KnownObject, true_cube
from scene.cameras import camera_from_fov, look_at_pixels, pixel_centres, unproject
from scene.raycast import cast, render
from scene.types import Bool, Camera, FitReport, Float64, PointMap, Similarity
from stages import place
from support.borrowing import loaded
from support.shapes import box_mesh, letter_f

CAMERA = camera_from_fov(480, 360, 0.9)
OFF = {"plane": 0.0, "contact": 0.0, "penetration": 0.0, "order": 0.0}  # every object by itself
TABLE_CAMERA = camera_from_fov(320, 240, math.radians(42))
HEIGHT_M, PITCH_RAD = 0.35, math.radians(22)  # of the camera over a table
NOTHING_BEYOND_M = 3.0  # no depth is known past this


@dataclass(frozen=True, eq=False)
class Photographed:
    """What a placer is told, and the true vertices (N, 3) of every object, photo camera's frame."""

    objects: list[PlacementInput]
    point_map: PointMap
    true: list[Float64]

    @property
    def masks(self) -> list[Bool]:
        return [o.mask for o in self.objects]

    def measured(self, depth: np.ndarray) -> Photographed:
        """The same with another depth (H, W)."""
        return replace(self, point_map=PointMap(depth.astype(np.float32), self.point_map.camera))

    def run(
        self, backend: str = "pixel_aligned", settings: Mapping[str, float] | None = None
    ) -> place.Placed:
        """All objects through the place stage."""
        placer = loaded("place", backend, settings or {})
        return place.run(placer, self.objects, self.point_map, self.masks)

    def place(
        self, backend: str = "pixel_aligned", settings: Mapping[str, float] | None = None
    ) -> list[Placement]:
        """The placements alone."""
        return self.run(backend, settings).placements

    def errors(self, placements: list[Placement]) -> Float64:
        """(K,) the largest error of a vertex over the distance of the object."""
        found = []
        for o, true, placement in zip(self.objects, self.true, placements, strict=True):
            placed = pose_of(placement).apply(o.mesh.vertices)
            worst = np.linalg.norm(placed - true, axis=1).max()
            found.append(float(worst / np.linalg.norm(true.mean(0))))
        return np.array(found)


def pose_of(placement: Placement) -> Similarity:
    """camera_from_object of what must have been placed."""
    assert placement.camera_from_object is not None, placement.failure
    return placement.camera_from_object


def fit_of(placement: Placement) -> FitReport:
    """The fit of what must have been placed."""
    assert placement.fit is not None, placement.failure
    return placement.fit


def photographed_letter(
    offset: tuple[float, float, float], camera: Camera = CAMERA, rotation: Float64 | None = None
) -> Photographed:
    """A letter F of 0.45 m, alone before nothing; its cube is that of its own crop."""
    mesh = letter_f()
    turn = np.eye(3) if rotation is None else rotation
    true = Similarity(0.5, turn, np.array(offset)).apply(mesh.vertices)
    _, index, depth = render([(mesh, true)], camera)
    mask = index == 0
    crop = look_at_pixels(camera, mask, 1.1)
    turned = true @ crop.photo_from_crop
    scale = turned[:, 2].mean() / generator_distance(crop)
    cube = (turned / scale - [0, 0, generator_distance(crop)]).astype(np.float32)
    unplaced = PlacementInput(replace(mesh, vertices=cube), crop, mask, np.zeros_like(mask))
    return Photographed([unplaced], PointMap(depth.astype(np.float32), camera), [true])


def block(
    name: str, low: Sequence[float], high: Sequence[float], turn_rad: float = 0
) -> KnownObject:
    """A box on or over the table, corners in the world's frame (z up), turned about its middle."""
    mesh = box_mesh(tuple(low), tuple(high))
    middle = (np.array(low) + high) / 2 * [1, 1, 0]
    c, s = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    vertices = (mesh.vertices.astype(np.float64) - middle) @ turn.T + middle
    return KnownObject(name, vertices, mesh.faces)


def photographed_table(
    pieces: Sequence[KnownObject], camera: Camera = TABLE_CAMERA
) -> Photographed:
    """Pieces (world's frame: x right, y away, z up) on the plane z = 0, seen from above y = -0.8.

    The map ends where the plane is farther than NOTHING_BEYOND_M.
    """
    camera_from_world = np.linalg.inv(table_world_from_camera()).astype(np.float64)
    objects = [piece.moved(camera_from_world) for piece in pieces]
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    hits = cast([(o.vertices, o.faces) for o in objects], np.zeros(3), rays)
    slope = rays @ -camera_from_world[:3, 2]
    plane = HEIGHT_M / np.where(slope > HEIGHT_M / NOTHING_BEYOND_M, slope, np.nan)
    depth = np.where(hits.hit, hits.distance, plane).reshape(camera.height, camera.width)
    label = hits.object.reshape(depth.shape)
    unplaced = []
    for k, o in enumerate(objects):
        mesh, crop, outline = true_cube(o, camera)
        unplaced.append(PlacementInput(mesh, crop, label == k, outline & (label != k)))
    return Photographed(
        unplaced, PointMap(depth.astype(np.float32), camera), [o.vertices for o in objects]
    )


def table_world_from_camera() -> Float64:
    """(4, 4) of the camera that `photographed_table` is seen by: it looks along y and down."""
    c, s = math.cos(PITCH_RAD), math.sin(PITCH_RAD)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.array([[1, 0, 0], [0, -s, c], [0, -c, -s]])
    world_from_camera[:3, 3] = [0, -0.8, HEIGHT_M]
    return world_from_camera


def spun(rng: np.random.Generator, angle_rad: float) -> Float64:
    """(3, 3) a rotation by an angle about a random axis (Rodrigues)."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def angle_rad(rotation: Float64) -> float:
    """The angle of a rotation (3, 3), exact for small ones too."""
    return float(2 * np.arcsin(min(1.0, np.linalg.norm(rotation - np.eye(3)) / math.sqrt(8))))
