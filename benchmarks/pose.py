"""Measures the pose of noisy UV cubes against the Cramer-Rao bound; writes docs/benchmarks.md.

    python -m benchmarks.pose [--cubes 1000] [--workers 2]

Bodies of boxes and ellipsoids as CUPID's data has them: seen from anywhere by a lens of 24 to
200 mm (36 mm wide film) at the distance that frames the cube, in a crop that looks at the body.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

from benchmarks.narrow import table
from benchmarks.report import replace_section
from cupid.pose import PoseNotFound, pose_from_cube, rotation_between_rad, voxel_centres
from cupid.refinement import Known, covariance_bound
from cupid.resection import Float64, Pinhole
from scene.types import Bool

DOCUMENT, TITLE = Path("docs/benchmarks.md"), "Camera pose of UV cubes"
SIDE, MIN_VOXELS = 64, 2000
FOCAL_MM, FILM_MM = (24.0, 200.0), 36.0
NOISE, OUTLIERS, FRAMING = 0.02, 0.2, 1.2
CENTRE = (0.5, 0.5)
BANDS_MM = ((24.0, 50.0), (50.0, 100.0), (100.0, 200.0))


@dataclass(frozen=True, eq=False)
class KnownCube:
    """A UV cube and its truth: coords (N, 3), uv (N, 2) with errors, clean (N,) without outliers;
    focal_mm: of the lens that took the body before it was cropped."""

    coords: np.ndarray
    uv: Float64
    clean: np.ndarray
    camera: Pinhole
    focal_mm: float


@dataclass(frozen=True)
class Trial:
    """One cube under one set of known intrinsics: degrees; None where it was refused."""

    focal_mm: float
    error: float | None
    bound: float


MODES = {
    "principal point known": (CENTRE, False),
    "principal point and focal length known": (CENTRE, True),
    "all free": (None, False),
}


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cubes", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.workers) as pool:
        trials = list(pool.map(run_trials, range(asked.cubes), chunksize=5))
    text = summary(trials)
    replace_section(DOCUMENT, TITLE, text)
    print(text)


def run_trials(seed: int) -> dict[str, Trial]:
    """One cube in every mode."""
    cube = known_cube(seed)
    points = voxel_centres(cube.coords, SIDE)
    trials = {}
    for name, (point, focal_known) in MODES.items():
        focal = float(cube.camera.focal[0]) if focal_known else None
        covariance = covariance_bound(cube.camera, points[cube.clean], Known(point, focal), NOISE)
        bound = math.degrees(math.sqrt(np.trace(covariance[:3, :3])))
        try:
            found = pose_from_cube(cube.coords, cube.uv, SIDE, point, focal)
        except PoseNotFound:
            trials[name] = Trial(cube.focal_mm, None, bound)
            continue
        error = math.degrees(rotation_between_rad(found.rotation, cube.camera.rotation))
        trials[name] = Trial(cube.focal_mm, error, bound)
    return trials


def known_cube(seed: int) -> KnownCube:
    """A body, a camera and the body's pixels in its crop, with noise and outliers."""
    rng = np.random.default_rng(seed)
    focal_mm = float(np.exp(rng.uniform(*np.log(FOCAL_MM))))
    coords = random_body(rng)
    camera = cropping_camera(voxel_centres(coords, SIDE), random_rotation(rng), focal_mm)
    uv = camera.project(voxel_centres(coords, SIDE))
    clean = rng.random(len(uv)) >= OUTLIERS
    uv = np.where(clean[:, None], uv + NOISE * rng.standard_normal(uv.shape), rng.random(uv.shape))
    return KnownCube(coords, uv.clip(0, 1), clean, camera, focal_mm)


def random_body(rng: np.random.Generator) -> np.ndarray:
    """(N, 3) voxels of the surface of up to three boxes and ellipsoids, at least MIN_VOXELS."""
    grid = np.indices((SIDE, SIDE, SIDE)).reshape(3, -1).T
    at = voxel_centres(grid, SIDE)
    while True:
        inside: Bool = np.zeros(len(grid), bool)
        for _ in range(rng.integers(1, 4)):
            local = (at - rng.uniform(-0.2, 0.2, 3)) @ random_rotation(rng)
            local /= rng.uniform(0.06, 0.3, 3)
            box = rng.random() < 0.5
            inside |= np.linalg.norm(local, np.inf if box else 2, axis=1) < 1
        solid = inside.reshape(SIDE, SIDE, SIDE)
        shell = grid[(solid & ~np.asarray(binary_erosion(solid), bool)).ravel()]
        if len(shell) >= MIN_VOXELS:
            return shell


def random_rotation(rng: np.random.Generator) -> Float64:
    """(3, 3) uniform over all rotations."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if np.linalg.det(q) > 0 else -q, np.float64)


def cropping_camera(points: Float64, rotation: Float64, focal_mm: float) -> Pinhole:
    """The camera that frames the cube, rotated towards the middle of the body's outline.

    Distance as in CUPID's data: sqrt(3) / 2 over the sine of half the field of view.
    """
    half_fov = math.atan(FILM_MM / (2 * focal_mm))
    moved = points @ rotation.T + [0, 0, math.sqrt(3) / 2 / math.sin(half_fov)]
    crop = np.eye(3)
    for _ in range(6):
        local = moved @ crop.T
        local = local[:, :2] / local[:, 2:]
        z = crop.T @ [*(local.min(0) + local.max(0)) / 2, 1]
        z /= np.linalg.norm(z)
        x = np.cross([0, 1, 0], z)
        x /= np.linalg.norm(x)
        crop = np.stack([x, np.cross(z, x), z])
    local = moved @ crop.T
    focal = 1 / (2 * FRAMING * float(np.abs(local[:, :2] / local[:, 2:]).max()))
    translation = crop @ [0, 0, math.sqrt(3) / 2 / math.sin(half_fov)]
    return Pinhole(crop @ rotation, translation, np.full(2, focal), np.array(CENTRE))


def summary(trials: Sequence[dict[str, Trial]]) -> str:
    """Errors of every mode by focal length, beside the bound."""
    rows = []
    for name in MODES:
        for low, high in (*BANDS_MM, FOCAL_MM):
            band = [t[name] for t in trials if low <= t[name].focal_mm <= high]
            rows.append([name, f"{low:g} to {high:g}", str(len(band)), *_figures(band)])
    header = (
        "intrinsics", "lens, mm", "cubes", "refused", "median", "95 %", "rms", "bound, rms",
        "rms over bound",
    )  # fmt: skip
    return (
        f"{len(trials)} cubes of at least {MIN_VOXELS} voxels, noise {NOISE:.0%} of the crop's "
        f"side per axis, {OUTLIERS:.0%} of the pixels anywhere in the crop. Errors of the rotation "
        "in degrees; the bound is Cramer and Rao's for the pixels that are no outliers.\n\n"
    ) + table(header, rows)


def _figures(band: Sequence[Trial]) -> list[str]:
    found = [t for t in band if t.error is not None]
    if not found:
        return [str(len(band)), *["-"] * 5]
    errors, bounds = np.array([t.error for t in found]), np.array([t.bound for t in found])
    rms, bound = math.sqrt(np.mean(errors**2)), math.sqrt(np.mean(bounds**2))
    return [
        str(len(band) - len(found)),
        *(f"{v:.2f}" for v in (np.median(errors), np.quantile(errors, 0.95), rms, bound)),
        f"{rms / bound:.2f}",
    ]


if __name__ == "__main__":
    main()
