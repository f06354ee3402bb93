"""How do the network's layers and what the crop measures become columns on the lattice?"""

from __future__ import annotations

import cv2
import numpy as np

from alignment.visible import generator_distance
from scene.morphology import eroded, square
from scene.types import Bool, Float32, Float64, ObjectCrop
from stages.generate.lite.columns import Columns
from stages.generate.lite.layered import Layers, NetworkImages
from stages.generate.lite.walls import behind_walls
from stages.generate.shared.lattice import at_nodes, harmonic_fill, lattice_inverse_depth
from stages.generate.shared.outline import lattice_alpha

COVERED = 0.2  # of a network cell that the object must cover for its depths to mean something
SMOOTH = 0.06  # of the crop's side: how far a difference of the front carries to the layers behind
GAP_BLUR = 0.015  # of the crop's side: ragged edges of a gap would show as spikes
GAP_WIDER, GAP_FROM_RIM = 0.045, 0.06  # of the crop's side
MIN_DEPTH_FRACTION = 0.25  # of a small picture's pixel that must have measured depth
MAX_SKIRT_SLOPE = 6.0  # depth over width: a front that steep before a gap is none
BLURRED = 1.25  # network cells about an edge whose depths mix what lies on either side
SAME_WALL = 0.15  # cube sides between a gap's far end and the seen wall that goes on from it
MAX_SHIFT = 0.9  # cube sides that a measured front may lie off the network's
FLYING_TOLERANCE = 0.003  # of its distance: a node that far from the median flies between surfaces
SOLID_FRACTION = 0.05  # of the outline that must have measured depth for it to be used at all


def network_images(crop: ObjectCrop, size: int) -> NetworkImages:
    """The crop as the network takes it, at size x size pixels.

    Where part of the object has measured depth, the rest of it is what something else hides.
    """
    alpha = crop.rgba[..., 3].astype(np.float32) / np.float32(255)
    colours = crop.rgba[..., :3].astype(np.float32) / np.float32(255) * alpha[..., None]
    colours = colours.astype(np.float32)
    small = _shrunk(alpha, size)
    rgb = _shrunk(colours, size) / np.maximum(small, 1e-3)[..., None]
    depth = _small_depth(crop.depth, size)
    known = np.isfinite(depth)
    solid = small > 0.5
    if (known & solid).sum() < SOLID_FRACTION * solid.sum():
        known[:] = False
    depth = np.where(known & solid, depth, np.nan).astype(np.float32)
    hidden = solid & ~known & bool(known.any())
    # Pixels of the rim rarely have depth: only what lies inside counts as hidden.
    hidden = cv2.morphologyEx(hidden.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3))) > 0
    fov_rad = np.array([crop.camera.camera.fov_x_rad], np.float32)
    clipped = np.clip(rgb, 0, 1).astype(np.float32)
    return NetworkImages(clipped[None], small[None], hidden[None], depth[None], fov_rad)


def _shrunk(values: Float32, size: int) -> Float32:
    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def _small_depth(depth: Float32, size: int) -> Float32:
    """(size, size) z by the mean of 1 / z, NaN where too little of a pixel is known."""
    known = np.isfinite(depth)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    share = _shrunk(known.astype(np.float32), size)
    mean = _shrunk(inverse, size)
    enough = share > MIN_DEPTH_FRACTION
    return np.where(enough, share / np.maximum(mean, 1e-9), np.nan).astype(np.float32)


def columns_of(crop: ObjectCrop, layers: Layers, images: NetworkImages, grid: int) -> Columns:
    """The columns of one object: the measured front where there is one, the network's elsewhere."""
    covered = covered_cells(images, layers)
    front, near, far, back = (
        _smooth_at_nodes(_continued(depth, covered), grid) for depth in layers.depths[0]
    )
    gap = _smooth_at_nodes(_continued(layers.gap[0], covered), grid)
    alpha_level = lattice_alpha(crop.rgba[..., 3], grid) - 0.5
    gap_level = _gap_level(gap, alpha_level >= 0, grid)
    shift, measured = np.zeros_like(front), np.isfinite(images.depth[0]).any()
    if measured:
        shift = _measured_shift(crop, front, alpha_level >= 0, grid)
    else:
        front, gap_level = _without_skirts(front, far, gap_level, grid)
    inside = alpha_level >= 0
    carried = _carried(shift, inside, grid)
    beside = inside & (gap_level <= 0) & (np.abs(front - far) < SAME_WALL)
    # A wall goes with its own front, what lies behind it with the object as a whole.
    front, near, back = front + shift, near + shift, back + carried
    far = far + carried + _continued_shift(shift - carried, beside, inside)
    columns = Columns(front, back, near, far, gap_level, alpha_level)
    if measured:
        blurred = int(np.ceil(BLURRED * grid / layers.depths.shape[-1]))
        return behind_walls(columns, blurred)
    return columns


