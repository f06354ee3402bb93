"""Images of exported files as trimesh, Blender, MuJoCo and yourdfpy read them."""

from __future__ import annotations

import importlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from photoscene.export.formats import EXPORTERS
from photoscene.export.formats.fbx import exporter as fbx_exporter
from photoscene.export.libraries import missing_library
from photoscene.export.model import Exporter, ExportScene
from photoscene.export.source import Source
from photoscene.quality.files import exported, solid
from photoscene.views.studio import Studio, over
from photoscene.views.viewpoints import Direction, around
from scene.types import Float32, Float64, ObjectMesh, Similarity, Uint8

SCRIPT = Path(__file__).with_name("read_in_blender.py")
BLENDER_READS = ("glb", "obj", "ply", "stl", "usd", "usdz", "fbx")
WITHOUT_COLOUR = ("stl", "3mf")
SIZE, BACKGROUND, SIDE = (320, 240), (232, 232, 232), Direction(30, 25)
GREY = np.full((1, 1, 3), 190, np.uint8)
HERE = Similarity(1, np.eye(3), np.zeros(3))
UP: Float64 = np.array([0.0, 1.0, 0.0])
Y_UP: Float64 = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # of a frame whose z is up


@dataclass(frozen=True, eq=False)
class Triangles:
    """Corners (M, 3, 3) in metres, y up; uv (M, 3, 2) from the top left of texture (H, W, 3)."""

    corners: Float64
    uv: Float64 | Float32
    texture: Uint8

    @property
    def mesh(self) -> ObjectMesh:
        """With corners of their own for all faces: what a file says of normals is not compared."""
        faces = np.arange(3 * len(self.corners), dtype=np.int32).reshape(-1, 3)
        points, uv = self.corners.reshape(-1, 3), self.uv.reshape(-1, 2)
        return ObjectMesh(points.astype(np.float32), faces, uv.astype(np.float32), self.texture)


@dataclass(frozen=True, eq=False)
class Shown:
    """A file as a reader shows it, beside what was written: iou of the silhouettes, difference in
    colour where both show something (mean, levels of 255)."""

    format: str
    reader: str
    image: Uint8
    written: Uint8
    iou: float
    difference: float


def shown_by_readers(source: Source, blender: Path | None) -> list[Shown]:
    """Every format that is written here, by each of its readers; blender: a Python with bpy."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        for exporter in (*EXPORTERS.values(),):
            exporter = fbx_exporter(blender) if exporter.name == "fbx" else exporter
            if missing_library(exporter.libraries) or (exporter.name == "fbx" and not blender):
                continue
            folder = Path(work) / exporter.name
            folder.mkdir()
            scene = exported(solid(source) if exporter.closed else source, exporter)
            exporter.write(scene, folder)
            found += _shown(scene, exporter, folder, blender)
    return found


def _shown(
    scene: ExportScene, exporter: Exporter, folder: Path, blender: Path | None
) -> list[Shown]:
    plain = exporter.name in WITHOUT_COLOUR
    written = _drawn(_written(scene), plain)
    found = []
    for reader, read in _readers(exporter.name, blender).items():
        parts = read(folder, scene.name)
        if not parts:
            raise ValueError(f"{reader} finds no mesh in {scene.name}, format {exporter.name}")
        image = _drawn(parts, plain)
        both, either = (f(image[..., 3] > 127, written[..., 3] > 127)
                        for f in (np.logical_and, np.logical_or))  # fmt: skip
        difference = np.abs(image[..., :3].astype(float) - written[..., :3])[both].mean()
        iou = both.sum() / either.sum()
        pair = (over(image, BACKGROUND), over(written, BACKGROUND))
        found.append(Shown(exporter.name, reader, *pair, float(iou), float(difference)))
    return found


def _readers(name: str, blender: Path | None) -> dict[str, Callable[[Path, str], list[Triangles]]]:
    """The readers of a format: each gets a folder and the file's name without suffix."""
    found: dict[str, Callable[[Path, str], list[Triangles]]] = {}
    if name in ("glb", "obj", "ply", "stl", "3mf"):
        found["trimesh"] = lambda folder, stem: by_trimesh(folder / f"{stem}.{name}")
    if name in BLENDER_READS and blender is not None:
        found["Blender"] = lambda folder, stem: by_blender(folder / f"{stem}.{name}", blender)
    if name == "mjcf":
        found["MuJoCo"] = lambda folder, stem: by_mujoco(folder / f"{stem}.xml")
    if name == "urdf":  # MuJoCo keeps the colliders only
        found["yourdfpy"] = lambda folder, stem: by_yourdfpy(folder / f"{stem}.urdf")
    return found


def _written(scene: ExportScene) -> list[Triangles]:
    """What was given to the exporter, in metres and y up."""
    unit = {"m": 1.0, "cm": 0.01, "mm": 0.001}[scene.unit]
    turned = Y_UP if scene.up == "z" else np.eye(3)
    return [
        Triangles(
            (o.vertices @ turned.T * unit)[o.mesh.faces], o.mesh.uv[o.mesh.faces], o.mesh.texture
        )
        for o in scene.objects
    ]


def by_trimesh(path: Path) -> list[Triangles]:
    """GLB, OBJ and PLY are in metres with y up; STL and 3MF in millimetres with z up."""
    import trimesh

    loaded: Any = trimesh.load_scene(path, process=False)
    unit = 0.001 if path.suffix == ".stl" else 1  # of a 3MF, trimesh reads it
    return _of_scene(loaded, unit * (Y_UP if path.suffix in (".stl", ".3mf") else np.eye(3)))


