"""What lies behind the near wall of a vessel whose front is measured?

The measured front shows to the node where a near wall ends and the inner side behind it is seen;
the network's cells are coarse and mix the two there.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from scene.morphology import dilated, eroded, square
from scene.types import Bool, Float64
from stages.generate.lite.columns import STEP, Columns
from stages.generate.shared.lattice import harmonic_fill, neighbour_views

MIN_ROOM = 0.06  # cube sides between a near wall and what is behind its gap
MIN_WALL = 0.02  # cube sides: thickness of what is behind a gap
LINKED = 0.03  # cube sides between neighbouring nodes of one wall
# A gap's level where there is none, and where there is one although the network predicts none.
CLOSED, OPEN = -0.5, 0.1
BEYOND = 10.0  # cube sides: deeper than anything
FLYING_NODES = 2  # over which a step of the measured front may be smeared to either side
AROUND = np.ones((3, 3), np.uint8)


def behind_walls(columns: Columns, blurred: int) -> Columns:
    """Gaps, and what they lie between, by a measured front.

    blurred: nodes about an edge where the network's depths mix what is on either side. Within them
    a gap's far end goes on from the inner side that is seen beside it to what the network predicts
    farther inside, and a wall is as thick as it is there.
    """
    gap_level, inside = columns.gap_level, columns.inside
    opened = inside & (gap_level > 0)
    front = _sharpened(columns.front, inside, dilated(opened, 2, square))
    wall = opened & (columns.far - front > MIN_ROOM)
    unless_wall = np.where(opened, CLOSED, gap_level)
    if not wall.any():
        return replace(columns, front=front, gap_level=unless_wall)
    sure = wall
    for _ in range(blurred):
        sure = eroded(sure, 1, square) if eroded(sure, 1, square).any() else sure
    # Beside a step of the front a wall has its gap even where the network predicts none.
    before, _ = _step_sides(front, inside, inside, STEP)
    edge = before
    for _ in range(blurred):
        edge = dilated(edge, 1, square)
    wall = _joined_to(sure, wall | edge & eroded(inside, 2, square), front)
    thickness = harmonic_fill(np.where(sure, columns.near - front, 0), sure, wall)
    _, behind = _step_sides(front, wall, inside & ~wall, MIN_ROOM)
    seen = behind & ~before
    far = harmonic_fill(np.where(seen, front, columns.far), sure | seen, wall | seen)
    # What is behind a gap hangs together, and with what is beside the gap.
    around = -_min_around(np.where(wall, -far, BEYOND)) + MIN_WALL
    back = np.where(inside, np.maximum(columns.back, around), columns.back)
    return replace(
        columns,
        front=front,
        near=np.where(wall, front + thickness, columns.near),
        far=np.where(wall, far, columns.far),
        back=back,
        gap_level=np.where(wall, np.maximum(gap_level, OPEN), unless_wall),
    )


def _sharpened(front: Float64, inside: Bool, where: Bool) -> Float64:
    """A front whose steps are between nodes: a depth between two surfaces becomes the closer's."""
    for _ in range(FLYING_NODES):
        nearest = _min_around(np.where(inside, front, BEYOND))
        deepest = -_min_around(np.where(inside, -front, BEYOND))
        closer = np.where(front - nearest < deepest - front, nearest, deepest)
        mixed = np.minimum(front - nearest, deepest - front) > LINKED
        mixed &= deepest - nearest > 2 * STEP
        # The outline's own surface is as steep.
        front = np.where(eroded(inside, 2, square) & where & mixed, closer, front)
    return front


def _min_around(values: Float64) -> Float64:
    return cv2.erode(values, AROUND, borderType=cv2.BORDER_REFLECT).astype(np.float64)


def _step_sides(front: Float64, nearer: Bool, farther: Bool, min_step: float) -> tuple[Bool, Bool]:
    """The two sides of the front's steps from one region back into another: nodes before them, and
    the nodes beside these that lie by more than `least` behind."""
    before, behind = np.zeros_like(nearer), np.zeros_like(farther)
    for here, there in neighbour_views():
        step = nearer[here] & farther[there] & (front[there] - front[here] > min_step)
        before[here] |= step
        behind[there] |= step
    return before, behind


def _joined_to(sure: Bool, wall: Bool, front: Float64) -> Bool:
    """The nodes of a wall that its sure ones reach without a step of the front."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    index = np.arange(wall.size).reshape(wall.shape)
    pairs = []
    for here, there in neighbour_views():
        linked = wall[here] & wall[there] & (np.abs(front[here] - front[there]) < LINKED)
        pairs.append((index[here][linked], index[there][linked]))
    i, j = (np.concatenate(side) for side in zip(*pairs, strict=True))
    links = coo_matrix((np.ones(len(i)), (i, j)), (wall.size, wall.size))
    group = connected_components(links, directed=False)[1].reshape(wall.shape)
    return wall & np.isin(group, np.unique(group[sure]))
