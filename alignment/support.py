"""The plane that the objects stand on, and the upright world frame that it gives.

A plane is a line in inverse depth: 1 / z = m . ray for rays with z = 1, with m = -n / height for
the unit normal n (towards the camera) and the camera's height over the plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alignment.robust import huber_weights
from scene.cameras import unproject
from scene.morphology import dilated, square
from scene.types import Bool, Camera, Float32, Float64, PointMap

CELLS_ACROSS = 96  # the map is looked at in cells: their medians are free of noise and outliers
MIN_CELL_FRACTION = 0.5  # of a cell's pixels that must show the background with a known depth
REACH = 0.1  # the support is looked for this near the objects, as a share of the photo's width
QUARTILE_SIGMAS = 0.6745  # a Gaussian's quartiles lie that many sigma from its middle
TRIALS = 500
TOLERANCE = 0.02  # relative depth within which a cell lies on a plane
MIN_CELLS = 30
MIN_FRACTION = 0.3  # of the cells near the objects that must lie on the plane
MIN_UP = 0.25  # cosine between the plane's normal and the camera's own upward axis: no walls
REFIT_ROUNDS = 30
RISE_CELLS = 2  # rows of cells over which the depth is compared
MIN_RISE = 0.002  # relative depth over these; a wall stays below
RISING_FRACTION = 0.75  # of the pairs of cells in the photo's lower half
ROUNDS = 3  # of fitting the plane and looking for the cells' depths near it


@dataclass(frozen=True, eq=False)
class SupportPlane:
    """A plane below the camera: n . X = -height for the points X on it, photo camera's frame.

    normal (3,): unit, away from the support; height: of the camera over the plane, in units of the
    point map; share: of the background near the objects that lies on it; residual: median relative
    depth error of that part.
    """

    normal: Float64
    height: float
    share: float
    residual: float

    def errors(self, background: Background) -> Float64:
        """(N,) log of the map's depth over the plane's in every cell, inf off the plane's side."""
        expected = self.depth_along(background.rays)
        # Looked for near the cells' own medians: near the plane, it would be drawn to the plane.
        depth = background.depth(around=background.depth())
        meets = np.isfinite(expected)
        found = np.full(len(expected), np.inf)
        found[meets] = np.log(depth[meets] / expected[meets])
        return found

    def depth_along(self, rays: Float64) -> Float64:
        """(...) z at which rays (..., 3) with z = 1 meet the plane, inf where they do not."""
        slope = rays @ -self.normal
        return np.where(slope > 0, self.height / np.maximum(slope, 1e-12), np.inf)


