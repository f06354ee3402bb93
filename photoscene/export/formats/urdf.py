"""urdf: a link per object with mass, convex colliders and its textured mesh, for ROS and others."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Comment, Element, SubElement, indent, tostring

import numpy as np

from photoscene.export.formats.mjcf import body_name, numbers
from photoscene.export.formats.obj import mesh_folder, write_apart
from photoscene.export.model import Exporter, ExportObject, ExportScene, asset_json
from photoscene.physics.colliders import ConvexPart

WORLD = "world"


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.urdf and NAME_meshes/. A scene has a root link without mass, to which every object is
    joined loosely ("floating"); a file of one object has only its link."""
    visuals = write_apart(scene, folder)
    root = Element("robot", name=scene.name)
    if record := asset_json(scene):
        root.append(Comment(f" asset {record} "))
    # MuJoCo alone reads this: other paths than names, and meshes to look at.
    SubElement(SubElement(root, "mujoco"), "compiler", strippath="false", discardvisual="false")
    alone = scene.camera is None and len(scene.objects) == 1
    if not alone:
        SubElement(root, "link", name=WORLD)
    for o in scene.objects:
        _add_link(root, scene, folder, o, visuals[o.key].obj)
        if not alone:
            _add_joint(root, o)
    indent(root)
    (folder / f"{scene.name}.urdf").write_text(tostring(root, "unicode") + "\n", "utf-8")


def _add_link(
    root: Element, scene: ExportScene, folder: Path, o: ExportObject, visual: str
) -> None:
    assert o.body is not None  # the exporter asks for it
    name = body_name(o)
    link = SubElement(root, "link", name=name)
    inertial = SubElement(link, "inertial")
    SubElement(inertial, "origin", xyz=numbers(o.body.mass.centre), rpy="0 0 0")
    SubElement(inertial, "mass", value=f"{o.body.mass.mass_kg:.9g}")
    i = o.body.mass.inertia
    values = {"ixx": i[0, 0], "ixy": i[0, 1], "ixz": i[0, 2], "iyy": i[1, 1], "iyz": i[1, 2],
              "izz": i[2, 2]}  # fmt: skip
    SubElement(inertial, "inertia", {k: f"{v:.9g}" for k, v in values.items()})
    _add_geometry(SubElement(link, "visual"), visual)
    for index, part in enumerate(o.body.parts):
        file = f"{mesh_folder(scene)}/{o.key}_part_{index:02d}.obj"
        (folder / file).write_text(_part_obj(part), "ascii")
        _add_geometry(SubElement(link, "collision", name=f"{name}_part_{index:02d}"), file)


def _add_geometry(element: Element, file: str) -> None:
    SubElement(element, "origin", xyz="0 0 0", rpy="0 0 0")
    SubElement(SubElement(element, "geometry"), "mesh", filename=file)


def _add_joint(root: Element, o: ExportObject) -> None:
    name = body_name(o)
    joint = SubElement(root, "joint", name=f"{name}_free", type="floating")
    SubElement(joint, "parent", link=WORLD)
    SubElement(joint, "child", link=name)
    SubElement(joint, "origin", xyz=numbers(o.position), rpy="0 0 0")


def _part_obj(part: ConvexPart) -> str:
    lines = [f"v {numbers(v)}\n" for v in part.vertices]
    return "".join([*lines, *(f"f {a} {b} {c}\n" for a, b, c in np.asarray(part.faces) + 1)])


EXPORTER = Exporter("urdf", write, unit="m", up="z", physical=True)
