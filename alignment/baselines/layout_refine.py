"""Render and compare, after SAM 3D Objects: moves a placed mesh until its outline fits the mask.

Source: the layout post-optimisation of SAM 3D Objects, as released: a registration, rigid ICP, then
gradient steps on a soft silhouette. What differs here, and why:
- It starts from the robust M1. SAM 3D moves the centroid of the whole mesh to that of the visible
  points, which puts every object too near by about half of its thickness.
- Outlines are ray casts, softened by a blur and differentiated by central differences; the steps
  are Gauss-Newton's within a trust region instead of Adam's: the same loss, fewer outlines.
- Pixels of occluders are left out of the comparison, and the photo's border ends it; SAM 3D leaves
  objects that are occluded or cut by the border as they are.
- The loss is a mean over the object's window instead of the whole photo, and moves are given in
  sizes of the object: the balance of its terms does not depend on how far away an object stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from alignment.baselines.placing import place_mesh
from alignment.baselines.refit import check_matches, fit_scale
from alignment.baselines.similarity import umeyama
from alignment.objects import Placement, PlacementInput
from scene.cameras import project, unproject
from scene.errors import CannotPlace
from scene.raycast import Outline
from scene.types import (
    Bool,
    Camera,
    CropCamera,
    Float32,
    Float64,
    ObjectMesh,
    PointMap,
    Similarity,
)

# Weights, rounds and thresholds of SAM 3D Objects (docs/placement.md, equation 10).
MASK_WEIGHT, ROTATION_WEIGHT, SHIFT_WEIGHT, SIZE_WEIGHT = 200.0, 0.1, 0.05, 0.05
SHIFT_ROUNDS, ALL_ROUNDS = 5, 25  # first translation and size, then the rotation as well
MIN_IOU = 0.5
ICP_REACH = 0.05  # over the object's largest extent
MEASURE_SIDE_PX = 512  # working size at which agreement is measured
# Ours.
COMPARE_SIDE_PX = 144  # longer side of the window in which outlines are compared
SOFTNESS_PX = 2.5  # sigma of the blur at that size
MARGIN = 0.06  # of the window around mesh and mask, over its longer side
STEP = 0.02  # of the central differences: an outline moves by about two of the window's pixels
SETTLED = 3e-3  # relative change of the loss, or of the numbers, that ends the search
ICP_POINTS, ICP_ROUNDS = 1024, 30


@dataclass(frozen=True, eq=False)
class _Window:
    """Pixels of the photo, every n-th of a box: rays (H * W, 3) in the crop camera's frame."""

    rays: Float64
    mask: Bool
    occluder: Bool


@dataclass(frozen=True, eq=False)
class _Move:
    """How numbers move a placed mesh: translation (3), log size, then, if given, a rotation (3).

    centre (3,): of the mesh as it is placed at the start, crop camera's frame; extent: its largest
    side there, the unit of translations.
    """

    start: Similarity
    centre: Float64
    extent: float

    def apply(self, numbers: Float64) -> Similarity:
        """crop_from_object of the moved mesh; numbers (4,) or (7,), all 0 at the start."""
        size, turn = np.exp(numbers[3]), _rotation(numbers).as_matrix()
        translation = size * turn @ (self.start.translation - self.centre) + self.centre
        return Similarity(
            float(size * self.start.scale),
            turn @ self.start.rotation,
            translation + self.extent * numbers[:3],
        )

    @property
    def steps(self) -> Float64:
        """(7,) steps of the differences; depth by as much as changes the outline like a size."""
        steps = np.full(7, STEP)
        steps[2] *= np.linalg.norm(self.centre) / self.extent
        return steps


def place_layout_refine(o: PlacementInput, point_map: PointMap, truncation: float) -> Placement:
    """The robust M1, refined by `refine_layout`; errors are those of `place_mesh`."""

    def solve(cube: Float64, measured: Float64, distance: float, truncation: float) -> Similarity:
        start = fit_scale(cube, measured, distance, truncation)
        camera = point_map.camera
        return refine_layout(start, o.mesh, o.crop, camera, o.mask, o.occluder, cube, measured)

    return place_mesh(o, point_map, truncation, solve)


