"""How far are the colours of what the photo does not show from the truth? Scans, from five sides.

Every scan is generated from one image, then both are drawn from beside and from behind; what counts
is every pixel that shows both, where the image does not show the scan's own surface.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.lite.sources import Sources
from scene.cameras import camera_from_fov, pixel_centres, unproject
from scene.raycast import cast, texture_colours
from scene.types import Bool, CropCamera, Float64, ObjectCrop, ObjectMesh, Uint8
from stages import generate
from stages.generate import lite
from training.generator.held_out import SCAN_FOV_RAD, scan_views
from training.generator.scans import Surface, peel, placed_corners, scan_image, unlit_colours
from training.generator.shapes.tracing import View

SIZE = 192  # pixels of the images
DRAWN = 96  # pixels of the drawings from other sides
EVERY = 3  # of the dozen sides of a scan
YAWS_DEG = (35, -35, 90, -90, 180)
WIDENED = 1.3  # field of view of a drawing: an object seen from its corner is wider
HIDDEN = 0.02  # cube sides behind the first surface, from where on a point is hidden


@dataclass(frozen=True, eq=False)
class ScanView:
    """A scan as one image shows it: rgba (S, S, 4) uint8, the surface and how it is placed."""

    name: str
    rgba: Uint8
    surface: Surface
    view: View


@dataclass(frozen=True)
class ColourErrors:
    """Mean absolute errors in [0, 1] of unseen points that are drawn from a yaw: by YAWS_DEG; NaN
    where nothing unseen was drawn."""

    name: str
    by_yaw: tuple[float, ...]


def held_out_views(folder: Path) -> Iterator[ScanView]:
    """Every scan of a folder from four sides, in its own colours."""
    for name, surface, view in islice(scan_views(folder), 0, None, EVERY):
        rgba = scan_image(surface, view, peel(surface, view, SIZE), SIZE)
        yield ScanView(name, rgba, surface, view)


def colour_errors(generator: generate.Generator, shown: ScanView) -> ColourErrors:
    """What a generator makes of the image alone, against the scan's own colours."""
    camera = CropCamera(camera_from_fov(SIZE, SIZE, SCAN_FOV_RAD), np.eye(3))
    unknown = np.full((SIZE, SIZE), np.nan, np.float32)
    mesh = generate.run(generator, ObjectCrop(shown.rgba, unknown, camera), 0)
    return ColourErrors(shown.name, tuple(_error_from(mesh, shown, yaw) for yaw in YAWS_DEG))


def _error_from(mesh: ObjectMesh, shown: ScanView, yaw_deg: float) -> float:
    origin, rays = _orbit(shown.view.distance, math.radians(yaw_deg))
    corners = placed_corners(shown.surface, shown.view).reshape(-1, 3)
    scan = corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    truth = cast([scan], origin, rays)
    made = mesh.vertices.astype(np.float64) + [0, 0, shown.view.distance]
    found = cast([(made, mesh.faces)], origin, rays)
    both = truth.hit & found.hit
    points = origin + truth.distance[both, None] * rays[both]
    unseen = _hidden(points, scan)
    if not unseen.any():
        return float("nan")
    index = np.nonzero(both)[0][unseen]
    faces = truth.face[index].astype(np.int64)
    true = unlit_colours(shown.surface, shown.view, faces, points[unseen])
    drawn = texture_colours(mesh, found.face[index], found.barycentric[index])
    return float(np.abs(drawn - true).mean() / 255)


def _orbit(distance: float, yaw_rad: float) -> tuple[Float64, Float64]:
    """Origin (3,) and rays (N, 3), in the image's camera frame, of a camera that was turned about
    the cube's centre."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    camera = camera_from_fov(DRAWN, DRAWN, WIDENED * SCAN_FOV_RAD)
    rays = unproject(camera, pixel_centres(DRAWN, DRAWN)).reshape(-1, 3)
    centre = np.array([0, 0, distance])
    return centre - turn @ centre, rays @ turn.T


def _hidden(points: Float64, mesh: tuple[Float64, NDArray[np.int32]]) -> Bool:
    """(N,) whether the image's camera does not see points (N, 3) of the mesh."""
    first = cast([mesh], np.zeros(3), points)
    return first.distance < 1 - HIDDEN / points[:, 2]


def unseen_table(sources: Sources) -> str:
    """A row per scan and their mean, by the side that is drawn."""
    generator = lite.load(lite.Settings(), "cpu")
    errors = [colour_errors(generator, v) for v in held_out_views(sources.data / "objects")]
    names = [" ".join(e.name.split()[:-1]) for e in errors]
    values = np.array([e.by_yaw for e in errors])
    head = "| scan | " + " | ".join(f"{yaw:+d}°" for yaw in YAWS_DEG) + " | mean |"
    rows = [head, "|---|" + "---|" * (len(YAWS_DEG) + 1)]
    for name in (*sorted(set(names)), ""):
        mine = values if not name else values[[n == name for n in names]]
        means = [*np.nanmean(mine, 0), np.nanmean(mine)]
        rows.append(f"| {name or '**all**'} | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    return "\n".join(rows)