def _without_skirts(
    front: Float64, far: Float64, gap_level: Float64, grid: int
) -> tuple[Float64, Float64]:
    """Front and gap without what hangs between a wall before a gap and what is seen beside it.

    The network's cells are coarse: from the one to the other its front runs steeply through the
    gap, and the photo shows no such thing.
    """
    around = np.ones((3, 3), np.uint8)
    rise = (cv2.dilate(front, around) - cv2.erode(front, around)) * (grid / 2)
    skirt = (gap_level > 0) & (rise > MAX_SKIRT_SLOPE)
    return np.where(skirt, np.maximum(front, far), front), np.where(skirt, -0.5, gap_level)


def _continued_shift(shift: Float64, images: Bool, inside: Bool) -> Float64:
    """How a gap's far end moves with the inner wall that is seen beside it."""
    if not images.any():
        return np.zeros_like(shift)
    return harmonic_fill(np.where(images, shift, 0), images, inside)


def _gap_level(gap: Float64, inside: Bool, grid: int) -> Float64:
    """Above 0 where there is a gap: with smooth edges, a little wider than by its probability.

    Beyond a gap's edge lies the wall that it ends at, and a wall without its gap would fill what it
    encloses; where layers leave no room, no gap comes of it. Near the outline walls run along the
    rays: there it stays as it is.
    """
    smooth = cv2.GaussianBlur(gap, (0, 0), GAP_BLUR * grid)
    reach = int(round(GAP_WIDER * grid)) * 2 + 1
    wider = cv2.dilate(smooth, np.ones((reach, reach), np.uint8))
    inner = eroded(inside, int(round(GAP_FROM_RIM * grid)), square)
    # The outermost nodes are wall: front and back hang together there.
    wall = ~eroded(inside, 2, square)
    return np.where(wall, -0.5, np.where(inner, wider, smooth) - 0.5)


def _measured_shift(crop: ObjectCrop, front: Float64, inside: Bool, grid: int) -> Float64:
    """By how much the measured front lies behind the network's, continued where none is
    measured."""
    inverse, known = lattice_inverse_depth(crop.depth, grid)
    inverse = _unmixed(inverse, crop.depth, grid)
    known &= inside
    if not known.any():
        return np.zeros_like(front)
    distance = generator_distance(crop.camera)
    # One scale about the camera is free: the one that the network's own front asks for.
    scale = float(np.median((distance + front[known]) * inverse[known]))
    measured = scale / np.where(known, inverse, 1) - distance
    # A mesh of noise could not be placed.
    shift = np.clip(measured - front, -MAX_SHIFT, MAX_SHIFT)
    return harmonic_fill(np.where(known, shift, 0), known, inside)


def _unmixed(inverse: Float64, depth: Float32, grid: int) -> Float64:
    """Nodes whose mean mixes two surfaces, by the median of the pixels about them instead."""
    pixels = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    middle = cv2.medianBlur(np.ascontiguousarray(pixels), 5)
    median = at_nodes(np.asarray(middle), grid, cv2.INTER_NEAREST, cv2.BORDER_REPLICATE)
    mixed = (median > 0) & (np.abs(median - inverse) > FLYING_TOLERANCE * inverse)
    return np.where(mixed, median, inverse)


def _carried(shift: Float64, inside: Bool, grid: int) -> Float64:
    """The smooth part of a shift, as a mean over the inside."""
    sigma = SMOOTH * grid
    weight = cv2.GaussianBlur(inside.astype(np.float64), (0, 0), sigma)
    total = cv2.GaussianBlur(np.where(inside, shift, 0), (0, 0), sigma)
    return total / np.maximum(weight, 1e-6)


def covered_cells(images: NetworkImages, layers: Layers) -> Bool:
    """(H, H) network cells that the object covers enough to mean something."""
    covered = _shrunk(images.alpha[0], layers.depths.shape[-1]) > COVERED
    return covered if covered.any() else np.ones_like(covered)


def _continued(values: Float32, known: Bool) -> Float32:
    """Known cells carried outward to the nearest unknown ones, so that enlarging mixes none in."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    rows, columns = np.asarray(nearest)
    return values[rows, columns]


def _smooth_at_nodes(values: Float32, grid: int) -> Float64:
    """(G + 1, G + 1) smooth values at the lattice's nodes, from (H, H) cells."""
    cells = np.ascontiguousarray(values, np.float32)
    return at_nodes(cells, grid, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE).astype(np.float64)
