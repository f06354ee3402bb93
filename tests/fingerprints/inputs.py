"""A table with a nut in a bowl, a lid on a box, a ball and an egg: photo, depth and masks, traced.

Nothing of photoscene is called here, so that a fingerprint moves with the code it is of, not with
what made its inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scene.types import Camera, CropCamera, ObjectMesh

Array = NDArray[np.float64]

EYE_M, PITCH_RAD = np.array([0.0, -0.62, 0.42]), math.radians(33)
LIGHT = np.array([0.36, -0.48, 0.8])
NOISE = 0.004  # of the depth, as a sensor has it
NAMES = ("bowl", "box", "ball", "egg", "lid", "nut")
COLOURS = (
    (196, 88, 60), (70, 110, 190), (80, 160, 90), (210, 180, 60), (150, 70, 150), (120, 90, 50),
)  # fmt: skip
BOWL_M, BOWL_OUTER_M, BOWL_INNER_M = np.array([0.09, 0.02, 0.085]), 0.085, 0.072
BOX_YAW_RAD = 0.5  # about the vertical; of the lid, too
# Middle and half extents: of boxes, and of ellipsoids.
BOXES_M = {
    "box": (np.array([-0.10, 0.0, 0.05]), np.array([0.05, 0.035, 0.05])),
    "lid": (np.array([-0.105, 0.0, 0.109]), np.array([0.03, 0.04, 0.009])),
}
ROUND_M = {
    "ball": (np.array([-0.01, -0.11, 0.035]), np.full(3, 0.035)),
    "egg": (np.array([-0.045, 0.12, 0.05]), np.array([0.06, 0.04, 0.05])),
    "nut": (BOWL_M + [0.004, 0.0, -0.049], np.full(3, 0.022)),
}


@dataclass(frozen=True, eq=False)
class Hit:
    """Where rays (N, 3) meet one shape: distance in rays, inf for never, and outward normals."""

    distance: Array
    normal: Array


@dataclass(frozen=True, eq=False)
class Table:
    """rgb (H, W, 3) uint8; depth (H, W) z in metres, NaN beyond the table; owner (H, W): index of
    the object in NAMES, -1 for none; whole: (K, H, W) bool, every object as if alone."""

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    owner: NDArray[np.intp]
    whole: NDArray[np.bool_]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """The visible pixels of an object."""
        return self.owner == NAMES.index(name)


def camera_axes() -> Array:
    """(3, 3) rows: the camera's right, down and forward in the world (z up)."""
    c, s = math.cos(PITCH_RAD), math.sin(PITCH_RAD)
    return np.array([[1, 0, 0], [0, -s, -c], [0, c, -s]])


def in_camera(points: Array) -> Array:
    """World points (N, 3) in the camera's frame."""
    return (points - EYE_M) @ camera_axes().T


def photo_camera(scale: int = 1) -> Camera:
    """The photo's camera, at 160 x 120 pixels times scale."""
    return Camera(
        160 * scale, 120 * scale, 170.0 * scale, 170.0 * scale, 80.0 * scale, 60.0 * scale
    )


@cache
def table(scale: int = 1) -> Table:
    """The scene at a size, with a sensor's noise on its depth."""
    camera = photo_camera(scale)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (columns - camera.cx_px) / camera.fx_px, (rows - camera.cy_px) / camera.fy_px
    rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ camera_axes()
    hits = [_hit(name, rays) for name in NAMES]
    distances = np.stack([hit.distance for hit in hits])
    nearest = distances.argmin(0)
    with np.errstate(divide="ignore"):
        floor = np.where(rays[:, 2] < 0, -EYE_M[2] / rays[:, 2], np.inf)
    floor = np.where(floor < 1.6, floor, np.inf)
    depth = np.minimum(distances.min(0), floor)
    owner = np.where(distances.min(0) < floor, nearest, -1)
    rgb = np.full((len(rays), 3), 150.0)
    rgb += (np.floor(rays[:, 0] * 9) + np.floor(rays[:, 2] * 9))[:, None] % 2 * 14
    for index, (hit, colour) in enumerate(zip(hits, COLOURS, strict=True)):
        own = owner == index
        shade = 0.45 + 0.55 * np.clip(hit.normal[own] @ LIGHT, 0, 1)
        rgb[own] = np.array(colour) * shade[:, None]
    shape = (camera.height, camera.width)
    noise = 1 + NOISE * np.random.default_rng(5).normal(size=len(rays))
    known = np.where(np.isfinite(depth), depth, np.nan) * noise
    return Table(
        np.floor(rgb).astype(np.uint8).reshape(*shape, 3),
        known.astype(np.float32).reshape(shape),
        owner.reshape(shape),
        np.isfinite(distances).reshape(-1, *shape),
    )