def refine_layout(
    start: Similarity,
    mesh: ObjectMesh,
    crop: CropCamera,
    camera: Camera,
    mask: Bool,
    occluder: Bool,
    cube: Float64,
    measured: Float64,
) -> Similarity:
    """crop_from_object with a better outline than the start's, or the start where there is none.

    start: crop_from_object; mask, occluder (H, W): the object's visible pixels and those of nearer
    objects; cube, measured (N, 3): its visible points in the object cube and as measured, in the
    crop camera's frame. Raises CannotPlace for fewer than two points, and for a mesh that
    does not lie before the camera at the start.
    """
    if not mask.any():
        raise ValueError("an empty mask has no outline to compare with")
    check_matches(cube, measured)
    box = _box(start, mesh, crop, camera, mask)
    measure = _window(box, MEASURE_SIDE_PX, crop, camera, mask, occluder)
    compare = _window(box, COMPARE_SIDE_PX, crop, camera, mask, occluder)
    outline = Outline(mesh.vertices, mesh.faces)

    def iou(pose: Similarity) -> float:
        return _agreement(_rendered_pixels(outline, pose, measure), measure)

    start_iou = iou(start)
    if start_iou == 0:  # apart, no small move brings the outline nearer: the loss has no slope
        return start
    registered = _rigid_icp(start, cube, measured)
    if iou(registered) <= start_iou:
        registered = start
    found = _render_and_compare(registered, mesh, outline, compare)
    found_iou = iou(found)
    return found if found_iou >= MIN_IOU and found_iou > start_iou else start


