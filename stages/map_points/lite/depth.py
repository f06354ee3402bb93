"""From the network's coarse depths to one for every pixel of the photo.

Cells are a sixty-fourth of the photo wide. The ground's depth follows from camera and gravity at
every pixel; the cells say how far from it everything else is. They are interpolated inside each
mask by itself and never across its edge.
"""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool, Camera, Float32, Float64, Uint8
from stages.map_points.lite.camera import pitch_and_roll_deg
from stages.map_points.lite.network import CELL_PX, Frame, log_ground_depth
from stages.map_points.lite.objects import BACKDROP, DEPTH_OVER_WIDTH, STEEPEST_DEG
from stages.map_points.shared.blocks import Block, row_rays, stand_objects
from stages.map_points.shared.blocks import scene_depth as depth_of_blocks

MIN_CELL_FRACTION = 0.5  # of a cell that belongs to what it counts for
# Heights (of log depth) that close to the commonest one of the surroundings are the ground's.
ON_GROUND, OFF_GROUND = 0.04, 0.12
MIN_GROUND_FRACTION = 0.12  # of the surroundings' cells that must be ground for there to be one
BIN = 0.02
# How far objects' log depths are moved to those of blocks, which may be quite wrong.
BLOCK_WEIGHT, LARGEST_STEP, BLOCK_ROLL_DEG = 0.3, 0.15, 5.0
# A camera that looks up further than this hardly sees the ground.
HIGHEST_DEG = -10.0
TOUCHING_FRACTION = 0.02  # of the photo's height: how near each other two masks touch


def scene_depth(
    camera: Camera,
    up: Float64,
    log_depth: Float32,
    valid: Float32,
    frame: Frame,
    masks: list[Bool],
) -> Float32:
    """(H, W) float32 depth, NaN where the photo shows nothing that has one.

    log_depth, valid (rows, columns): of the network's cells, the latter a logit. The ground is one
    unit below the camera.
    """
    objects = np.zeros((frame.height, frame.width), np.uint8)
    for mask in masks:
        objects[mask] = 1
    around = _counting(1 - _covered_fraction(objects, frame))
    height = log_depth - ground_of_cells(camera, up, frame)
    level = ground_level(height, around, ground_cells(camera, up, frame))
    flat = on_ground(height - level, around)
    depth = _interpolated(flat, around, frame, (0, frame.height), (0, frame.width))
    sure = _interpolated(valid, around, frame, (0, frame.height), (0, frame.width))
    x, y = _pixels(camera, frame)
    longer = max(frame.width, frame.height)
    depth += log_ground_depth(up, camera.fx_px / longer, x, y).astype(np.float32)
    for mask in masks:
        rows, columns = _extent(mask)
        inside = _counting(_covered_fraction(mask.astype(np.uint8), frame))
        window = np.s_[slice(*rows), slice(*columns)]
        here = mask[window]
        depth[window][here] = _interpolated(log_depth - level, inside, frame, rows, columns)[here]
        sure[window][here] = 1
    return np.where(sure > 0, np.exp(depth), np.nan).astype(np.float32)


def weighed_with_blocks(depth: Float32, camera: Camera, up: Float64, masks: list[Bool]) -> Float32:
    """Depths (H, W) of objects, moved some way to those of blocks of their outlines on the ground.

    The network has seen the blocks, but few scenes; these need no training, and are drawn at the
    photo's own size. Only where the camera has next to no roll and sees the blocks' sides.
    What stands on another object is brought to where that one is.
    """
    pitch_deg, roll_deg = pitch_and_roll_deg(up)
    if not masks or abs(roll_deg) > BLOCK_ROLL_DEG or not HIGHEST_DEG <= pitch_deg <= STEEPEST_DEG:
        return depth
    rows = row_rays(camera, np.radians(pitch_deg), 1.0)
    blocks = stand_objects(rows, camera, masks, DEPTH_OVER_WIDTH)
    of_blocks = depth_of_blocks(rows, camera, masks, blocks, BACKDROP)
    apart = np.clip(np.log(of_blocks) - np.log(depth), -LARGEST_STEP, LARGEST_STEP)
    objects = np.any(masks, axis=0)
    moved = np.where(objects, depth * np.exp(BLOCK_WEIGHT * apart), depth).astype(np.float32)
    return on_supports(moved, of_blocks, masks, blocks)


def on_supports(
    depth: Float32, of_blocks: Float32, masks: list[Bool], blocks: list[Block]
) -> Float32:
    """Depths (H, W), those of supported objects as their blocks': times a factor, the one by which
    the support is off its block where they touch. The network knows no stacks."""
    depth, reach = depth.copy(), round(TOUCHING_FRACTION * len(depth))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    for index in sorted(range(len(masks)), key=lambda i: -_extent(masks[i])[0][1]):
        support = blocks[index].support
        if support is not None:
            below = _adjacent(masks[support], masks[index], kernel)
            factor = float(np.median(depth[below] / of_blocks[below]))
            depth[masks[index]] = factor * of_blocks[masks[index]]
    return depth


