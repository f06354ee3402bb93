"""How much of a scene is right when the photo alone is given, when masks are, when depth is too?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.lite.runs import Figures, mean_of, of_each, run_scene, scored, workshop
from benchmarks.lite.sources import Sources
from benchmarks.narrow import table
from benchmarks.scenes import masks_and_depth
from benchmarks.score_scene import read_truth
from photoscene.inputs.request import Arguments

COLUMNS = {
    "modal_iou": "modal IoU", "amodal_iou": "amodal IoU", "depth_absrel_scale": "depth",
    "volume_iou": "volume IoU", "f1": "F@1 %", "f5": "F@5 %", "shape_chamfer": "shape",
}  # fmt: skip


def given_table(sources: Sources) -> str:
    """A row per kind of scenes and per what is given."""
    header = ["", "given", "scenes", *COLUMNS.values(), "focal length", "upright"]
    rows = []
    for kind, folders in sources.scenes():
        for name, figures in of_each(given_figures, folders).items():
            cells = [mean_of(figures, figure) for figure in COLUMNS]
            camera = [mean_of(figures, "fov", np.median), mean_of(figures, "level")]
            rows.append([kind, name, str(len(figures)), *cells, *camera])
    return table(header, rows)


def given_figures(folder: Path) -> dict[str, Figures]:
    """A scene's figures by what is given."""
    truth = read_truth(folder)
    with workshop() as at:
        return {name: scored(run_scene(a, at), truth, at) for name, a in cases(folder).items()}


def cases(folder: Path) -> dict[str, Arguments]:
    """What a run is told, less at first."""
    everything = masks_and_depth(folder)
    masks = replace(everything, camera=None, point_map=None)
    alone = replace(masks, masks=())
    return {
        "photo": alone,
        "photo, camera": replace(alone, camera=everything.camera),
        "photo, masks": masks,
        "photo, masks, camera, depth": everything,
    }
