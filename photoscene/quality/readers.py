"""Readers of exported files that did not write them: what stands where, by each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from photoscene.export.formats.mjcf import body_name
from photoscene.export.model import EXPORT_EXTRA, ExportObject
from photoscene.physics.bodies import PHYSICS_EXTRA
from scene.types import Float64


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What a reader found: the box (2, 3) of every object by name, and its pivot (3,); without
    names, one box of all below ""."""

    boxes: Mapping[str, Float64]
    pivots: Mapping[str, Float64]


@dataclass(frozen=True)
class Reader:
    """What reads a format: the suffix of its file, and how it names an object; libraries: modules
    that must be there, each with what brings it."""

    suffix: str
    read: Callable[[Path], ReadFile]
    name_of: Callable[[ExportObject], str] = lambda o: o.name
    libraries: Mapping[str, str] = field(default_factory=dict)


def read_nodes(path: Path) -> ReadFile:
    """A GLB by trimesh: boxes and pivots of its nodes."""
    import trimesh

    scene: Any = trimesh.load_scene(path, process=False)
    boxes, pivots = {}, {}
    for node in scene.graph.nodes_geometry:
        matrix, geometry = scene.graph[node]
        vertices = np.asarray(scene.geometry[geometry].vertices)
        boxes[node] = box_of(vertices @ matrix[:3, :3].T + matrix[:3, 3])
        pivots[node] = np.asarray(matrix[:3, 3])
    return ReadFile(boxes, pivots)


def read_whole(path: Path) -> ReadFile:
    """OBJ, STL, PLY or 3MF by trimesh: one box, in metres where the file tells its unit."""
    import trimesh

    scene: Any = trimesh.load_scene(path, process=False)
    return ReadFile({"": np.asarray(scene.bounds, np.float64)}, {})


def read_model(path: Path) -> ReadFile:
    """A robot model by MuJoCo: boxes of its bodies' colliders."""
    mujoco: Any = importlib.import_module("mujoco")
    mujoco.set_mju_user_warning(lambda message: None)
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    boxes = {}
    for body in range(1, model.nbody):
        points = []
        for geom in range(model.ngeom):
            mesh = model.geom_dataid[geom]
            if model.geom_bodyid[geom] == body and mesh >= 0 and model.geom_contype[geom]:
                first = model.mesh_vertadr[mesh]
                own = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
                rotation = data.geom_xmat[geom].reshape(3, 3)
                points.append(own @ rotation.T + data.geom_xpos[geom])
        boxes[model.body(body).name] = box_of(np.concatenate(points))
    return ReadFile(boxes, {})


def box_of(points: np.ndarray) -> Float64:
    """(2, 3) the box of points (N, 3)."""
    return np.array([points.min(axis=0), points.max(axis=0)], np.float64)


def read_stage(path: Path) -> ReadFile:
    """A USD stage by pxr: boxes and pivots of its components, by their display names."""
    Usd, UsdGeom = (importlib.import_module(f"pxr.{n}") for n in ("Usd", "UsdGeom"))
    stage: Any = Usd.Stage.Open(str(path))
    boxes, pivots = {}, {}
    known = UsdGeom.BBoxCache(Usd.TimeCode.Default(), [UsdGeom.Tokens.default_])
    for prim in stage.GetDefaultPrim().GetChildren():
        if Usd.ModelAPI(prim).GetKind() == "component":
            found = known.ComputeWorldBound(prim).ComputeAlignedRange()
            name = prim.GetDisplayName() or prim.GetName()
            boxes[name] = np.array([found.GetMin(), found.GetMax()], np.float64)
            pivots[name] = np.array(known.ComputeWorldBound(prim).GetMatrix().GetRow3(3))
    return ReadFile(boxes, pivots)


MUJOCO, PXR = {"mujoco": PHYSICS_EXTRA}, {"pxr": EXPORT_EXTRA}
READERS = {
    "glb": Reader(".glb", read_nodes),
    "obj": Reader(".obj", read_whole),
    "stl": Reader(".stl", read_whole),
    "ply": Reader(".ply", read_whole),
    "3mf": Reader(".3mf", read_whole, libraries={"lxml": EXPORT_EXTRA}),
    "usd": Reader(".usd", read_stage, libraries=PXR),
    "usdz": Reader(".usdz", read_stage, libraries=PXR),
    "mjcf": Reader(".xml", read_model, body_name, MUJOCO),
    "urdf": Reader(".urdf", read_model, body_name, MUJOCO),
}
