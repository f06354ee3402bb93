"""Run by a Python that has bpy, and so by nothing of ours: what Blender shows of a file.

    python read_in_blender.py FILE OUT.npz

OUT.npz: of every mesh the triangles' corners (M, 3, 3) in Blender's frame (metres, z up), their UV
(M, 3, 2) from the bottom left, its texture (H, W, 3) uint8 from the bottom row, or, without one,
the corners' colours (M, 3, 3) uint8.
"""

import sys
from pathlib import Path
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
import numpy as np

# What a person has to choose in the dialogue, since the files do not tell it.
Y_UP = {"forward_axis": "NEGATIVE_Z", "up_axis": "Y"}
IMPORTS = {
    ".glb": lambda file: bpy.ops.import_scene.gltf(filepath=file),
    ".obj": lambda file: bpy.ops.wm.obj_import(filepath=file),
    ".ply": lambda file: bpy.ops.wm.ply_import(filepath=file, **Y_UP),
    ".stl": lambda file: bpy.ops.wm.stl_import(filepath=file, global_scale=0.001),
    ".usd": lambda file: bpy.ops.wm.usd_import(filepath=file),
    ".usdz": lambda file: bpy.ops.wm.usd_import(filepath=file),
    ".fbx": lambda file: bpy.ops.import_scene.fbx(filepath=file),
}


def main(source: Path, target: Path) -> None:
    """Read one file and leave its triangles."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    IMPORTS[source.suffix](str(source))
    found = {}
    for number, item in enumerate(o for o in bpy.data.objects if o.type == "MESH"):
        for part, values in triangles(item).items():
            found[f"{number}.{part}"] = values
    np.savez(target, **found)


def triangles(item: Any) -> dict[str, np.ndarray]:
    """The triangles of one object, with a texture or with colours."""
    mesh = item.data
    mesh.calc_loop_triangles()
    points, loops = np.zeros(3 * len(mesh.vertices)), np.zeros(3 * len(mesh.loop_triangles), int)
    corners = np.zeros_like(loops)
    mesh.vertices.foreach_get("co", points)
    mesh.loop_triangles.foreach_get("loops", loops)
    mesh.loop_triangles.foreach_get("vertices", corners)
    matrix = np.array(item.matrix_world)
    points = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    found = {"corners": points[corners].reshape(-1, 3, 3)}
    texture = base_colour(item)
    if texture is not None and mesh.uv_layers.active is not None:
        uv = np.zeros(2 * len(mesh.loops))
        mesh.uv_layers.active.data.foreach_get("uv", uv)
        return {**found, "uv": uv.reshape(-1, 2)[loops].reshape(-1, 3, 2), "texture": texture}
    colours = mesh.color_attributes.active_color
    if colours is not None:
        values = np.zeros(4 * len(colours.data))
        colours.data.foreach_get("color_srgb", values)
        index = loops if colours.domain == "CORNER" else corners
        found["colours"] = _bytes(values.reshape(-1, 4)[index, :3]).reshape(-1, 3, 3)
    return found


def base_colour(item: Any) -> np.ndarray | None:
    """The image that the first material's base colour comes from."""
    nodes = [s.material.node_tree.nodes for s in item.material_slots if s.material]
    shaders = [n for tree in nodes for n in tree if n.type == "BSDF_PRINCIPLED"]
    links = [link for n in shaders for link in n.inputs["Base Color"].links]
    while links:
        node = links[0].from_node
        if node.type == "TEX_IMAGE" and node.image is not None:
            width, height = node.image.size
            pixels = np.zeros(4 * width * height, np.float32)
            node.image.pixels.foreach_get(pixels)
            return _bytes(pixels.reshape(height, width, 4)[..., :3])
        links = [link for socket in node.inputs for link in socket.links]
    return None


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