def _rigid_icp(start: Similarity, cube: Float64, measured: Float64) -> Similarity:
    """Point-to-point ICP of the visible surface, its scale kept; the start where too few match."""
    cube = cube[:: -(-len(cube) // ICP_POINTS)]
    reach = ICP_REACH * start.scale * float((cube.max(0) - cube.min(0)).max())
    tree, pose, before = KDTree(measured), start, None
    for _ in range(ICP_ROUNDS):
        distance, nearest = tree.query(pose.apply(cube), distance_upper_bound=reach)
        matched = np.isfinite(distance)
        if before is not None and np.array_equal(nearest, before):
            break
        try:
            weight = matched.astype(np.float64)
            target = measured[np.where(matched, nearest, 0)]
            pose, before = umeyama(cube, target, weight, start.scale), nearest
        except CannotPlace:  # no match at all, or all on one line: ICP cannot estimate a pose
            return start
    return pose


def _render_and_compare(
    start: Similarity, mesh: ObjectMesh, outline: Outline, window: _Window
) -> Similarity:
    """The pose of least loss near the start: translation and size first, then all seven numbers."""
    placed = start.apply(mesh.vertices)
    low, high = placed.min(0), placed.max(0)
    move = _Move(start, (low + high) / 2, float((high - low).max()))
    counted = ~window.occluder.reshape(-1)
    target = _soft(window.mask & ~window.occluder)
    pixel_weight = np.sqrt(MASK_WEIGHT / max(1, int(counted.sum())))

    def residuals(numbers: Float64) -> Float64:
        rendered = _soft(_rendered_pixels(outline, move.apply(numbers), window) & ~window.occluder)
        differences = pixel_weight * (rendered - target).reshape(-1)[counted]
        return np.concatenate([differences, _penalties(numbers)])

    def slopes(numbers: Float64) -> Float64:
        moves = np.diag(move.steps)[: len(numbers), : len(numbers)]
        columns = [residuals(numbers + m) - residuals(numbers - m) for m in moves]
        return np.stack(columns, 1) / (2 * moves.diagonal())

    numbers = np.zeros(0)
    for free, rounds in ((4, SHIFT_ROUNDS), (7, ALL_ROUNDS)):
        begin = np.pad(numbers, (0, free - len(numbers)))
        numbers = least_squares(
            residuals,
            begin,
            jac=slopes,  # type: ignore[arg-type]
            x_scale=STEP,
            max_nfev=rounds,
            xtol=SETTLED,
            ftol=SETTLED,
        ).x
    return move.apply(numbers)


def _penalties(numbers: Float64) -> Float64:
    """Square roots of the loss's other terms: MSE(q, identity), |t|^2 and (s - 1)^2."""
    from_identity = _rotation(numbers).as_quat() - [0, 0, 0, 1]
    return np.concatenate(
        [
            np.sqrt(ROTATION_WEIGHT / 4) * from_identity,
            np.sqrt(SHIFT_WEIGHT) * numbers[:3],
            np.sqrt(SIZE_WEIGHT) * np.expm1(numbers[3:4]),
        ]
    )


def _rotation(numbers: Float64) -> Rotation:
    """The rotation of a move's numbers: the unit quaternion along (1, its last three)."""
    vector = numbers[4:] if len(numbers) == 7 else np.zeros(3)
    return Rotation.from_quat([*vector, 1])


def _rendered_pixels(outline: Outline, crop_from_object: Similarity, window: _Window) -> Bool:
    """(h, w) the window's pixels that meet the mesh: rays go to the object, not it to them."""
    rotation, scale = crop_from_object.rotation, crop_from_object.scale
    origin = -crop_from_object.translation @ rotation / scale
    return outline.hit_by(origin, window.rays @ rotation).reshape(window.mask.shape)


def _agreement(rendered: Bool, window: _Window) -> float:
    """IoU of an outline (h, w) with the mask (docs/placement.md, equation 9)."""
    rendered = rendered & ~window.occluder
    union = (rendered | window.mask).sum()
    return float((rendered & window.mask).sum() / union) if union else 0.0


def _soft(silhouette: Bool) -> Float32:
    """(h, w) a silhouette whose border fades, so that moving it changes it smoothly."""
    blurred = cv2.GaussianBlur(silhouette.astype(np.float32), (0, 0), SOFTNESS_PX)
    return np.asarray(blurred, np.float32)


def _box(
    start: Similarity, mesh: ObjectMesh, crop: CropCamera, camera: Camera, mask: Bool
) -> tuple[slice, slice]:
    """Rows and columns of the photo that hold the mask and the placed mesh, with a margin."""
    placed = start.apply(mesh.vertices) @ crop.photo_from_crop.T
    if not (placed[:, 2] > 0).all():
        raise CannotPlace("the mesh to refine does not lie before the camera")
    pixels = project(camera, placed)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.minimum(pixels.min(0), [columns[0], rows[0]])
    high = np.maximum(pixels.max(0), [columns[-1] + 1, rows[-1] + 1])
    margin = max(1.0, MARGIN * float((high - low).max()))
    size = [camera.width, camera.height]
    left, top = np.floor(low - margin).clip(0, size).astype(int)
    right, bottom = np.ceil(high + margin).clip(0, size).astype(int)
    return slice(top, bottom), slice(left, right)


def _window(
    box: tuple[slice, slice],
    side_px: int,
    crop: CropCamera,
    camera: Camera,
    mask: Bool,
    occluder: Bool,
) -> _Window:
    """A box of the photo by its own pixels, at most side_px of them a side: none is resampled."""
    pace = max(1.0, max(s.stop - s.start for s in box) / side_px)
    rows, columns = (np.arange(s.start, s.stop, pace).astype(int) for s in box)
    centres = np.stack(np.meshgrid(columns + 0.5, rows + 0.5), -1).reshape(-1, 2)
    taken = np.ix_(rows, columns)
    return _Window(unproject(camera, centres) @ crop.photo_from_crop, mask[taken], occluder[taken])
