"""Which objects measure the lite generator? Frozen seeds of two generators, and scans.

The feasibility study's own generator, and ours with the study's families.

No training sample has a seed below `make_data.FIRST_SEED`, and none shows a measured scan. Written
to a file by `python -m training.generator.held_out --out FILE`, a few of them need no compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scene.cameras import camera_from_fov
from scene.types import Bool, CropCamera, Float64, ObjectCrop, Uint8
from stages import generate
from training.generator.measures import Score, crossed_occupancy, frustum_points, score

if TYPE_CHECKING:
    from training.generator.scans import Surface
    from training.generator.shapes.tracing import View

FIRST_SEED = 10_000
SIZE = 64  # pixels of the pictures, and cells of the occupancy
SHAPES, TEST_SHAPES = 200, 32
FAR = 127.0  # the study's distances are 8-bit numbers, positive outside
SCAN_VIEWS = 12
SCAN_FOV_RAD = math.radians(25)
SCAN_PITCHES_DEG = (10, 25, 40)
SCAN_FILL = 0.91  # of the frame, as the pipeline frames its crops
UPRIGHT_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A picture (S, S, 4) uint8, its field of view, and the true occupancy (S, S, S)."""

    name: str
    rgba: Uint8
    fov_rad: float
    occupied: Bool


def main(argv: Sequence[str] | None = None) -> None:
    """Write the objects of the quick test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    save(list(held_out_shapes(TEST_SHAPES)), parser.parse_args(argv).out)


def save(objects: list[HeldOut], path: Path) -> None:
    """Write objects as one compressed file."""
    np.savez_compressed(
        path,
        name=np.array([o.name for o in objects]),
        rgba=np.stack([o.rgba for o in objects]),
        fov_rad=np.array([o.fov_rad for o in objects]),
        occupied=np.packbits(np.stack([o.occupied for o in objects]), axis=-1),
    )


def read(path: Path) -> list[HeldOut]:
    """The objects of a file of `save`."""
    with np.load(path) as stored:
        occupied = np.unpackbits(stored["occupied"], axis=-1).astype(bool)
        rows = zip(stored["name"], stored["rgba"], stored["fov_rad"], occupied, strict=True)
        return [HeldOut(str(n), rgba, float(fov), inside) for n, rgba, fov, inside in rows]


def held_out_shapes(count: int) -> Iterator[HeldOut]:
    """The first procedural objects from FIRST_SEED on, of the study's families."""
    from training.generator.shapes.draw import draw_sample, draw_shot, true_occupancy
    from training.generator.shapes.grammar import STUDY

    seed, found = FIRST_SEED, 0
    while found < count:
        sample, shot = draw_sample(seed, SIZE, STUDY), draw_shot(seed, STUDY)
        if sample is not None and shot is not None:
            name = f"{shot.family.name} {seed}"
            yield HeldOut(name, sample.rgba, shot.fov_rad, true_occupancy(shot, SIZE))
            found += 1
        seed += 1


def held_out_study(code: Path) -> Iterator[HeldOut]:
    """The first objects from FIRST_SEED on of the feasibility study's own generator (`gen.py`).

    It keeps the object as signed distances in a cube, z slices from near to far.
    """
    from scipy.ndimage import map_coordinates

    study, seed, found = _module(code), FIRST_SEED, 0
    while found < SHAPES:
        drawn = study.sample(seed, res=SIZE, n=SIZE, nc=0)
        if drawn is not None:
            points = frustum_points(drawn["fov"], SIZE)
            at = [(points[..., axis] + 0.5) * SIZE - 0.5 for axis in (2, 1, 0)]
            distance = map_coordinates(drawn["sdf"].astype(np.float32), at, order=1, cval=FAR)
            yield HeldOut(f"study {seed}", drawn["img"], drawn["fov"], distance < 0)
            found += 1
        seed += 1


def _module(code: Path) -> Any:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(code.stem, code)
    if spec is None or spec.loader is None:
        raise ValueError(f"{code}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[code.stem] = module  # its compiled functions look each other up by name
    spec.loader.exec_module(module)
    return module


def held_out_scans(folder: Path) -> Iterator[HeldOut]:
    """Every view of every mesh of a folder, with its occupancy."""
    from training.generator.scans import peel, scan_image

    for name, surface, view in scan_views(folder):
        peeled = peel(surface, view, SIZE)
        rgba = scan_image(surface, view, peeled, SIZE)
        inside = crossed_occupancy(peeled.z, peeled.entering, SIZE)
        yield HeldOut(name, rgba, SCAN_FOV_RAD, inside)


def scan_views(folder: Path) -> Iterator[tuple[str, Surface, View]]:
    """Every mesh of a folder (z up) from a dozen sides, a little from above."""
    from training.generator.scans import read_surface
    from training.generator.shapes.draw import CUBE_FROM_UPRIGHT, frame_object
    from training.generator.shapes.parts import about_x, about_y

    for file in sorted(folder.glob("*.glb")):
        surface = read_surface(file, UPRIGHT_FROM_Z_UP)
        for view_index in range(SCAN_VIEWS):
            pitch = math.radians(SCAN_PITCHES_DEG[view_index % len(SCAN_PITCHES_DEG)])
            yaw = 2 * math.pi * view_index / SCAN_VIEWS
            rotation = CUBE_FROM_UPRIGHT @ about_x(pitch) @ about_y(yaw)
            points = surface.corners.reshape(-1, 3) @ rotation.T
            view = frame_object(points, rotation, SCAN_FOV_RAD, SCAN_FILL)
            yield f"{file.stem} {view_index}", surface, view


def measure(generator: generate.Generator, held_out: HeldOut) -> Score:
    """What a generator makes of the picture alone, against the truth."""
    camera = camera_from_fov(SIZE, SIZE, held_out.fov_rad)
    unknown = np.full((SIZE, SIZE), np.nan, np.float32)
    crop = ObjectCrop(held_out.rgba, unknown, CropCamera(camera, np.eye(3)))
    mesh = generate.run(generator, crop, 0)
    alpha = held_out.rgba[..., 3].astype(np.float32) / np.float32(255)
    return score(mesh, held_out.occupied, alpha, held_out.fov_rad)


def means(scores: list[Score]) -> Float64:
    """(4,): IoU, front and back error, the baseline's IoU."""
    rows = [(s.iou, s.front, s.back, s.iou_inflated) for s in scores]
    return np.mean(np.array(rows), axis=0)


if __name__ == "__main__":
    main()
