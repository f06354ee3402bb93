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
from scene.types import Camera, Float32, Float64, Mask, Photo, PointMap, Uint8
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
    rows, maps = [], {}
    for word in ("unknown", "known"):
        for name, mapper in mappers.items():
            maps[word, name] = [map_of(mapper, s, word == "known") for s in scenes]
            found = zip(maps[word, name], scenes, strict=True)
            errors = np.array([depth_errors(m.depth, s) for m, s in found])
            rows.append([word, f"`{name}`", *(f"{e:.3f}" for e in np.nanmean(errors, axis=0))])
    found = list(zip(maps["unknown", "lite"], scenes, strict=True))
    tilt = np.array([tilt_deg(network, s) for s in scenes])
    focal = [abs(math.log(m.camera.fx_px / s.camera.fx_px)) for m, s in found]
    high = math.sin(math.radians(FROM_ABOVE_DEG))
    above = [size_errors(m.depth, s) for m, s in found if -s.up[2] > high]
    sizes = np.concatenate(above)
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


def map_of(mapper: PointMapper, scene: Known, known: bool) -> PointMap:
    """The map of a scene with its true masks, and its camera if it is known."""
    masks = tuple(Mask(scene.labels == k) for k in numbers_of(scene))
    return mapper.map_points(scene.photo, scene.camera if known else None, masks, None)


def numbers_of(scene: Known) -> list[int]:
    """The labels of the objects."""
    return [int(k) for k in np.unique(scene.labels) if k]


def ratio_of(depth: Float32, scene: Known) -> NDArray[np.floating]:
    """(H, W) true over found depth, NaN where either is missing or very far."""
    with np.errstate(invalid="ignore"):
        there = np.isfinite(depth) & (scene.depth < FARTHEST)
    return np.where(there, scene.depth, np.nan) / np.where(there, depth, 1)


def ratios_inside(depth: Float32, scene: Known) -> list[NDArray[np.floating]]:
    """Of each object that is large enough, the ratios at its pixels."""
    ratio = ratio_of(depth, scene)
    inside = [ratio[(scene.labels == k) & np.isfinite(ratio)] for k in numbers_of(scene)]
    return [r for r in inside if len(r) >= MIN_PIXELS]


def depth_errors(depth: Float32, scene: Known) -> tuple[float, float, float]:
    """Mean relative errors: of all pixels after one scale; of the objects' after one scale; of each
    object's after its own."""
    ratio, inside = ratio_of(depth, scene), ratios_inside(depth, scene)
    on_objects = scaled_error(np.concatenate(inside)) if inside else math.nan
    within = float(np.mean([scaled_error(r) for r in inside])) if inside else math.nan
    return scaled_error(ratio[np.isfinite(ratio)]), on_objects, within


def scaled_error(ratio: NDArray[np.floating]) -> float:
    """Mean relative error of depths, from true over found ones, after the median ratio."""
    return float(np.mean(np.abs(np.median(ratio) / ratio - 1)))


def tilt_deg(network: lite.LiteMap, scene: Known) -> float:
    """The angle between the true up and the network's."""
    return math.degrees(math.acos(float(np.clip(network.guess(scene.photo).up @ scene.up, -1, 1))))


def size_errors(depth: Float32, scene: Known) -> NDArray[np.floating]:
    """(N,) relative error of each object's size beside the scene's others; empty with fewer than
    two. In a photo, sizes are as depths."""
    ratios = np.array([float(np.median(r)) for r in ratios_inside(depth, scene)])
    return np.abs(np.median(ratios) / ratios - 1) if len(ratios) > 1 else np.zeros(0)
