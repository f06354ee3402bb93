"""mjcf: a MuJoCo model: a free body per object, with mass, convex colliders and textured mesh."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from photoscene.export.formats.obj import VisualFiles, write_apart
from photoscene.export.model import Exporter, ExportObject, ExportScene, asset_json
from photoscene.physics.bodies import Body

# Contacts as stiff as the step allows: with MuJoCo's own 0.02 a body sinks in by 0.1 mm at rest.
TIMESTEP_S, CONTACT_TIME_S = 0.001, 0.004
COLLIDER_COLOUR = "0.2 0.6 0.9 0.4"
SHOWN, HIDDEN = "2", "3"  # MuJoCo's viewer shows geoms of groups 0 to 2 at first


def write(scene: ExportScene, folder: Path) -> None:
    """NAME.xml, and the textured meshes in NAME_meshes/; colliders are in the XML."""
    visuals = write_apart(scene, folder)
    on_floor = scene.metadata["origin"] == "floor" and scene.camera is not None
    text = mjcf_text(scene, on_floor, visuals)
    (folder / f"{scene.name}.xml").write_text(text, "utf-8")


def mjcf_text(scene: ExportScene, floor: bool, visuals: dict[str, VisualFiles]) -> str:
    """The model in metres, z up; floor: the plane z = 0 is there and nothing falls through it.

    visuals: the files of each object by key; objects without any are drawn by their colliders.
    """
    root = Element("mujoco", model=scene.name)
    SubElement(root, "compiler", angle="radian", strippath="false")
    SubElement(root, "option", timestep=f"{TIMESTEP_S:g}", integrator="implicitfast")
    default = SubElement(SubElement(root, "default"), "geom")
    default.set("solref", f"{CONTACT_TIME_S:g} 1")
    if record := asset_json(scene):
        SubElement(SubElement(root, "custom"), "text", name="asset", data=record)
    asset, world = SubElement(root, "asset"), SubElement(root, "worldbody")
    SubElement(world, "light", pos="0 0 10", dir="0 0 -1", directional="true")
    if floor:
        SubElement(world, "geom", name="floor", type="plane", size="0 0 0.1", rgba=".8 .8 .8 1")
    for o in scene.objects:
        if o.key in visuals:
            _add_visual_assets(asset, o, visuals[o.key])
        _add_body(asset, world, o, visuals.get(o.key))
    indent(root)
    return tostring(root, "unicode") + "\n"


def _add_visual_assets(asset: Element, o: ExportObject, files: VisualFiles) -> None:
    SubElement(asset, "texture", name=o.key, type="2d", file=files.base_colour)
    SubElement(asset, "material", name=o.key, texture=o.key, specular="0.1")
    # It is for the eye only, so it may be open: its mass counts for nothing.
    SubElement(asset, "mesh", name=o.key, file=files.obj, inertia="shell")


def _add_body(asset: Element, world: Element, o: ExportObject, files: VisualFiles | None) -> None:
    assert o.body is not None  # the exporter asks for it
    body = SubElement(world, "body", name=body_name(o), pos=numbers(o.position))
    SubElement(body, "freejoint", name=f"{o.key}_free")
    _add_inertial(body, o.body)
    if files is not None:
        SubElement(
            body, "geom", type="mesh", mesh=o.key, material=o.key,
            contype="0", conaffinity="0", group=SHOWN, mass="0",
        )  # fmt: skip
    for index, part in enumerate(o.body.parts):
        name = f"{o.key}_part_{index:02d}"
        SubElement(
            asset, "mesh", name=name, inertia="convex",
            vertex=numbers(part.vertices.ravel()), face=numbers(part.faces.ravel()),
        )  # fmt: skip
        SubElement(body, "geom", name=name, type="mesh", mesh=name,
                   group=HIDDEN if files else SHOWN, rgba=COLLIDER_COLOUR)  # fmt: skip


def _add_inertial(element: Element, body: Body) -> None:
    i = body.mass.inertia
    full = (i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2])
    SubElement(
        element, "inertial", pos=numbers(body.mass.centre), mass=f"{body.mass.mass_kg:.9g}",
        fullinertia=numbers(full),
    )  # fmt: skip


def body_name(o: ExportObject) -> str:
    """The key, but for that of the body which every model has."""
    return f"{o.key}_body" if o.key == "world" else o.key


def numbers(values: Iterable[float] | NDArray[np.generic]) -> str:
    """Values as XML has them, with nine digits."""
    return " ".join(f"{float(v):.9g}" for v in values)


EXPORTER = Exporter("mjcf", write, unit="m", up="z", physical=True)
