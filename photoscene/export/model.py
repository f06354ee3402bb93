"""What is exported: named objects with mesh, material and pose in the frame and unit of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from photoscene.physics.bodies import Body
from scene.types import Camera, Float64, ObjectMesh, Similarity

EXPORT_EXTRA = "pip install -e '.[export]'"
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # a unit in metres


@dataclass(frozen=True, eq=False)
class ExportObject:
    """One object of a file.

    name: as people know it, unique; key: the same in letters, digits and underscores, unique too.
    mesh: its vertices (and normals) have the axes and the unit of the file, and are relative to
    position (3,), which is the centre of the object's base: nodes need no rotation and no scale.
    metadata: plain JSON, for formats that have a place for it. body: colliders and mass, where the
    format or the user asks for them.
    """

    name: str
    key: str
    label: str
    grade: str
    mesh: ObjectMesh
    position: Float64
    metadata: Mapping[str, Any]
    body: Body | None = None

    @property
    def vertices(self) -> Float64:
        """(N, 3) where the vertices are in the file."""
        return self.mesh.vertices + self.position


@dataclass(frozen=True, eq=False)
class ExportScene:
    """The content of one file, or of files that belong together.

    name: the files' name without suffix; unit: m, cm or mm; up: the axis y or z; camera: the
    photo's, None where it is left out; file_from_camera: its pose, and what turned all objects from
    the camera's frame (with the scale of the unit); metadata: plain JSON about the whole.
    """

    name: str
    objects: tuple[ExportObject, ...]
    unit: str
    up: str
    camera: Camera | None
    file_from_camera: Similarity
    metadata: Mapping[str, Any]

    @property
    def textures(self) -> str:
        """The folder of textures beside a file that cannot hold them."""
        return f"{self.name}_textures"


@dataclass(frozen=True)
class Exporter:
    """A file format: `write` puts NAME.SUFFIX, and files that belong to it, into a folder.

    unit, up: where the format, or everybody who reads it, has one only; closed: it takes closed
    meshes only; physical: its objects have bodies; can_be_physical: they have where colliders are
    asked for; libraries: modules that must be there, each with what brings it; check: raises
    CannotRun where anything else is missing.
    """

    name: str
    write: Callable[[ExportScene, Path], None]
    unit: str | None = None
    up: str | None = None
    closed: bool = False
    physical: bool = False
    can_be_physical: bool = False
    libraries: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None


def asset_json(scene: ExportScene) -> str:
    """The asset record on one line of ASCII, without two dashes side by side, which no comment of
    XML may have; "" where the run has none."""
    asset = scene.metadata.get("asset")
    return json.dumps(asset).replace("--", "-\\u002d") if asset else ""


def licence_of(scene: ExportScene) -> str:
    """The photo's licence, "" for none."""
    return scene.metadata.get("asset", {}).get("photo", {}).get("licence", "")


def without_lists(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata for formats whose values are numbers and text: lists of text joined, what is nested
    as JSON, no None."""
    return {name: _plain(value) for name, value in metadata.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "; ".join(value)
    return json.dumps(value) if isinstance(value, list | dict) else value
