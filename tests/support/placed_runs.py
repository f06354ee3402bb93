"""Run folders with real meshes at known places, written without computing anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from flows.profile import load_profile
from flows.request import Request
from photoscene.runs.writing import Reconstruction, run_of, write_files
from scene.store import Store
from scene.types import (
    Camera,
    FitReport,
    Float64,
    ObjectMesh,
    Photo,
    PointMap,
    Scene,
    SceneObject,
    Similarity,
)
from support.shapes import letter_f

CAMERA = Camera(64, 48, 60.0, 60.0, 32.0, 24.0)
# z up from a floor 1.5 below a level camera that looks along y.
LEVEL: Float64 = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
FIT = FitReport(1, 3, 0.01, 0.02, 1, 100, 0.98)


def placed_object(name: str, mesh: ObjectMesh | None, store: Store, at: Float64) -> SceneObject:
    """An object twice as large as its mesh, its cube's centre at a point of the camera frame; one
    without a mesh was lost."""
    mask = store.save_bytes(name.encode(), "mask", ".png")
    made = SceneObject(mask.sha256[:12], name.split("_")[0], name, mask)
    if mesh is None:
        return replace(made, failure="nothing is left of the mesh")
    place = Similarity(2.0, np.eye(3), at)
    return replace(made, mesh=store.save(mesh), camera_from_object=place, fit=FIT)


def write_placed_run(
    folder: Path,
    store: Store,
    meshes: dict[str, ObjectMesh | None],
    metric: bool = True,
    world: Float64 | None = LEVEL,
) -> Path:
    """A run folder whose objects stand beside each other, three units before the camera."""
    objects = [
        placed_object(name, mesh, store, np.array([3.0 * i, 0.5, 3.0]))
        for i, (name, mesh) in enumerate(meshes.items())
    ]
    scene = Scene(
        photo=store.save(Photo(np.zeros((48, 64, 3), np.uint8))),
        camera=CAMERA,
        points=store.save(PointMap(np.full((48, 64), 3, np.float32), CAMERA, metric)),
        objects=tuple(objects),
        world_from_camera=world,
    )
    request = Request(store.save_bytes(b"photo", "file", ".jpg"), load_profile("lite"))
    run = run_of(folder, Reconstruction(request, scene, [], "photo.jpg", 1), store)
    write_files(run, scene, store, {})
    return folder


def letters(*names: str) -> dict[str, ObjectMesh | None]:
    """The letter F under each name."""
    return dict.fromkeys(names, letter_f())