@dataclass(frozen=True, eq=False)
class Background:
    """The map outside the objects, in N small square cells.

    rays (N, 3): z = 1, through the cells' centres; pixels (N, 2): row and column of these; values
    (N, P): inverse depths of a cell's pixels in rising order, NaN last; near (N,): whether objects
    are close.
    """

    rays: Float64
    pixels: Float64
    values: Float64
    near: Bool

    def depth(self, around: Float64 | None = None) -> Float64:
        """(N,) median depth of every cell.

        With a guess `around` (N,) only pixels near it count, equally far to both sides: gross
        errors that all lie on one side of the surface then no longer draw the median.
        """
        if around is None:
            return 1 / _medians(self.values, np.zeros(len(self.values), int), self._known())
        window = min(0.01 + 2 * self._noise(), 0.5)
        relative = self.values * around[:, None]
        low, high = (relative < 1 / (1 + window)).sum(1), (relative <= 1 / (1 - window)).sum(1)
        some = high > low
        return 1 / _medians(
            self.values, np.where(some, low, 0), np.where(some, high, self._known())
        )

    def _known(self) -> np.ndarray:
        return np.isfinite(self.values).sum(1)

    def _noise(self) -> float:
        """Relative spread of the pixels within a cell: the map's noise, by the quartiles."""
        known, rows = self._known(), np.arange(len(self.values))
        low, high = self.values[rows, known // 4], self.values[rows, (3 * known - 1) // 4]
        return float(np.median((high - low) / (high + low))) / QUARTILE_SIGMAS


@dataclass(frozen=True, eq=False)
class Ground:
    """What surrounds the objects: the background, and the support plane where there is one."""

    background: Background
    plane: SupportPlane | None


def background_of(depth: Float32, camera: Camera, objects: Bool) -> Background:
    """The point map outside the objects, cut into cells.

    depth (H, W): z, NaN unknown; objects (H, W): pixels of any object.
    """
    side = max(2, round(camera.width / CELLS_ACROSS))
    rows, columns = camera.height // side, camera.width // side
    own = dilated(objects, 2, square)
    free = np.where(own, np.nan, depth)[: rows * side, : columns * side].astype(np.float64)
    cells = free.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, -1)
    kept = np.flatnonzero(np.isfinite(cells).sum(1) >= MIN_CELL_FRACTION * side * side)
    pixels = np.stack([kept // columns, kept % columns], 1).astype(np.float64) * side + side / 2
    near = dilated(objects, max(3, round(REACH * camera.width)), square)
    return Background(
        unproject(camera, pixels[:, ::-1]),
        pixels,
        np.sort(1 / cells[kept], axis=1),
        near[tuple(pixels.astype(int).T)],
    )


def find_ground(point_map: PointMap, masks: list[Bool]) -> Ground:
    """The background of a photo's objects (masks: (H, W) each) and the plane that they stand on."""
    objects = np.zeros(point_map.depth.shape, bool)
    for mask in masks:
        objects |= mask
    background = background_of(point_map.depth, point_map.camera, objects)
    return Ground(background, find_support_plane(background))


def find_support_plane(background: Background, seed: int = 0) -> SupportPlane | None:
    """The plane below most of the background near the objects, or None where there is none.

    RANSAC over three cells, then Huber's loss on the relative depth error z (m . ray) - 1.
    """
    near, depth = background.near, background.depth()
    if near.sum() < MIN_CELLS:
        return None
    slope = _best_of_three(background.rays[near], depth[near], seed)
    if slope is None:
        return None
    for _ in range(ROUNDS):
        slope = _refit(slope, (background.rays * depth[:, None])[near])
        slant = background.rays @ slope
        depth = background.depth(around=1 / np.maximum(slant, 1e-12))
    error = np.abs(depth * (background.rays @ slope) - 1)[near]
    close = error < TOLERANCE
    length = float(np.linalg.norm(slope))
    normal = -slope / length
    if close.sum() < MIN_CELLS or close.mean() < MIN_FRACTION or -normal[1] < MIN_UP:
        return None
    return SupportPlane(normal, 1 / length, float(close.mean()), float(np.median(error[close])))


def recedes_downwards(background: Background) -> bool:
    """Whether the map's lower half lies the farther the lower, as no floor does.

    Disparity or inverse depth that is taken for depth looks so.
    """
    if len(background.pixels) < MIN_CELLS:
        return False
    side = math.isqrt(background.values.shape[1])
    rows, columns = (background.pixels // side).astype(int).T
    depth = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    depth[rows, columns] = np.log(background.depth())
    lower = depth[len(depth) // 2 :]
    rises = lower[RISE_CELLS:] - lower[:-RISE_CELLS]
    known = rises[np.isfinite(rises)]
    return len(known) >= MIN_CELLS and bool((known > MIN_RISE).mean() >= RISING_FRACTION)


def world_from_camera(plane: SupportPlane) -> Float64:
    """(4, 4) rigid: z up from the plane, origin straight below the camera, y where it looks."""
    up = plane.normal
    ahead = np.array([0, 0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 1e-6:  # a camera that looks straight down: its upper edge is ahead
        ahead = np.array([0, -1.0, 0]) + up[1] * up
    ahead = ahead / np.linalg.norm(ahead)
    out = np.eye(4)
    out[:3, :3] = np.stack([np.cross(ahead, up), ahead, up])
    out[2, 3] = plane.height
    return out


def _best_of_three(rays: Float64, depth: Float64, seed: int) -> Float64 | None:
    """m of the plane through three cells that the most cells lie on."""
    random = np.random.default_rng(seed)
    picks = random.integers(len(depth), size=(TRIALS, 3))
    triples, ones = rays[picks] * depth[picks][..., None], np.ones((TRIALS, 3, 1))
    solvable = np.abs(np.linalg.det(triples)) > 1e-9 * depth[picks].prod(1)
    if not solvable.any():
        return None
    slopes = np.linalg.solve(triples[solvable], ones[solvable])[..., 0]
    up = slopes[:, 1] > MIN_UP * np.linalg.norm(slopes, axis=1)
    if not up.any():
        return None
    slopes = slopes[up]
    error = np.abs(depth * (slopes @ rays.T) - 1)
    return slopes[np.argmin(np.minimum(error, TOLERANCE).sum(1))]


def _refit(slope: Float64, points: Float64) -> Float64:
    """Huber's estimate of m from the points (N, 3) within the tolerance."""
    for _ in range(REFIT_ROUNDS):
        residual = np.abs(points @ slope - 1)
        close = residual < TOLERANCE
        weighted = points[close] * huber_weights(residual[close], TOLERANCE)[:, None]
        updated = np.linalg.solve(weighted.T @ points[close], weighted.sum(0))
        if np.abs(updated - slope).max() < 1e-12 * np.abs(slope).max():
            break
        slope = updated
    return slope


def _medians(values: Float64, first: np.ndarray, end: np.ndarray) -> Float64:
    """(N,) medians of the entries first to end of every sorted row (N, P)."""
    low, high = (first + end - 1) // 2, (first + end) // 2
    rows = np.arange(len(values))
    return (values[rows, low] + values[rows, high]) / 2