def _hit(name: str, rays: Array) -> Hit:
    if name in BOXES_M:
        return _box(rays, *BOXES_M[name])
    return _ellipsoid(rays, *ROUND_M[name]) if name in ROUND_M else _bowl(rays)


def _ellipsoid(rays: Array, centre: Array, half: Array) -> Hit:
    near, far = _sphere_roots(rays / half, (EYE_M - centre) / half)
    distance = np.where(np.isfinite(near), near, np.inf)
    return Hit(distance, _unit((_at(rays, distance) - centre) / half**2))


def _bowl(rays: Array) -> Hit:
    """The lower half of a hollow sphere, open above, with a flat rim."""
    outer, _ = _sphere_roots(rays / BOWL_OUTER_M, (EYE_M - BOWL_M) / BOWL_OUTER_M)
    _, inner = _sphere_roots(rays / BOWL_INNER_M, (EYE_M - BOWL_M) / BOWL_INNER_M)
    rim = (BOWL_M[2] - EYE_M[2]) / rays[:, 2]
    across = np.linalg.norm((_at(rays, rim) - BOWL_M)[:, :2], axis=1)
    candidates = np.stack([
        np.where(_at(rays, outer)[:, 2] <= BOWL_M[2], outer, np.inf),
        np.where((rim > 0) & (across >= BOWL_INNER_M) & (across <= BOWL_OUTER_M), rim, np.inf),
        np.where((_at(rays, inner)[:, 2] <= BOWL_M[2]) & (across < BOWL_INNER_M), inner, np.inf),
    ])  # fmt: skip
    which, distance = candidates.argmin(0), candidates.min(0)
    outward = _unit(_at(rays, distance) - BOWL_M)
    normal = np.choose(which[:, None], [outward, np.array([0.0, 0, 1]) + 0 * outward, -outward])
    return Hit(distance, normal)


def _box(rays: Array, centre: Array, half: Array) -> Hit:
    turn = _about_z(BOX_YAW_RAD)
    local, start = rays @ turn, (EYE_M - centre) @ turn
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.stack([(s * half - start) / local for s in (-1.0, 1.0)])
    enter, leave = sides.min(0), sides.max(0)
    distance, axis = enter.max(1), enter.argmax(1)
    missed = (distance > leave.min(1)) | (distance <= 0)
    normal = -np.sign(np.take_along_axis(local, axis[:, None], 1)) * np.eye(3)[axis]
    return Hit(np.where(missed, np.inf, distance), normal @ turn.T)


def _sphere_roots(rays: Array, start: Array) -> tuple[Array, Array]:
    """Both distances at which rays meet the unit sphere about the origin, inf for never."""
    a, b, c = (rays**2).sum(1), rays @ start, start @ start - 1
    inside = b**2 - a * c
    root = np.sqrt(np.maximum(inside, 0))
    met = (inside > 0) & (-b - root > 0)
    return np.where(met, (-b - root) / a, np.inf), np.where(met, (-b + root) / a, np.inf)


