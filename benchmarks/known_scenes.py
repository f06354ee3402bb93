"""Scenes whose every mesh, mask and depth is known: from a folder, or ray-cast from meshes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import scene.raycast
from alignment.visible import generator_distance
from benchmarks.surfaces import surface_of
from scene.cameras import (
    OBJECT_FRAMING,
    camera_from_matrix,
    look_at_pixels,
    pixel_centres,
    project,
    unproject,
)
from scene.png import decode_png
from scene.types import Bool, Camera, CropCamera, Float32, Float64, ObjectMesh

TOUCHING_M = 0.5e-3  # surfaces nearer than this touch
EDGES_AT_ONCE = 128
GROUND_TRUTH = Path(__file__).parent / "ground_truth"
WALL_BEHIND_M = 0.6  # from the farthest object to the wall
MAX_ROTATION_RAD, ROTATION_MARGIN_RAD = math.radians(30), math.radians(2)
NOTHING: frozenset[str] = frozenset()
# What the scans are, by name: kinds and the axis of revolution in their own frame (z up). Turned
# about it, their surfaces move by 0.3 to 0.9 mm (the bottle, a coarse mesh: 1.4 mm).
SCANS: dict[str, tuple[frozenset[str], tuple[float, float, float]]] = {
    "gso_akita_black_bowl": (frozenset({"symmetric"}), (0, 0, 1)),
    "gso_white_bowl": (frozenset({"symmetric"}), (0, 0, 1)),
    "gso_glazed_rim_porcelain_ramekin": (frozenset({"symmetric"}), (0, 0, 1)),
    "gso_plate": (frozenset({"symmetric", "flat"}), (0, 0, 1)),
    "rs_bottle": (frozenset({"symmetric"}), (0, 0, 1)),
    "rs_can": (frozenset({"symmetric"}), (0, 0, 1)),
    "rs_lemon": (frozenset({"symmetric"}), (1, 0, 0)),
}


@dataclass(frozen=True, eq=False)
class KnownObject:
    """A mesh in its place: vertices (N, 3) float64 metres, faces (M, 3) int32.

    axis (3,): unit axis of revolution, or None; kinds: of "flat", "thin", "symmetric". Inside a
    KnownScene both are in the photo camera's frame; in the making, in the world's (z up).
    """

    name: str
    vertices: Float64
    faces: NDArray[np.int32]
    axis: Float64 | None = None
    kinds: frozenset[str] = NOTHING

    def moved(self, rigid: Float64) -> KnownObject:
        """The object after a rigid (4, 4) motion."""
        vertices = self.vertices @ rigid[:3, :3].T + rigid[:3, 3]
        axis = None if self.axis is None else rigid[:3, :3] @ self.axis
        return replace(self, vertices=vertices, axis=axis)


@dataclass(frozen=True, eq=False)
class KnownScene:
    """What a camera sees of objects on the plane z = 0 of the world (z up), and all of the truth.

    masks: (H, W) visible pixels per object; depth (H, W) float32: z of every pixel in the camera's
    frame, metres; touching: pairs (k, l), k < l; standing: indices of what rests on the plane.
    """

    name: str
    camera: Camera
    objects: tuple[KnownObject, ...]
    masks: tuple[Bool, ...]
    depth: Float32
    world_from_camera: Float64
    touching: frozenset[tuple[int, int]]
    standing: frozenset[int]


def scene_folders(data: Path) -> list[Path]:
    """The path-traced scenes of a folder with `scenes/`, by default GROUND_TRUTH, in order."""
    return sorted(f.parent for f in (data / "scenes").glob("*/camera.json"))


def load_scene(folder: Path) -> KnownScene:
    """A path-traced ground-truth scene from its folder (camera, depth, masks, meshes)."""
    described = json.loads((folder / "camera.json").read_text())
    camera = camera_from_matrix(described["width"], described["height"], np.array(described["K"]))
    camera_from_world = np.array(described["world_to_camera"])
    entries = json.loads((folder / "scene.json").read_text())["objects"]
    objects = tuple(_folder_object(folder, entry, camera_from_world) for entry in entries)
    masks = tuple(
        decode_png((folder / "masks" / f"modal_{e['index']}.png").read_bytes(), "L") > 127
        for e in entries
    )
    world_from_camera = np.linalg.inv(camera_from_world)
    depth = np.load(folder / "depth.npy")
    standing = frozenset(range(len(objects)))  # these scenes have nothing stacked and no contacts
    return KnownScene(
        folder.name, camera, objects, masks, depth, world_from_camera, frozenset(), standing
    )


def _folder_object(folder: Path, entry: dict[str, Any], camera_from_world: Float64) -> KnownObject:
    """One object of scene.json, in the camera's frame."""
    known = read_mesh(folder / "objects" / f"{entry['index']}_cam.glb", entry["name"])
    if known.axis is None:
        return known
    turn = camera_from_world[:3, :3] @ np.array(entry["object_to_world"])[:3, :3]
    return replace(known, axis=turn @ known.axis)


