"""What does the point map network get of the objects' masks?

Each object stands as a block of its outline on the ground: a first guess at its depth, which the
network corrects (`stages.map_points.shared.blocks`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Camera, Float32, Float64
from stages.map_points.lite.camera import pitch_and_roll_deg
from stages.map_points.lite.network import CELL_PX, Frame, log_ground_depth
from stages.map_points.shared.blocks import row_rays, scene_depth, stand_objects

CHANNELS = 5
STEEPEST_DEG = 75.0  # a camera that looks down more steeply sees no sides
DEPTH_OVER_WIDTH, BACKDROP = 0.6, 1.3  # as `ground_plane` assumes
MIN_OBJECT_PX = 8  # of an object at the network's size; smaller ones are left out

Labels = NDArray[np.uint8]


def object_cells(
    labels: Labels, ground: Float32, up: Float64, focal: float, frame: Frame
) -> Float32:
    """(5, rows, columns): log depth of the ground, and of blocks where there are objects (else the
    ground's); how much of a cell an object covers, 0 to 1; where in the object's box a cell lies,
    x and y from -0.5 to 0.5.

    labels (inner_height, inner_width): 1 + index of the object, 0 for none; ground (rows, columns):
    its log depth; up (3,) unit, camera frame; focal: over the longer side.
    """
    rows, columns = frame.cells
    cells = np.zeros((CHANNELS, rows, columns), np.float32)
    cells[0] = cells[1] = ground
    depth = block_depths(labels, up, focal, frame)
    padded = np.zeros((rows * CELL_PX, columns * CELL_PX), labels.dtype)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    log_depth, known = np.zeros((2, *padded.shape), np.float32)
    log_depth[: labels.shape[0], : labels.shape[1]] = np.log(np.nan_to_num(depth, nan=1))
    known[: labels.shape[0], : labels.shape[1]] = np.isfinite(depth)
    largest = np.zeros((rows, columns), np.float32)
    for number in range(1, int(labels.max(initial=0)) + 1):
        mask = (padded == number).astype(np.float32)
        if mask.sum() < MIN_OBJECT_PX:
            continue
        covered = _mean_of_cells(mask)
        inside = _mean_of_cells(mask * known)
        here = (covered > largest) & (inside > 0)
        largest[here] = covered[here]
        cells[2] += covered
        cells[1][here] = _mean_of_cells(mask * log_depth)[here] / inside[here]
        for channel, along in ((3, 1), (4, 0)):
            filled = np.flatnonzero(mask.any(1 - along))
            centres = (np.arange((columns, rows)[along == 0]) + 0.5) * CELL_PX
            place = (centres - filled[0]) / (filled[-1] + 1 - filled[0]) - 0.5
            place = np.clip(place, -0.5, 0.5).astype(np.float32)
            cells[channel][here] = np.broadcast_to(
                place[:, None] if along == 0 else place, (rows, columns)
            )[here]
    return cells


def block_depths(labels: Labels, up: Float64, focal: float, frame: Frame) -> Float32:
    """(inner_height, inner_width) depth of objects as blocks; NaN elsewhere.

    Blocks are made for a camera without roll, so the labels are brought there and back: a roll
    leaves depths as they are. A few pixels of outlines get none.
    """
    height, width = labels.shape
    depth = np.full(labels.shape, np.nan, np.float32)
    numbers = [n for n in np.unique(labels) if n and (labels == n).sum() >= MIN_OBJECT_PX]
    if not numbers:
        return depth
    focal_px = focal * max(frame.inner_width, frame.inner_height)
    pitch_deg, roll_deg = pitch_and_roll_deg(up)
    if pitch_deg > STEEPEST_DEG:
        x = (np.arange(width) + 0.5 - width / 2) / max(width, height)
        y = (np.arange(height)[:, None] + 0.5 - height / 2) / max(width, height)
        on_ground = np.exp(log_ground_depth(up, focal, x, y)).astype(np.float32)
        return np.where(labels > 0, on_ground, depth)
    to_level, size = _levelled(width, height, np.radians(roll_deg))
    flags = cv2.INTER_NEAREST
    level = cv2.warpAffine(labels, to_level, size, flags=flags)
    masks = [mask for n in numbers if (mask := level == n).any()]
    camera = Camera(size[0], size[1], focal_px, focal_px, size[0] / 2, size[1] / 2)
    rows = row_rays(camera, np.radians(pitch_deg), 1.0)
    blocks = stand_objects(rows, camera, masks, DEPTH_OVER_WIDTH)
    of_blocks = scene_depth(rows, camera, masks, blocks, BACKDROP)
    back, same = (
        cv2.warpAffine(a, to_level, (width, height), flags=flags | cv2.WARP_INVERSE_MAP)
        for a in (of_blocks, level)
    )
    return np.where((labels > 0) & (same == labels), back, depth).astype(np.float32)


def network_labels(masks: list[Bool], frame: Frame) -> Labels:
    """(inner_height, inner_width): 1 + index of the mask (H, W) that covers most of a pixel."""
    size = (frame.inner_width, frame.inner_height)
    labels = np.zeros(size[::-1], np.uint8)
    most = np.full(size[::-1], 0.5, np.float32)
    for index, mask in enumerate(masks):
        covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        # A thing thinner than a pixel still shows where it covers most.
        here = covered >= np.minimum(most, max(float(covered.max()), 1e-3))
        labels[here], most[here] = index + 1, covered[here]
    return labels


def _levelled(width: int, height: int, roll_rad: float) -> tuple[Float64, tuple[int, int]]:
    """(2, 3) from the photo's pixels to those of a camera without roll that sees all of them, and
    the size of its picture."""
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    size = (
        int(np.ceil(width * abs(cos) + height * abs(sin))),
        int(np.ceil(width * abs(sin) + height * abs(cos))),
    )
    turn = np.array([[cos, sin], [-sin, cos]])
    middle = np.array([width - 1, height - 1]) / 2
    return np.column_stack([turn, (np.array(size) - 1) / 2 - turn @ middle]), size


def _mean_of_cells(values: Float32) -> Float32:
    rows, columns = values.shape[0] // CELL_PX, values.shape[1] // CELL_PX
    return values.reshape(rows, CELL_PX, columns, CELL_PX).mean((1, 3), dtype=np.float32)
