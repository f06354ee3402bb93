"""What does finishing change of the lite generator's objects: outlines, shapes, closedness?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from alignment.visible import render_placed_depth
from benchmarks.known_scenes import GROUND_TRUTH, scene_folders
from benchmarks.lite.runs import Workshop, run_scene, scored, with_settings, workshop
from benchmarks.narrow import table
from benchmarks.scenes import masks_and_depth
from benchmarks.score_scene import read_truth
from scene.placed import PlacedMesh, placed_meshes
from scene.seams import is_closed
from scene.types import Bool, Camera, Scene

FINE = 4  # pixels of the drawn outline along one of the photo
SETTINGS = ("finish.backend=asset", "finish.preset=lite")


def scenes_table() -> str:
    """A row per scene, as generated and as finished, and the means."""
    rows, losses = [], []
    for folder in scene_folders(GROUND_TRUTH):
        with workshop() as at:
            cells, lost = _compared(folder, at)
        rows.append([folder.name, *cells])
        losses += lost
    worst = f"mean {np.mean(losses):.4f}, worst {np.max(losses):.4f}"
    rows.append(["**all objects**", "", "", "", "", "", worst])
    columns = ["scene", "F@1 %", "finished", "volume IoU", "finished", "closed", "outline lost"]
    return table(columns, rows)


def _compared(folder: Path, at: Workshop) -> tuple[list[str], list[float]]:
    truth, arguments = read_truth(folder), masks_and_depth(folder)
    before, after = (run_scene(a, at) for a in (arguments, with_settings(arguments, *SETTINGS)))
    assert before.scene is not None and after.scene is not None
    figures = [scored(run, truth, at) for run in (before, after)]
    objects = placed_meshes(after.scene, at.store)
    lost = [
        _outline_lost(one, other, _camera(before.scene))
        for one, other in zip(placed_meshes(before.scene, at.store), objects, strict=True)
    ]
    closed = sum(is_closed(o.mesh.vertices, o.mesh.faces) for o in objects)
    cells = [f"{f[name]:.4f}" for name in ("f1", "volume_iou") for f in figures]
    return [*cells, f"{closed}/{len(objects)}", f"{np.mean(lost):.4f}"], lost


def _camera(scene: Scene) -> Camera:
    """The photo's, with finer pixels."""
    camera = scene.camera
    assert camera is not None
    sizes = {name: FINE * getattr(camera, name) for name in vars(camera)}
    return replace(camera, **sizes)


def _outline_lost(before: PlacedMesh, after: PlacedMesh, camera: Camera) -> float:
    """1 - IoU of an object's silhouettes before and after."""
    one, other = (_silhouette(o, camera) for o in (before, after))
    return 1 - float((one & other).sum() / (one | other).sum())


def _silhouette(placed: PlacedMesh, camera: Camera) -> Bool:
    view = render_placed_depth(placed.camera_vertices, placed.mesh.faces, camera)
    whole = np.zeros((camera.height, camera.width), bool)
    whole[view.box] = view.silhouette
    return whole
