"""What of a run is exported: its placed meshes, from the store or else from the run's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from photoscene.runs.fits import find_object
from photoscene.runs.folder import Run, object_folder, read_run, read_scene
from scene.errors import BadInput
from scene.files import CODECS
from scene.keys import digest
from scene.placed import PlacedMesh
from scene.store import DamagedArtifact, Store
from scene.types import Artifact, Camera, Float64, ObjectMesh, PointMap

UNITS_IN_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
SIZE = re.compile(r"(?P<name>.+)=(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?) *(?P<unit>[a-z]+)", re.I)
MIN_SIZE_M, MAX_SIZE_M = 1e-4, 1e6  # printers and engines know nothing smaller


@dataclass(frozen=True, eq=False)
class Source:
    """A run's objects that have a mesh and a place, and those that were lost, by name with why.

    metric: whether one unit of the camera's frame is a metre; world_from_camera as in `Scene`;
    notes: meshes of the run's folder that are not as the run wrote them, which do not count.
    """

    placed: tuple[PlacedMesh, ...]
    lost: Mapping[str, str]
    camera: Camera
    world_from_camera: Float64 | None
    metric: bool
    photo: Artifact
    notes: tuple[str, ...] = ()


def read_source(folder: Path, store: Store) -> tuple[Run, Source]:
    """The content of a run folder. BadInput where nothing in it can be exported."""
    run, scene = read_run(folder), read_scene(folder)
    placed, lost, notes = [], {}, []
    for index, o in enumerate(scene.objects):
        if o.mesh is None or o.camera_from_object is None or o.fit is None:
            lost[o.name] = o.failure or f"the run stopped at {run.request.until}"
            continue
        copy = folder / object_folder(index, o) / "mesh.glb"
        data = _read(o.mesh, store, copy)
        notes += _changed(o.mesh, copy)
        mesh = CODECS[ObjectMesh].decode(data)
        placed.append(PlacedMesh(o.id, o.name, o.label, mesh, o.camera_from_object, o.fit))
    if not placed or scene.camera is None or scene.points is None:
        raise BadInput(f"{folder} has no placed object{_why(lost)}")
    points = CODECS[PointMap].decode(_read(scene.points, store, folder / "point_map.npz"))
    return run, Source(
        tuple(placed), lost, scene.camera, scene.world_from_camera, points.metric, scene.photo,
        tuple(notes),
    )  # fmt: skip


def scale_from_size(run: Run, source: Source, given: str) -> float:
    """The factor on all lengths by which an object gets its size, as `cup=0.12m` has it: the
    longest side of its box, upright where that is known."""
    found = SIZE.fullmatch(given.strip())
    unit = UNITS_IN_METRES.get(found["unit"].lower()) if found else None
    if found is None or unit is None:
        raise BadInput(f"--size {given}: expected OBJECT=LENGTH in m, cm, mm, in or ft: cup=0.12m")
    metres = float(found["number"]) * unit
    if not MIN_SIZE_M <= metres < MAX_SIZE_M:
        raise BadInput(f"--size {given}: expected a length from 0.1 mm to {MAX_SIZE_M:g} m")
    object_id = find_object(run, found["name"].strip(), "--size")
    measured = [o for o in source.placed if o.id == object_id]
    if not measured:
        raise BadInput(f"--size {given}: this object was lost, so it has no size")
    vertices, world = measured[0].camera_vertices, source.world_from_camera
    upright = vertices if world is None else vertices @ world[:3, :3].T
    return metres / float(np.ptp(upright, axis=0).max())


def metadata_of(placed: PlacedMesh) -> dict[str, object]:
    """What a file keeps of an object besides its mesh."""
    return {
        "id": placed.id,
        "label": placed.label,
        "grade": placed.fit.grade,
        "silhouette_iou": round(placed.fit.silhouette_iou, 4),
        "warnings": list(placed.fit.warnings),
    }


def _read(artifact: Artifact, store: Store, copy: Path) -> bytes:
    """From the store; a run folder that was taken elsewhere has the same bytes."""
    try:
        return store.read(artifact)
    except DamagedArtifact:
        data = copy.read_bytes() if copy.is_file() else b""
        if digest(data) != artifact.sha256:
            raise
        return data


def _changed(artifact: Artifact, copy: Path) -> list[str]:
    """A line where the copy in the run's folder is not the mesh that is read."""
    if not copy.is_file():
        return [f"{copy} is gone: the mesh that the run made is taken"]
    if digest(copy.read_bytes()) != artifact.sha256:
        return [
            f"{copy} was changed: the mesh that the run made is taken; `rerun --edited` takes yours"
        ]
    return []


def _why(lost: Mapping[str, str]) -> str:
    return "".join(f"; {name}: {reason}" for name, reason in lost.items())