def _adjacent(mask: Bool, other: Bool, kernel: Uint8) -> Bool:
    """The mask's pixels that lie beside another mask; all of them where none does."""
    near = mask & (cv2.dilate(other.astype(np.uint8), kernel) > 0)
    return near if near.any() else mask


def ground_level(height: Float32, around: Float32, below: Bool) -> float:
    """The commonest height of the surroundings' cells below the horizon: the ground's; 0 if there
    is none."""
    values = height[(around > 0.5) & below]
    if not len(values):
        return 0.0
    bins = np.arange(values.min() - 3 * BIN, values.max() + 4 * BIN, BIN)
    count = np.histogram(values, bins)[0].astype(float)
    smooth = np.convolve(count, [1, 2, 3, 2, 1], "same")
    best = int(smooth.argmax())
    near = np.abs(values - (bins[best] + BIN / 2)) < 2.5 * BIN
    if near.sum() < MIN_GROUND_FRACTION * max(int((around > 0.5).sum()), 1):
        return 0.0
    return float(np.median(values[near]))


def on_ground(height: Float32, around: Float32) -> Float32:
    """Heights of cells; those that are nearly the ground's become 0, so that the ground is flat."""
    off = np.clip((np.abs(height) - ON_GROUND) / (OFF_GROUND - ON_GROUND), 0, 1)
    return (height * np.where(around > 0.5, off * off * (3 - 2 * off), 1)).astype(np.float32)


def ground_of_cells(camera: Camera, up: Float64, frame: Frame) -> Float32:
    """(rows, columns): the ground's log depth at the centres of the network's cells."""
    x, y = frame.centres()
    focal = camera.fx_px / max(frame.width, frame.height)
    return log_ground_depth(up, focal, x, y).astype(np.float32)


def ground_cells(camera: Camera, up: Float64, frame: Frame) -> Bool:
    """(rows, columns): cells of the photo that look down at the ground, not along it."""
    x, y = frame.centres()
    focal = camera.fx_px / max(frame.width, frame.height)
    dip = -(up[0] * x / focal + up[1] * y / focal + up[2]) / np.sqrt(1 + (x**2 + y**2) / focal**2)
    inside = (np.abs(x) * 2 <= frame.inner_width / max(frame.inner_width, frame.inner_height)) & (
        np.abs(y) * 2 <= frame.inner_height / max(frame.inner_width, frame.inner_height)
    )
    return (dip > 0.06) & inside


def _pixels(camera: Camera, frame: Frame) -> tuple[Float64, Float64]:
    """(1, W) and (H, 1): pixels' distances from the optical axis over the longer side."""
    longer = max(frame.width, frame.height)
    x = (np.arange(frame.width) + 0.5 - camera.cx_px) / longer
    y = (np.arange(frame.height) + 0.5 - camera.cy_px) / longer * camera.fx_px / camera.fy_px
    return x[None], y[:, None]


def _covered_fraction(mask: np.ndarray, frame: Frame) -> Float32:
    """(rows, columns) float32: how much of every cell a mask (H, W) of 0 and 1 covers."""
    rows, columns = frame.cells
    whole = np.zeros((rows, columns), np.float32)
    high = max(1, round(frame.inner_height / CELL_PX))
    wide = max(1, round(frame.inner_width / CELL_PX))
    small = cv2.resize(mask.astype(np.float32), (wide, high), interpolation=cv2.INTER_AREA)
    whole[:high, :wide] = small[:rows, :columns]
    return whole


def _counting(covered: Float32) -> Float32:
    """Shares of cells, 0 where they are small beside the largest."""
    return np.where(covered >= min(MIN_CELL_FRACTION, float(covered.max())), covered, 0).astype(
        np.float32
    )


def _interpolated(
    values: Float32, weights: Float32, frame: Frame, rows: tuple[int, int], columns: tuple[int, int]
) -> Float32:
    """Cells' values at the photo's pixels of some rows and columns: bilinear, by weight; far from
    any weight, those of the nearest cell that has some."""
    filled, known = _filled(values, weights)
    scale = frame.inner_width / frame.width / CELL_PX, frame.inner_height / frame.height / CELL_PX
    matrix = np.array(
        [[scale[0], 0, (columns[0] + 0.5) * scale[0] - 0.5],
         [0, scale[1], (rows[0] + 0.5) * scale[1] - 0.5]]
    )  # fmt: skip
    size = (columns[1] - columns[0], rows[1] - rows[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    both = [
        cv2.warpAffine(a, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for a in (filled * known, known)
    ]
    return np.asarray(both[0] / np.maximum(both[1], 1e-6), np.float32)


def _filled(values: Float32, weights: Float32) -> tuple[Float32, Float32]:
    """Values with those of the nearest weighted cell where there is no weight, and the weights,
    tiny there."""
    from scipy.ndimage import distance_transform_edt

    known = weights > 0
    if not known.any():
        return values, np.ones_like(weights)
    nearest = np.asarray(
        distance_transform_edt(~known, return_distances=False, return_indices=True)
    )
    return values[nearest[0], nearest[1]], np.maximum(weights, 1e-3).astype(np.float32)


def _extent(mask: Bool) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
