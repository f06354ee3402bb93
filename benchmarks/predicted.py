"""Which objects does a predicted scene's GLB hold, and where are their surfaces?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.surfaces import Mesh
from scene.types import Float64

NOT_OBJECTS = re.compile(
    r"(floor|table|ground|plane|walls?|background|backdrop|room_?shell|room|camera|light)(_?\d*)?",
    re.IGNORECASE,
)
FRAMES = {"opencv": np.array([1.0, 1, 1]), "gltf": np.array([1.0, -1, -1])}


@dataclass(frozen=True, eq=False)
class Predicted:
    """A node of the scored scene; its mesh in the photo camera's frame."""

    name: str
    mesh: Mesh


def read_predicted(path: Path, frame: str) -> list[Predicted]:
    """The objects of a GLB, each with all of its nodes' meshes, in OpenCV's camera frame."""
    import trimesh

    scene = trimesh.load_scene(path, process=False)
    children: dict[str, list[str]] = {}
    for parent, child, *_ in scene.graph.to_edgelist():
        children.setdefault(str(parent), []).append(str(child))
    top = str(scene.graph.base_frame)
    with_meshes = set(scene.graph.nodes_geometry)
    while len(children.get(top, [])) == 1 and top not in with_meshes:
        top = children[top][0]
    found = []
    for name in children.get(top, []):
        mesh = _joined(scene, _below(name, children), FRAMES[frame])
        if mesh is not None and not NOT_OBJECTS.fullmatch(name):
            found.append(Predicted(name, mesh))
    own = _joined(scene, [top], FRAMES[frame])
    return found if own is None or NOT_OBJECTS.fullmatch(top) else [*found, Predicted(top, own)]


def _below(node: str, children: dict[str, list[str]]) -> list[str]:
    """A node and all nodes under it."""
    return [node, *(n for child in children.get(node, []) for n in _below(child, children))]


def _joined(scene: Any, nodes: Sequence[str], axes: Float64) -> Mesh | None:
    """The meshes of nodes as one, moved into the scene's frame; None if there are none."""
    vertices, faces, count = [], [], 0
    for node in nodes:
        if node not in scene.graph.nodes_geometry:
            continue
        placed, name = scene.graph[node]
        mesh = scene.geometry[name]
        if len(getattr(mesh, "faces", ())):
            vertices.append((mesh.vertices @ placed[:3, :3].T + placed[:3, 3]) * axes)
            faces.append(np.asarray(mesh.faces) + count)
            count += len(mesh.vertices)
    return (np.vstack(vertices), np.vstack(faces).astype(np.int32)) if vertices else None