def read_mesh(path: Path, name: str) -> KnownObject:
    """A mesh file as it lies there; kinds and axis, in the scan's own frame, by its name."""
    import trimesh

    mesh = trimesh.load_scene(path, process=False).to_mesh()
    kinds, axis = SCANS.get(name, (NOTHING, None))
    return KnownObject(
        name,
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int32),
        None if axis is None else np.array(axis, np.float64),
        kinds,
    )


def photograph(
    name: str, camera: Camera, world_from_camera: Float64, pieces: Sequence[KnownObject]
) -> KnownScene:
    """Ray-cast pieces, given in the world's frame, on the infinite plane z = 0 before a wall.

    The wall is round, WALL_BEHIND_M beyond the farthest piece all about the camera, so that it
    stays where it is when the camera turns. Raises ValueError when a piece is not seen at all.
    """
    camera_from_world = np.linalg.inv(world_from_camera).astype(np.float64)
    objects = tuple(piece.moved(camera_from_world) for piece in pieces)
    touching, standing = contacts(objects, world_from_camera)
    return _photographed(name, camera, world_from_camera, objects, touching, standing)


def rotated(known: KnownScene, angle_rad: float) -> KnownScene:
    """The scene cast again by a camera turned about its own y axis at its optical centre.

    The middle of the objects' azimuths is then angle_rad, positive to the right. The focal length
    in pixels stays and the sensor grows, equally for every angle, until it holds all objects turned
    by up to MAX_ROTATION_RAD either way.
    """
    before = known.camera
    azimuths = [np.arctan2(o.vertices[:, 0], o.vertices[:, 2]) for o in known.objects]
    low, high = min(float(a.min()) for a in azimuths), max(float(a.max()) for a in azimuths)
    half_fov = MAX_ROTATION_RAD + (high - low) / 2 + ROTATION_MARGIN_RAD
    width = math.ceil(2 * before.fx_px * math.tan(half_fov))
    # y / z of a point at the azimuth a grows by 1 / cos(a).
    height = math.ceil(before.height / math.cos(half_fov))
    camera = Camera(width, height, before.fx_px, before.fy_px, width / 2, height / 2)
    a = angle_rad - (low + high) / 2
    after_from_before = np.eye(4)
    after_from_before[:3, :3] = [
        [math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)],
    ]  # fmt: skip
    objects = tuple(o.moved(after_from_before) for o in known.objects)
    world_from_camera = known.world_from_camera @ after_from_before.T
    name = f"{known.name}, {math.degrees(angle_rad):g} degrees off"
    return _photographed(name, camera, world_from_camera, objects, known.touching, known.standing)


def true_cube(known: KnownObject, camera: Camera) -> tuple[ObjectMesh, CropCamera, Bool]:
    """What a perfect pixel-aligned generator makes: mesh, crop camera, outline (H, W) in the photo.

    The mesh is the true one, scaled about the optical centre until the middle of its depths lies at
    the generator's distance. Its vertices stay float64, so that errors found are the solver's.
    """
    outline = outline_of(known, camera)
    crop = look_at_pixels(camera, outline, OBJECT_FRAMING)
    vertices = known.vertices @ crop.photo_from_crop
    middle = (vertices[:, 2].min() + vertices[:, 2].max()) / 2
    distance = generator_distance(crop)
    cube = vertices * (distance / middle) - [0, 0, distance]
    uv, texture = np.zeros((len(cube), 2), np.float32), np.zeros((1, 1, 3), np.uint8)
    return ObjectMesh(cast(Float32, cube), known.faces, uv, texture), crop, outline


def outline_of(known: KnownObject, camera: Camera) -> Bool:
    """(H, W) the pixels that would see the object if it stood alone."""
    pixels = project(camera, known.vertices)
    low = np.floor(pixels.min(0)).clip(0, [camera.width, camera.height]).astype(int)
    high = np.ceil(pixels.max(0)).clip(0, [camera.width, camera.height]).astype(int)
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    centres = pixel_centres(camera.width, camera.height)[box]
    rays = unproject(camera, centres).reshape(-1, 3)
    outline = np.zeros((camera.height, camera.width), bool)
    hits = scene.raycast.cast([(known.vertices, known.faces)], np.zeros(3), rays)
    outline[box] = hits.hit.reshape(centres.shape[:2])
    return outline


def contacts(
    objects: Sequence[KnownObject], world_from_camera: Float64
) -> tuple[frozenset[tuple[int, int]], frozenset[int]]:
    """Which pairs touch each other and which objects rest on the plane, by their surfaces."""
    touching = frozenset(
        (k, other)
        for other in range(len(objects))
        for k in range(other)
        if surface_gap(objects[k], objects[other], TOUCHING_M) < TOUCHING_M
    )
    up, height = world_from_camera[2, :3], world_from_camera[2, 3]
    standing = frozenset(
        k for k, o in enumerate(objects) if (o.vertices @ up).min() + height < TOUCHING_M
    )
    return touching, standing


