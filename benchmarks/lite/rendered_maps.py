"""How wrong are point maps on rendered scenes that the training of the lite one never shows?

The scenes are those of `python -m training.scenes.make_data --measuring`; the masks given are the
true ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lite.sources import Sources
from benchmarks.narrow import table
from scene.types import Camera, Float32, Float64, Mask, Photo, Uint8
from stages.map_points import PointMapper, ground_plane, lite
from training.scenes.make_data import NAMES

SCENES = Path("runs/lite_points/measuring")
MIN_PIXELS = 30  # of an object that is measured
FARTHEST = 60.0  # metres
FROM_ABOVE_DEG = 70.0  # of pitch


@dataclass(frozen=True, eq=False)
class Known:
    """A scene: photo, depth (H, W) metres, inf where nothing is; labels (H, W); camera; up (3,)."""

    photo: Photo
    depth: Float32
    labels: Uint8
    camera: Camera
    up: Float64


def rendered_map_table(sources: Sources) -> str:
    """A row per backend, without and with the camera; "" where the scenes are not here."""
    if not SCENES.is_dir():
        return ""
    scenes = list(read_scenes(SCENES))[: sources.count]
    network = lite.load(lite.Settings(), "cpu")
    mappers: dict[str, PointMapper] = {
        "ground_plane": ground_plane.load(ground_plane.Settings(), "cpu"),
        "lite": network,
    }
    rows = []
    for word in ("unknown", "known"):
        for name, mapper in mappers.items():
            errors = np.array([depth_errors(mapper, s, word == "known") for s in scenes])
            rows.append([word, f"`{name}`", *(f"{e:.3f}" for e in np.nanmean(errors, axis=0))])
    tilt, focal = np.array([camera_errors(network, s) for s in scenes]).T
    above = [s for s in scenes if -s.up[2] > math.sin(math.radians(FROM_ABOVE_DEG))]
    sizes = np.concatenate([size_errors(network, s) for s in above])
    header = ["camera", "backend", "everywhere", "objects", "within an object"]
    return table(header, rows) + (
        f"\n\n{len(scenes)} scenes. The network's gravity is within 5 degrees in "
        f"{np.mean(tilt < 5):.0%}, {np.median(tilt):.1f} degrees off in the median; the map's "
        f"focal length is off by {math.expm1(float(np.median(focal))):.0%} in the median. In the "
        f"{len(above)} scenes from above (pitch over {FROM_ABOVE_DEG:.0f} degrees), an object's "
        f"size beside the others' is off by {np.median(sizes):.0%} in the median, by more than 10% "
        f"for {np.mean(sizes > 0.1):.0%} of {len(sizes)} objects."
    )


def read_scenes(folder: Path) -> Iterator[Known]:
    """Every scene of every shard of a folder."""
    for shard in sorted(f for f in folder.iterdir() if f.name.isdigit()):
        columns = [np.load(shard / f"{name}.npy") for name in NAMES]
        for rgb, log_depth, labels, up, log_focal in zip(*columns, strict=True):
            height, width = rgb.shape[:2]
            focal = float(np.exp(log_focal)) * max(height, width)
            camera = Camera(width, height, focal, focal, width / 2, height / 2)
            depth = np.exp(log_depth.astype(np.float32))
            yield Known(Photo(rgb), depth, labels, camera, up.astype(np.float64))


def depth_errors(mapper: PointMapper, scene: Known, known: bool) -> tuple[float, float, float]:
    """Mean relative errors: of all pixels after one scale; of the objects' after one scale; of each
    object's after its own."""
    numbers = [k for k in np.unique(scene.labels) if k]
    camera = scene.camera if known else None
    depth = mapper.map_points(scene.photo, camera, masks_of(scene), None).depth
    with np.errstate(invalid="ignore"):
        there = np.isfinite(depth) & (scene.depth < FARTHEST)
    ratio = np.where(there, scene.depth, 1) / np.where(there, depth, 1)
    inside = [r for k in numbers if len(r := ratio[there & (scene.labels == k)]) >= MIN_PIXELS]
    on_objects = scaled_error(np.concatenate(inside)) if inside else math.nan
    within = float(np.mean([scaled_error(r) for r in inside])) if inside else math.nan
    return scaled_error(ratio[there]), on_objects, within


def scaled_error(ratio: NDArray[np.floating]) -> float:
    """Mean relative error of depths, from true over found ones, after the median ratio."""
    return float(np.mean(np.abs(np.median(ratio) / ratio - 1)))


def camera_errors(network: lite.LiteMap, scene: Known) -> tuple[float, float]:
    """Angle between the true up and the network's, degrees; absolute error of the map's log focal
    length."""
    guess = network.guess(scene.photo)
    angle = math.degrees(math.acos(float(np.clip(guess.up @ scene.up, -1, 1))))
    found = network.map_points(scene.photo, None, masks_of(scene), None).camera
    return angle, abs(math.log(found.fx_px / scene.camera.fx_px))


def size_errors(network: lite.LiteMap, scene: Known) -> NDArray[np.floating]:
    """(N,) relative error of each object's size beside the scene's others, camera unknown; empty
    with fewer than two. In a photo, sizes are as depths."""
    depth = network.map_points(scene.photo, None, masks_of(scene), None).depth
    ratios = []
    for mask in masks_of(scene):
        there = mask.pixels & np.isfinite(depth) & (scene.depth < FARTHEST)
        if there.sum() >= MIN_PIXELS:
            ratios.append(float(np.median(depth[there]) / np.median(scene.depth[there])))
    if len(ratios) < 2:
        return np.zeros(0)
    return np.abs(np.array(ratios) / np.median(ratios) - 1)


def masks_of(scene: Known) -> tuple[Mask, ...]:
    """The true masks."""
    return tuple(Mask(scene.labels == k) for k in np.unique(scene.labels) if k)
