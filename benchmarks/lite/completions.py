"""How well does complete guess the outline and the colours of what is hidden?

Every backend is given true masks, depth and camera, of the objects of which other objects hide
between 15 and 50 %.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.known_scenes import load_scene
from benchmarks.lite.runs import Figures, mean_of, models
from benchmarks.lite.sources import Sources, rivals
from benchmarks.narrow import table
from benchmarks.surfaces import mask_iou
from scene.cameras import crop_from_photo, warp_rgba
from scene.images import decode_cutout, decode_photo
from scene.types import Completion, Crop, Mask, PointMap, Uint8
from stages import complete
from stages.crops import context_crops
from stages.settings import make_settings

VISIBLE = (0.5, 0.85)  # share of an object
MAX_SIDE_PX = 2048


@dataclass(frozen=True, eq=False)
class Hidden:
    """An object's context crop, and in it the whole object (N, N, 4) uint8 as it looks alone."""

    crop: Crop
    whole: Uint8


def completion_table(sources: Sources) -> str:
    """A row per kind of scenes and backend."""
    header = ["", "backend", "objects", "amodal IoU", "hidden part found", "colour error"]
    rows = []
    for kind, folders in sources.scenes():
        hidden = [one for folder in folders for one in hidden_objects(folder)]
        for name in rivals(complete.STAGE):
            with models().borrow(
                complete.STAGE, name, make_settings(complete.STAGE, name, {})
            ) as backend:
                figures = [figures_of(complete.run(backend, h.crop, "", 0), h) for h in hidden]
            cells = [mean_of(figures, f) for f in ("amodal_iou", "found", "colour")]
            rows.append([kind, f"`{name}`", str(len(figures)), *cells])
    return table(header, rows)


def hidden_objects(folder: Path) -> Iterator[Hidden]:
    """The objects of a scene that others hide in part."""
    known = load_scene(folder)
    photo, _ = decode_photo((folder / "image.png").read_bytes(), MAX_SIDE_PX)
    point_map = PointMap(known.depth, known.camera, metric=True)
    crops = context_crops(photo, point_map, [Mask(mask) for mask in known.masks])
    described = json.loads((folder / "scene.json").read_text("utf-8"))["objects"]
    for entry, (crop, _) in zip(described, crops, strict=True):
        if VISIBLE[0] <= entry["visible_ratio"] <= VISIBLE[1]:
            alone = decode_cutout((folder / "amodal" / f"{entry['index']}.png").read_bytes())
            x0, y0, x1, y1 = entry["crop"]
            whole = np.zeros((*known.depth.shape, 4), np.uint8)
            whole[y0:y1, x0:x1] = alone.rgba
            homography = crop_from_photo(known.camera, crop.camera)
            yield Hidden(crop, warp_rgba(whole, homography, len(crop.rgba)))


def figures_of(completion: Completion, hidden: Hidden) -> Figures:
    """amodal_iou; found: IoU of the hidden parts alone; colour: mean error, of 1, where both the
    completion and the truth have the hidden part."""
    mine, true = completion.rgba[..., 3] > 127, hidden.whole[..., 3] > 127
    unseen = hidden.crop.rgba[..., 3] <= 127
    both = mine & true & unseen
    off = np.abs(completion.rgba[both, :3].astype(float) - hidden.whole[both, :3]) / 255
    return {
        "amodal_iou": mask_iou(mine, true),
        "found": mask_iou(mine & unseen, true & unseen),
        "colour": float(off.mean()) if both.any() else None,
    }