def by_yourdfpy(path: Path) -> list[Triangles]:
    """The visual meshes of a URDF, which has z up."""
    yourdfpy: Any = importlib.import_module("yourdfpy")
    return _of_scene(yourdfpy.URDF.load(str(path)).scene, Y_UP)


def _of_scene(scene: Any, turned: Float64) -> list[Triangles]:
    """The meshes of a scene of trimesh, turned (3, 3) to metres and y up."""
    found = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        points = (np.asarray(mesh.vertices) @ matrix[:3, :3].T + matrix[:3, 3]) @ turned.T
        faces = np.asarray(mesh.faces)
        corners, visual = points[faces], mesh.visual
        image = _image_of(getattr(visual, "material", None))
        if image is not None:
            uv = np.asarray(visual.uv)[faces] * [1, -1] + [0, 1]
            found.append(Triangles(corners, uv, image))
        elif visual.kind == "vertex":
            found.append(_coloured(corners, np.asarray(visual.vertex_colors)[faces, :3]))
        else:
            found.append(_plain(corners))
    return found


def _image_of(material: Any) -> Uint8 | None:
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return None if image is None else np.asarray(image.convert("RGB"))


def by_blender(path: Path, blender: Path) -> list[Triangles]:
    """Blender's frame has z up; its images begin with the bottom row."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "triangles.npz"
        command = [str(blender), "-I", str(SCRIPT), str(path), str(out)]
        subprocess.run(command, check=True, capture_output=True)
        with np.load(out) as data:
            parts = {name: data[name] for name in data.files}
    found = []
    for number in sorted({name.split(".")[0] for name in parts}, key=int):
        corners = parts[f"{number}.corners"] @ Y_UP.T
        if f"{number}.uv" in parts:
            uv = parts[f"{number}.uv"] * [1, -1] + [0, 1]
            found.append(Triangles(corners, uv, parts[f"{number}.texture"][::-1].copy()))
        elif f"{number}.colours" in parts:
            found.append(_coloured(corners, parts[f"{number}.colours"]))
        else:
            found.append(_plain(corners))
    return found


def by_mujoco(path: Path) -> list[Triangles]:
    """The textured geoms of a robot model, which has z up."""
    mujoco: Any = importlib.import_module("mujoco")
    mujoco.set_mju_user_warning(lambda message: None)
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    found = []
    for geom in range(model.ngeom):
        mesh, material = model.geom_dataid[geom], model.geom_matid[geom]
        if mesh < 0 or material < 0:
            continue
        faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
        first = model.mesh_vertadr[mesh]
        points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
        points = points @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        uv = model.mesh_texcoord[model.mesh_texcoordadr[mesh] :][model.mesh_facetexcoord[faces]]
        corners = (points @ Y_UP.T)[model.mesh_face[faces]]
        texture = _texture_of(model, int(model.mat_texid[material].max()))
        found.append(Triangles(corners, uv.astype(float), texture))
    return found


def _texture_of(model: Any, number: int) -> Uint8:
    """(H, W, 3): MuJoCo keeps the file's top row first, and its UV from there."""
    height, width = model.tex_height[number], model.tex_width[number]
    channels, first = model.tex_nchannel[number], model.tex_adr[number]
    pixels = model.tex_data[first : first + height * width * channels]
    return pixels.reshape(height, width, channels)[..., :3].copy()


def _coloured(corners: Float64, colours: Uint8) -> Triangles:
    """Faces in the mean of their corners' colours (M, 3, 3)."""
    side = int(np.ceil(np.sqrt(len(corners))))
    texture = np.zeros((side * side, 3), np.uint8)
    texture[: len(corners)] = colours.mean(axis=1).round()
    row, column = np.divmod(np.arange(len(corners)), side)
    uv = (np.stack([column, row], axis=1) + 0.5) / side
    uv = np.repeat(uv[:, None], 3, axis=1)
    return Triangles(corners, uv, texture.reshape(side, side, 3))


def _plain(corners: Float64) -> Triangles:
    return Triangles(corners, np.full((len(corners), 3, 2), 0.5), GREY)


def _drawn(parts: Sequence[Triangles], plain: bool) -> Uint8:
    """(H, W, 4) from one side; plain: without any colours."""
    parts = [_plain(p.corners) if plain else p for p in parts]
    studio = Studio([(p.mesh, HERE) for p in parts], UP, shadow=False)
    points = np.concatenate([p.corners.reshape(-1, 3) for p in parts])
    return studio.draw(around(points, [SIDE], SIZE, UP)[0])


def sheet(shown: Sequence[Shown]) -> Uint8:
    """A row per format: what was written, and what each reader shows of it."""
    rows: dict[str, list[Uint8]] = {}
    for s in shown:
        row = rows.setdefault(s.format, [_titled(s.written, f"{s.format}: written")])
        row.append(_titled(s.image, s.reader))
    width = max(map(len, rows.values()))
    blank = np.full_like(shown[0].image, 255)
    filled = [np.hstack(row + [blank] * (width - len(row))) for row in rows.values()]
    return np.vstack(filled)


def _titled(image: Uint8, title: str) -> Uint8:
    titled = image.copy()
    cv2.putText(titled, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return titled


def worst_by_reader(shown: Sequence[Shown]) -> Mapping[tuple[str, str], tuple[int, float, float]]:
    """Of every format and reader: files, lowest IoU, highest difference."""
    found: dict[tuple[str, str], tuple[int, float, float]] = {}
    for s in shown:
        count, iou, difference = found.get((s.format, s.reader), (0, 1.0, 0.0))
        worst = (count + 1, min(iou, s.iou), max(difference, s.difference))
        found[s.format, s.reader] = worst
    return found
