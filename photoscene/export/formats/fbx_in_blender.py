"""Run by Blender, or by a Python that has bpy, and so by nothing of ours: GLB in, FBX out.

python fbx_in_blender.py in.glb out.fbx
blender --background --factory-startup --python fbx_in_blender.py -- in.glb out.fbx
"""

import sys
from pathlib import Path


def convert(source: Path, target: Path) -> None:
    """The numbers of the GLB are centimetres, FBX's own unit, and so they are kept."""
    import bpy  # pyright: ignore[reportMissingImports]

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(source))
    bpy.context.scene.unit_settings.scale_length = 0.01
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


if __name__ == "__main__":
    convert(Path(sys.argv[-2]), Path(sys.argv[-1]))