def _at(rays: Array, distance: Array) -> Array:
    return EYE_M + rays * np.where(np.isfinite(distance), distance, 0)[:, None]


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _about_z(angle_rad: float) -> Array:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def crop_camera(name: str, side_px: int, framing: float = 1.2) -> CropCamera:
    """A square camera that looks at an object's middle and holds its whole outline."""
    camera = photo_camera()
    rows, columns = np.nonzero(table().whole[NAMES.index(name)])
    x = (columns + 0.5 - camera.cx_px) / camera.fx_px
    y = (rows + 0.5 - camera.cy_px) / camera.fy_px
    forward = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2, 1])
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1, 0], forward)
    right /= np.linalg.norm(right)
    photo_from_crop = np.stack([right, np.cross(forward, right), forward], 1)
    seen = np.stack([x, y, np.ones_like(x)], -1) @ photo_from_crop
    reach = np.abs(seen[:, :2] / seen[:, 2:]).max() * framing
    focal_px = side_px / 2 / reach
    square = Camera(side_px, side_px, focal_px, focal_px, side_px / 2, side_px / 2)
    return CropCamera(square, photo_from_crop)


def mesh_of(name: str) -> tuple[Array, NDArray[np.int32]]:
    """Vertices (N, 3) in the camera's frame and outward faces (M, 3) of an object."""
    if name in BOXES_M:
        centre, half = BOXES_M[name]
        vertices, faces = _grid_box(4)
        vertices = (vertices * half) @ _about_z(BOX_YAW_RAD).T + centre
    elif name in ROUND_M:
        centre, half = ROUND_M[name]
        angles = np.linspace(-np.pi / 2, np.pi / 2, 17)
        vertices, faces = _revolved(np.stack([np.cos(angles), np.sin(angles)], 1), 24)
        vertices = vertices * half + centre
    else:
        vertices, faces = _revolved(_bowl_profile(), 40)
        vertices = vertices + BOWL_M
    return in_camera(vertices), faces


def object_mesh(name: str, crop: CropCamera) -> ObjectMesh:
    """An object's mesh in the cube of its crop, as a generator that knows it would make it."""
    vertices, faces = mesh_of(name)
    turned = vertices @ crop.photo_from_crop
    distance = crop.camera.fx_px / crop.camera.width  # 0.5 / tan(fov / 2)
    middle = (turned[:, 2].min() + turned[:, 2].max()) / 2
    cube = turned * (distance / middle) - [0, 0, distance]
    across = np.abs(cube[:, :2]) + 0.02
    uv = across / across.max(0)
    texture = np.zeros((8, 8, 3), np.uint8) + np.array(COLOURS[NAMES.index(name)], np.uint8)
    texture[::2] //= 2
    return ObjectMesh(cube.astype(np.float32), faces, uv.astype(np.float32), texture)


def _bowl_profile() -> Array:
    """(P, 2) radius and height, from the bottom outside over the rim to the bottom inside."""
    angles = np.linspace(-np.pi / 2, 0, 13)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([circle * BOWL_OUTER_M, circle[::-1] * BOWL_INNER_M])


def _revolved(profile: Array, around: int) -> tuple[Array, NDArray[np.int32]]:
    """A profile (P, 2) of radius and height turned about z; its ends lie on the axis."""
    angles = np.arange(around) * (2 * np.pi / around)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    radius, height = profile[:, 0], profile[:, 1]
    rings = radius[:, None, None] * ring
    heights = np.broadcast_to(height[:, None, None], (len(profile), around, 1))
    points = np.concatenate([rings, heights], -1)
    i, j = np.mgrid[: len(profile) - 1, :around]
    a, b = i * around + j, i * around + (j + 1) % around
    quads = np.stack([a, b, b + around, a + around], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return points.reshape(-1, 3), faces.astype(np.int32)


def _grid_box(cells: int) -> tuple[Array, NDArray[np.int32]]:
    """A cube of half side 1 whose faces are grids of cells x cells."""
    step = np.linspace(-1, 1, cells + 1)
    u, v = (a.reshape(-1) for a in np.meshgrid(step, step, indexing="ij"))
    i, j = np.mgrid[:cells, :cells]
    a = (i * (cells + 1) + j).reshape(-1)
    quads = np.stack([a, a + cells + 1, a + cells + 2, a + 1], -1)
    grid = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices, faces = [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            plane = np.zeros((len(u), 3))
            plane[:, axis], plane[:, (axis + 1) % 3], plane[:, (axis + 2) % 3] = side, u, v
            faces.append((grid if side > 0 else grid[:, ::-1]) + len(u) * len(vertices))
            vertices.append(plane)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32)
