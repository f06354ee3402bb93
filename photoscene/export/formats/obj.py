"""obj: Wavefront OBJ with its MTL and textures beside it; what metadata there is, as comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoscene.export.model import Exporter, ExportScene, asset_json
from photoscene.export.textures import write_textures
from scene.glb import METALLIC, ROUGHNESS
from scene.normals import smooth_normals


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.obj, NAME.mtl, and the textures in NAME_textures/."""
    with (folder / f"{scene.name}.obj").open("w", encoding="ascii", newline="\n") as file:
        file.writelines(_obj(scene))  # of a large scene it is half a gigabyte
    (folder / f"{scene.name}.mtl").write_text("".join(_mtl(scene, folder)), "ascii")


@dataclass(frozen=True)
class VisualFiles:
    """An object's OBJ and texture, relative to the file that names them, with slashes."""

    obj: str
    base_colour: str


def mesh_folder(scene: ExportScene) -> str:
    """The folder of meshes beside a file of another format that names them."""
    return f"{scene.name}_meshes"


def write_apart(scene: ExportScene, folder: Path) -> dict[str, VisualFiles]:
    """Write every object about its own position into `mesh_folder`; its files by key."""
    within = mesh_folder(scene)
    (folder / within).mkdir(exist_ok=True)
    files = {}
    metadata = {name: value for name, value in scene.metadata.items() if name != "asset"}
    for o in scene.objects:
        objects = (replace(o, position=np.zeros(3)),)
        alone = replace(scene, name=o.key, objects=objects, metadata=metadata)
        write(alone, folder / within)
        colour = f"{within}/{alone.textures}/{o.key}_base_colour.png"
        files[o.key] = VisualFiles(f"{within}/{o.key}.obj", colour)
    return files


def _obj(scene: ExportScene) -> Iterator[str]:
    yield f"# photoscene: {scene.up} up, unit {scene.unit}, scale {scene.metadata['scale']}\n"
    if asset := asset_json(scene):
        yield f"# asset {asset}\n"
    yield f"mtllib {scene.name}.mtl\n"
    first = 1
    for o in scene.objects:
        mesh, normals = o.mesh, o.mesh.normals
        if normals is None:
            normals = smooth_normals(mesh.vertices, mesh.faces)
        yield f"# label {o.label.encode('ascii', 'replace').decode()}, grade {o.grade}\n"
        yield f"o {o.key}\nusemtl {o.key}\n"
        yield _rows("v %.8g %.8g %.8g\n", o.vertices)
        yield _rows("vt %.7g %.7g\n", np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1))
        yield _rows("vn %.5g %.5g %.5g\n", normals)
        yield _rows("f %d/%d/%d %d/%d/%d %d/%d/%d\n", np.repeat(mesh.faces + first, 3, axis=1))
        first += len(mesh.vertices)


def _mtl(scene: ExportScene, folder: Path) -> Iterator[str]:
    for o in scene.objects:
        maps = write_textures(o, folder, scene.textures)
        yield f"newmtl {o.key}\nKa 0 0 0\nKd 1 1 1\nKs 0.04 0.04 0.04\nNs 50\nillum 2\n"
        yield f"map_Kd {maps.base_colour}\n"
        if maps.alpha:
            yield f"map_d {maps.alpha}\n"
        # The physically based extension of MTL, that Blender and others read.
        if maps.roughness and maps.metallic:
            yield f"map_Pr {maps.roughness}\nmap_Pm {maps.metallic}\n"
        else:
            yield f"Pr {ROUGHNESS}\nPm {METALLIC}\n"
        if maps.normal:
            yield f"norm {maps.normal}\n"


def _rows(row: str, values: NDArray[np.generic]) -> str:
    """A line for every row of values."""
    return (row * len(values)) % tuple(values.reshape(-1).tolist())


EXPORTER = Exporter("obj", write)