def surface_gap(one: KnownObject, other: KnownObject, within_m: float) -> float:
    """The least distance of two surfaces that do not cut each other; inf where not below within_m.

    It lies at a vertex of either or between the insides of two edges, so it is exact.
    """
    apart = np.maximum(
        one.vertices.min(0) - other.vertices.max(0), other.vertices.min(0) - one.vertices.max(0)
    )
    if apart.max() > within_m:
        return math.inf
    gaps = [_vertex_gap(one, other), _vertex_gap(other, one)]
    reach = np.full(3, within_m)
    a, b = edges_of(one.vertices, one.faces), edges_of(other.vertices, other.faces)
    gaps += [_edge_gap(*pair) for pair in edge_profiles(a, b, reach, reach)]
    return min(gaps) if min(gaps) < within_m else math.inf


def _vertex_gap(one: KnownObject, other: KnownObject) -> float:
    """The least distance of one's vertices from the other's surface."""
    surface = surface_of((other.vertices, other.faces))
    return float(surface.compute_distance(one.vertices.astype(np.float32)).numpy().min())


def edges_of(vertices: Float64, faces: NDArray[np.int32]) -> Float64:
    """(E, 2, 3) the ends of all edges, each once."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return vertices[np.unique(pairs, axis=0)]


def edge_profiles(
    a: Float64, b: Float64, below: Float64, above: Float64
) -> Iterator[tuple[Float64, Float64]]:
    """Pairs of edges (N, 2, 3), (N, 2, 3) whose boxes meet, a part at a time.

    a's boxes are first made larger by below and above, (3,) each.
    """
    a = a[_boxes_meet(a.min(1) - below, a.max(1) + above, b.min((0, 1)), b.max((0, 1)))]
    a = a[np.argsort(a[:, 0, 0])]  # neighbours in x go together, so that most of b drops out
    b_low, b_high = b.min(1), b.max(1)
    for part in np.array_split(a, math.ceil(len(a) / EDGES_AT_ONCE)) if len(a) else []:
        low, high = part.min(1) - below, part.max(1) + above
        some = np.flatnonzero(_boxes_meet(low.min(0), high.max(0), b_low, b_high))
        i, j = np.nonzero(_boxes_meet(low[:, None], high[:, None], b_low[some], b_high[some]))
        yield part[i], b[some[j]]


def _boxes_meet(low: Float64, high: Float64, other_low: Float64, other_high: Float64) -> Bool:
    """Whether boxes (..., 3) overlap; the arguments broadcast."""
    return np.asarray(((low <= other_high) & (high >= other_low)).all(-1))


def _edge_gap(a: Float64, b: Float64) -> float:
    """The least distance between the insides of edges a[n] and b[n], (N, 2, 3); inf for none."""
    along_a, along_b, between = a[:, 1] - a[:, 0], b[:, 1] - b[:, 0], b[:, 0] - a[:, 0]
    normal = np.cross(along_a, along_b)
    area = (normal**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel edges compare as False
        s = (np.cross(between, along_b) * normal).sum(1) / area
        t = (np.cross(between, along_a) * normal).sum(1) / area
        gap = np.abs((between * normal).sum(1)) / np.sqrt(area)
        inside = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    return float(gap[inside].min(initial=np.inf))


def _photographed(
    name: str,
    camera: Camera,
    world_from_camera: Float64,
    objects: tuple[KnownObject, ...],
    touching: frozenset[tuple[int, int]],
    standing: frozenset[int],
) -> KnownScene:
    """Cast one ray through every pixel; objects are in the camera's frame."""
    rays = unproject(camera, pixel_centres(camera.width, camera.height)).reshape(-1, 3)
    hits = scene.raycast.cast([(o.vertices, o.faces) for o in objects], np.zeros(3), rays)
    nearest = np.where(hits.hit, hits.distance, np.inf)
    behind = _plane_and_wall(rays, objects, world_from_camera)
    label = np.where(nearest <= behind, hits.object, -1).reshape(camera.height, camera.width)
    masks = tuple(label == k for k in range(len(objects)))
    unseen = [o.name for o, mask in zip(objects, masks, strict=True) if not mask.any()]
    if unseen:
        raise ValueError(f"{name}: the camera does not see {', '.join(unseen)}")
    depth = np.minimum(nearest, behind).reshape(label.shape).astype(np.float32)
    return KnownScene(name, camera, objects, masks, depth, world_from_camera, touching, standing)


def _plane_and_wall(
    rays: Float64, objects: Sequence[KnownObject], world_from_camera: Float64
) -> Float64:
    """(N,) where rays (N, 3) with z = 1 meet the plane z = 0 or, before it, the round wall."""
    turn, centre = world_from_camera[:3, :3], world_from_camera[:3, 3]
    farthest = max(float(np.linalg.norm(o.vertices @ turn[:2].T, axis=1).max()) for o in objects)
    ways = rays @ turn.T
    with np.errstate(divide="ignore"):
        plane = np.where(ways[:, 2] < 0, -centre[2] / ways[:, 2], np.inf)
        wall = (farthest + WALL_BEHIND_M) / np.linalg.norm(ways[:, :2], axis=1)
    return np.minimum(plane, wall)
