"""Run by Blender, or by a Python that has bpy, and so by nothing of ours: GLB in, FBX out.

python fbx_in_blender.py in.glb out.fbx
blender --background --factory-startup --python fbx_in_blender.py -- in.glb out.fbx
"""

import math
import sys
from pathlib import Path
from typing import Any

APERTURE_MM = 36.0


def convert(source: Path, target: Path) -> None:
    """The numbers of the GLB are centimetres, FBX's own unit, and so they are kept."""
    import bpy  # pyright: ignore[reportMissingImports]
    import numpy

    # Debian's Blender 3.4 reads glTF by a name that its own numpy 1.24 has no more.
    numpy.__dict__.setdefault("bool", bool)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(source))
    for image in bpy.data.images:  # else Blender 3 takes all for one file
        image.filepath = str(source.parent / f"{image.name}.png")
    scene = bpy.context.scene
    scene.unit_settings.scale_length = 0.01
    for camera in (o for o in bpy.data.objects if o.type == "CAMERA"):
        set_photo_aperture(camera, scene.render)
    bpy.ops.export_scene.fbx(
        filepath=str(target),
        axis_forward="-Z",
        axis_up="Y",
        apply_scale_options="FBX_SCALE_UNITS",
        bake_space_transform=True,  # else every node is turned by 90 degrees
        path_mode="COPY",
        embed_textures=True,
        use_custom_props=True,
        bake_anim=False,
        add_leaf_bones=False,
    )


def set_photo_aperture(camera: Any, render: Any) -> None:
    """FBX fits an aperture by its width, so give it the photo's shape, and keep the angle."""
    width, height = camera["width"], camera["height"]
    angle = camera.data.angle_y
    render.resolution_x, render.resolution_y = width, height
    camera.data.sensor_fit = "HORIZONTAL"
    camera.data.sensor_width = APERTURE_MM
    camera.data.sensor_height = APERTURE_MM * height / width
    camera.data.lens = camera.data.sensor_height / 2 / math.tan(angle / 2)


if __name__ == "__main__":
    convert(Path(sys.argv[-2]), Path(sys.argv[-1]))
