"""How well are hidden parts completed? Pairs with known truth, by the backends without downloads.

Scans and shapes that no training saw, each hidden by another one by 15 to 50 %, in the crop that
the pipeline makes of them; and the objects of the ground-truth scenes that others hide. Beside
them objects of which nothing is hidden, with a neighbour that touches them, or only lies near: they
must not grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.known_scenes import load_scene, outline_of, scene_folders
from benchmarks.lite.sources import Sources
from benchmarks.registration import occluded_objects
from scene.cameras import camera_from_fov, crop_from_photo, warp
from scene.png import decode_png
from scene.types import Bool, Camera, Completion, Crop, Float64, Mask, Photo, PointMap, Uint8
from stages import complete
from stages.complete import inpaint, lite, passthrough
from stages.crops import context_crop
from training.generator.held_out import FIRST_SEED, scan_views
from training.generator.scans import peel, scan_image
from training.generator.shapes.draw import draw_sample

SIZE = 128  # pixels of a cut-out
CANVAS = 3 * SIZE
HIDDEN = (0.15, 0.5)
PAIRS = 100  # of scans, and of shapes
SHAPES = 60  # cut-outs
SEED = 11
FOV_RAD = 0.8
MIN_HIDDEN = 0.02  # of a scene's object that others hide, and of one whose colours count
COMPLETERS: dict[str, complete.Completer] = {
    "passthrough": passthrough.Passthrough(),
    "inpaint": inpaint.HullInpainting(inpaint.Settings()),
}


@dataclass(frozen=True, eq=False)
class Known:
    """A crop and the whole object in it: alpha (N, N) bool, colours (N, N, 3)."""

    crop: Crop
    whole: Bool
    colours: Uint8


@dataclass(frozen=True)
class Scores:
    """iou of the whole object's mask; added: what is no part of it, over what is visible; colour:
    mean absolute error in [0, 1] where it is hidden and every backend but passthrough fills it (NaN
    where that is nowhere)."""

    iou: dict[str, float]
    added: dict[str, float]
    colour: dict[str, float]


def hidden_pair_table(sources: Sources) -> str:
    """A row per group of hidden objects and backend."""
    completers = {**COMPLETERS, "lite": lite.load(lite.Settings(), "cpu")}
    count = sources.count or PAIRS
    scans, shapes = scan_cutouts(sources.data / "objects"), shape_cutouts(SHAPES)
    groups = {
        "scans": pairs_of(scans, count),
        "shapes": pairs_of(shapes, count),
        "objects of the scenes": islice(scene_objects(sources.data), sources.count),
        "nothing of scans": touched_of(scans, count),
        "nothing of shapes": touched_of(shapes, count),
        "nothing of objects of the scenes": islice(scene_neighbours(sources.data), sources.count),
    }
    return score_table(
        {name: [scores_of(k, completers) for k in known] for name, known in groups.items()}
    )


def score_table(groups: dict[str, list[Scores]]) -> str:
    """A row per group and backend."""
    rows = [
        "| hidden | number | backend | amodal IoU | wrongly added, mean | worst | colour error |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, scores in groups.items():
        for name in scores[0].iou:
            iou = np.mean([s.iou[name] for s in scores])
            added = [s.added[name] for s in scores]
            colours = [s.colour[name] for s in scores if np.isfinite(s.colour.get(name, np.nan))]
            cells = (
                group, len(scores), f"`{name}`", f"{iou:.3f}", f"{np.mean(added):.1%}",
                f"{max(added):.1%}", f"{np.mean(colours):.3f}" if colours else "-",
            )  # fmt: skip
            rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def scores_of(known: Known, completers: dict[str, complete.Completer]) -> Scores:
    """What every backend makes of a crop, against the truth."""
    made = {name: complete.run(c, known.crop, "", 0) for name, c in completers.items()}
    ious = {name: _iou(_solid(one), known.whole) for name, one in made.items()}
    visible = known.crop.rgba[..., 3] > 127
    area = max(int(visible.sum()), 1)
    added = {
        name: float((_solid(one) & ~visible & ~known.whole).sum() / area)
        for name, one in made.items()
    }
    hidden = known.whole & ~visible
    fill = {name: one for name, one in made.items() if name != "passthrough"}
    for one in fill.values():
        hidden = hidden & _solid(one)
    colours = {}
    for name, one in fill.items():
        off = np.abs(one.rgba[..., :3].astype(float) - known.colours)[hidden]
        enough = hidden.sum() > MIN_HIDDEN * area
        colours[name] = float(off.mean() / 255) if enough else float("nan")
    return Scores(ious, added, colours)


def _solid(completion: Completion) -> Bool:
    return completion.rgba[..., 3] > 127


def _iou(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / max(int((a | b).sum()), 1))


def scan_cutouts(folder: Path) -> list[Uint8]:
    """(SIZE, SIZE, 4): every scan from a dozen sides."""
    drawn = ((s, v, peel(s, v, SIZE)) for _, s, v in scan_views(folder))
    return [scan_image(surface, view, peeled, SIZE) for surface, view, peeled in drawn]


def shape_cutouts(count: int) -> list[Uint8]:
    """The first procedural shapes whose seeds are for measuring."""
    found, seed = [], FIRST_SEED
    while len(found) < count:
        sample = draw_sample(seed, SIZE)
        found += [] if sample is None else [sample.rgba]
        seed += 1
    return found


def pairs_of(cutouts: list[Uint8], count: int) -> Iterator[Known]:
    """Objects hidden by 15 to 50 %, each by another one, with a third one behind."""
    generator = np.random.default_rng(SEED)
    camera, found = camera_from_fov(CANVAS, CANVAS, FOV_RAD), 0
    while found < count:
        own, before, behind = (cutouts[i] for i in generator.integers(0, len(cutouts), 3))
        target = _placed(own, generator, 0)
        front = _placed(before, generator, 0.6)
        solid, covered = target[..., 3] > 0.5, front[..., 3] > 0.5
        share = (solid & covered).sum() / max(int(solid.sum()), 1)
        if not HIDDEN[0] <= share <= HIDDEN[1] or (solid & ~covered).sum() < 200:
            continue
        photo = generator.uniform(60, 230, 3) * np.ones((CANVAS, CANVAS, 3))
        photo[int(generator.uniform(0.2, 0.6) * CANVAS) :] = generator.uniform(60, 230, 3)
        photo += generator.normal(0, 4, photo.shape)
        for layer in (_placed(behind, generator, 0.7), target, front):
            photo = layer[..., :3] * 255 + photo * (1 - layer[..., 3:])
        rgb = np.rint(photo).clip(0, 255).astype(np.uint8)
        yield _known(rgb, camera, solid & ~covered, covered, target)
        found += 1


def touched_of(cutouts: list[Uint8], count: int) -> Iterator[Known]:
    """Objects of which nothing is hidden, each with a neighbour that is said to be nearer: it
    touches the object, or is behind it."""
    generator = np.random.default_rng(SEED)
    camera = camera_from_fov(CANVAS, CANVAS, FOV_RAD)
    for number in range(count):
        own, other = (cutouts[i] for i in generator.integers(0, len(cutouts), 2))
        target, angle = _placed(own, generator, 0), generator.uniform(0, 2 * np.pi)
        solid, behind = target[..., 3] > 0.5, number % 2 == 1
        enough = HIDDEN[0] if behind else 0.0
        neighbour, distance = _placed(other, generator, 0), 0.0
        outline = (neighbour[..., 3] > 0.5).astype(np.uint8)
        while (solid & (_moved(outline, angle, distance) > 0)).sum() > enough * solid.sum():
            distance += 2
        shown = _moved(neighbour, angle, distance)
        photo = generator.uniform(60, 230, 3) + generator.normal(0, 4, (CANVAS, CANVAS, 3))
        for layer in (shown, target) if behind else (target, shown):
            photo = layer[..., :3] * 255 + photo * (1 - layer[..., 3:])
        rgb = np.rint(photo).clip(0, 255).astype(np.uint8)
        yield _known(rgb, camera, solid, (shown[..., 3] > 0.5) & ~solid, target)


def _placed(cutout: Uint8, generator: np.random.Generator, off: float) -> Float64:
    """(C, C, 4) in [0, 1], premultiplied: a cut-out near the middle, at most `off` sides away."""
    scale = generator.uniform(0.8, 1.2)
    shift = CANVAS / 2 - scale * SIZE / 2 + generator.uniform(-off, off, 2) * SIZE
    placed = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    rgba = cutout / 255.0
    rgba[..., :3] *= rgba[..., 3:]
    return np.asarray(cv2.warpAffine(rgba, placed, (CANVAS, CANVAS)), np.float64)


def _moved(image: NDArray[Any], angle: float, distance: float) -> NDArray[Any]:
    """(C, C[, 4]): a picture, moved by some pixels in a direction."""
    shift = np.rint(distance * np.array([[np.cos(angle)], [np.sin(angle)]]))
    return np.asarray(cv2.warpAffine(image, np.concatenate([np.eye(2), shift], 1), image.shape[:2]))


def _known(rgb: Uint8, camera: Camera, visible: Bool, covered: Bool, target: Float64) -> Known:
    flat = PointMap(np.ones(visible.shape, np.float32), camera)
    crop = context_crop(Photo(rgb), flat.camera, Mask(visible), [Mask(covered)])
    return _truth_in(crop, camera, target)


def _truth_in(crop: Crop, camera: Camera, whole: Float64) -> Known:
    """whole (H, W, 4) in [0, 1], premultiplied: the object by itself in the photo."""
    homography = crop_from_photo(camera, crop.camera)
    rgba = warp(whole.astype(np.float32), homography, crop.camera.camera.width)
    colours = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-3) * 255
    return Known(crop, rgba[..., 3] > 0.5, np.rint(colours).clip(0, 255).astype(np.uint8))


def scene_objects(data: Path) -> Iterator[Known]:
    """The objects of the ground-truth scenes that others hide, with the scenes' own masks."""
    for folder in scene_folders(data):
        for one in occluded_objects(folder):
            whole = one.whole / 255.0
            whole[..., :3] *= whole[..., 3:]
            hidden = 1 - one.known.masks[one.index].sum() / (whole[..., 3] > 0.5).sum()
            if hidden >= MIN_HIDDEN:
                yield _truth_in(one.crop, one.known.camera, whole)


def scene_neighbours(data: Path) -> Iterator[Known]:
    """The objects of the ground-truth scenes, each with another one in its crop that hides nothing
    of it and is said to be nearer."""
    for folder in scene_folders(data):
        known = load_scene(folder)
        photo = Photo(decode_png((folder / "image.png").read_bytes(), "RGB"))
        nothing = np.zeros(known.depth.shape)
        outlines = [outline_of(one, known.camera) for one in known.objects]
        for own, outline in zip(known.masks, outlines, strict=True):
            for other in known.masks:
                if other is own or (outline & other).any():
                    continue
                crop = context_crop(photo, known.camera, Mask(own), [Mask(other)])
                if crop.occluder.any():
                    alpha = (outline | own).astype(np.float64)
                    whole = np.dstack([nothing, nothing, nothing, alpha])
                    yield _truth_in(crop, known.camera, whole)
