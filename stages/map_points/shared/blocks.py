"""How deep are objects that stand on a flat ground, seen as blocks with upright sides?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scene.types import Bool, Camera, Float32, Float64
from stages.map_points.shared.pitch import (
    Int,
    lowest_rows,
    mask_below,
    rim_pitch_deg,
    row_range,
    standing_rows,
)

# Ground at or above the horizon counts as this many camera heights away.
FARTHEST_GROUND = 30.0
# With less of its lower outline visible an object's own contact does not count.
MIN_CONTACT_FRACTION = 0.2
# Part of an object's height that its feet are in; and how much farther than the back of what they
# touch the ground would have to be for the object not to stand on that.
FEET_FRACTION, FAR_CONTACT = 0.15, 1.5
# What is sure to stand on another object: share of its columns above that one, of its feet that end
# at it, least width beside it; and how far the ground would be if nothing else tells.
SURE_COLUMNS, SURE_FEET, SURE_WIDTH, SURE_CONTACT = 0.95, 0.9, 0.1, 2.5
ADJACENT = 0.01  # of the photo's width: how near is beside
FARTHEST_BEHIND = 1.5  # distance of what something hides, over that of its back
# Share of an object that cuts into another's convex outline when it stands on it.
STANDING_FRACTION = 0.01
# Share of an object's rows below which its top is seen too flatly to be modelled.
THINNEST_TOP = 0.2
# Height over width below which an object counts as flat and above which as upright.
FLAT_SLIMNESS, UPRIGHT_SLIMNESS = 0.2, 0.6


@dataclass(frozen=True, eq=False)
class Rows:
    """The ray (x, y, 1) of each pixel row of a camera without roll: forward, down (H,) float64 are
    its components along the horizontal view direction and along gravity; height: of the camera."""

    forward: Float64
    down: Float64
    height: float

    def ground_distance(self, row: Int) -> Float64:
        """Horizontal distance of the ground in some rows, at most FARTHEST_GROUND heights."""
        forward, down = self.forward[row], self.down[row]
        return self.height * forward / np.maximum(down, forward / FARTHEST_GROUND)

    def height_at(self, row: int, distance: float) -> float:
        """Height above the ground of the ray of a row at a horizontal distance."""
        return float(self.height - distance * self.down[row] / self.forward[row])


@dataclass(frozen=True, eq=False)
class Contact:
    """Where an object meets what is below it: columns (C,) int that its mask covers, distance (C,)
    float64 of the contact in each, nearest: distance of the object's front (all horizontal);
    support: index of the object that it surely stands on, if there is one."""

    columns: Int
    distance: Float64
    nearest: float
    support: int | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """A solid with upright sides and a level top: front (W,) float64 and back are horizontal
    distances (the front's in each column), top is a height above the ground; support: index of the
    object that it surely stands on, if there is one."""

    front: Float64
    back: float
    top: float
    support: int | None = None


def row_rays(camera: Camera, pitch_rad: float, height: float) -> Rows:
    """Rays of the pixel rows of a camera that looks down by pitch_rad from `height`."""
    y = (np.arange(camera.height) + 0.5 - camera.cy_px) / camera.fy_px
    sin, cos = np.sin(pitch_rad), np.cos(pitch_rad)
    # No wall meets the rays that point straight down or back; the floor keeps its depth finite.
    return Rows(np.maximum(cos - y * sin, 0.05), y * cos + sin, height)


def scene_depth(
    rows: Rows, camera: Camera, masks: list[Bool], blocks: list[Block], backdrop: float
) -> Float32:
    """(H, W) float32 depth of the ground, the objects' blocks on it and an upright wall behind.

    backdrop: distance of the wall, relative to the farthest object. A ground point's depth follows
    from its row and the camera height alone (Hoiem, Efros and Hebert, "Putting Objects in
    Perspective", CVPR 2006, eq. 3).
    """
    farthest = max((block.back for block in blocks), default=10 * rows.height)
    ground = rows.height / np.maximum(rows.down, 1e-9)
    behind = np.minimum(ground, backdrop * farthest / rows.forward)
    depth = np.repeat(behind[:, None], camera.width, axis=1)
    for mask, block in zip(masks, blocks, strict=True):
        depth[mask] = block_depth(rows, block, mask)
    return depth.astype(np.float32)


def stand_objects(
    rows: Rows, camera: Camera, masks: list[Bool], depth_over_width: float
) -> list[Block]:
    """A block for each mask, lowest in the photo first: that one hides or carries the next.

    depth_over_width: extent along the view of an upright object that shows no round rim, as a
    share of its width.
    """
    placed = np.zeros((camera.height, camera.width), np.uint16)
    blocks: dict[int, Block] = {}
    for index in sorted(range(len(masks)), key=lambda i: -row_range(masks[i])[1]):
        mask = masks[index]
        contact = find_contact(rows, masks, index, placed, blocks)
        is_round = rim_pitch_deg(mask, camera) is not None
        blocks[index] = _block_on(contact, mask, is_round, rows, camera, depth_over_width)
        placed[mask] = index + 1
    return [blocks[index] for index in range(len(masks))]


def find_contact(
    rows: Rows, masks: list[Bool], index: int, placed: Int, blocks: dict[int, Block]
) -> Contact:
    """Where object `index` meets the ground, or what hides or carries its foot.

    placed (H, W): 1 + index of the objects that already have a block, else 0.
    """
    mask = masks[index]
    below = mask_below(mask, placed)
    columns = np.flatnonzero(mask.any(axis=0))
    visible = columns[below[columns] == 0]
    share = len(visible) / len(columns)
    under = int(np.bincount(below, minlength=2)[1:].argmax())
    touching = below == under + 1
    carried = under in blocks and _is_carried(rows, mask, touching, blocks[under])
    if share <= MIN_CONTACT_FRACTION or carried:
        carried = carried or _cuts_into(mask, masks[under])
        nearest = _hidden_distance(rows, mask, touching, blocks[under], carried)
        sure = carried and _is_sure(rows, mask, masks[under], touching, blocks[under])
        distance = np.full(len(columns), nearest)
        return Contact(columns, distance, nearest, under if sure else None)
    feet = standing_rows(mask, visible)
    distance = np.interp(columns, visible, rows.ground_distance(feet))
    nearest = float(np.percentile(distance, 3))
    if share < 0.5:
        # The hidden part of the foot lies between what hides it and the visible part.
        nearest = min(nearest, (blocks[under].back + nearest) / 2)
    return Contact(columns, distance, nearest)


def _is_carried(rows: Rows, mask: Bool, touching: Bool, block: Block) -> bool:
    """Whether the feet of a mask end at another object, and the ground behind that would be too far
    away for them, whatever hangs over beside it."""
    columns, feet = _feet(mask)
    far = rows.ground_distance(feet.max()) > FAR_CONTACT * block.back
    return bool(far and touching[columns].mean() > 0.5)


def _is_sure(rows: Rows, mask: Bool, support: Bool, touching: Bool, block: Block) -> bool:
    """Whether a mask that seems to stand on a support cannot well stand behind it: all its feet end
    there, and the support shows on both sides of them or the ground is very far away."""
    (columns, feet), wide = _feet(mask), np.flatnonzero(mask.any(axis=0))
    below = np.flatnonzero(support.any(axis=0))
    over = np.mean((wide >= below[0]) & (wide <= below[-1]))
    if over < SURE_COLUMNS or len(wide) < SURE_WIDTH * len(below):
        return False
    reach = max(2, round(ADJACENT * mask.shape[1]))
    above = support[: int(np.median(feet)) - 1]
    left = above[:, max(wide[0] - reach, 0) : wide[0]].any()
    right = above[:, wide[-1] + 1 : wide[-1] + 1 + reach].any()
    far = rows.ground_distance(feet.max()) > SURE_CONTACT * block.back
    return bool(touching[columns].mean() > SURE_FEET and (far or (left and right)))


def _feet(mask: Bool) -> tuple[Int, Int]:
    """Columns and rows (N,) of the lowest part of a mask's standing outline."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = standing_rows(mask, columns)
    low = rows >= rows.max() - FEET_FRACTION * np.ptp(row_range(mask))
    return columns[low], rows[low]


def _hidden_distance(rows: Rows, mask: Bool, touching: Bool, block: Block, carried: bool) -> float:
    """Distance of an object without visible contact: on the block that it touches, or behind it."""
    top, bottom = (float(rows.ground_distance(np.array(row))) for row in row_range(mask))
    if carried:
        nearest = _distance_below(rows, block, mask, np.flatnonzero(touching))
        # The distance on a level top seen at a grazing angle is too unsure to leave its middle.
        nearest = min(nearest, (float(block.front.min()) + block.back) / 2)
    else:
        # Its hidden foot is nearer than the ground of its lowest visible row.
        farthest = min(max(bottom, block.back), FARTHEST_BEHIND * block.back)
        nearest = (block.back + farthest) / 2
    # Its top row must still lie above the ground.
    return min(nearest, 0.95 * top)


def _block_on(
    contact: Contact,
    mask: Bool,
    is_round: bool,
    rows: Rows,
    camera: Camera,
    depth_over_width: float,
) -> Block:
    top_row, bottom_row = row_range(mask)
    left, right = np.percentile(contact.columns, [1, 99])
    per_distance = float((right - left + 1) / camera.fx_px / rows.forward[bottom_row])
    width = per_distance * float(np.median(contact.distance))
    slimness = rows.height_at(top_row, contact.nearest + width) / width
    shares = [1.0, depth_over_width]
    share = 1.0 if is_round else np.interp(slimness, [FLAT_SLIMNESS, UPRIGHT_SLIMNESS], shares)
    # A flat object is widest at its middle, which lies behind its contact.
    if share == 1.0:
        width = max(width, per_distance * (contact.nearest + width / 2))
    back = float(contact.nearest + share * width)
    top = rows.height_at(top_row, back)
    if top < 0:
        back, top = float(rows.ground_distance(np.array(top_row))), 0.0
    # The sides of a bowl hang over the ground: there the front is that of an elliptic footprint.
    across = np.clip((contact.columns - left) / max(right - left, 1) * 2 - 1, -1, 1)
    footprint = (back - contact.nearest) / 2 * (1 - np.sqrt(1 - across**2))
    front = np.full(mask.shape[1], contact.nearest)
    front[contact.columns] += np.clip(contact.distance - contact.nearest, 0, footprint)
    return Block(front, back, top, contact.support)


def block_depth(rows: Rows, block: Block, mask: Bool) -> Float64:
    """(N,) depth of a block in the mask's pixels: its front, or its flat top where that is seen.

    A top seen as a thin strip is left out: real outlines are not level, and every peak of one
    would be taken for the top's far end.
    """
    row, column = np.nonzero(mask)
    front = block.front[column] / rows.forward[row]
    down = rows.down[row]
    on_top = np.where(down > 0, (rows.height - block.top) / np.maximum(down, 1e-9), np.inf)
    over = rows.height - front * down > block.top
    if over.any() and np.ptp(row[over]) < THINNEST_TOP * max(np.ptp(row), 1):
        over[:] = False
    back = np.maximum(block.back / rows.forward[row], front)
    return np.where(over, np.clip(on_top, front, back), front)


def _cuts_into(upper: Bool, lower: Bool) -> bool:
    """Whether the upper mask cuts into the lower one's convex outline, so is not hidden by it."""
    outline = _filled_hull(np.argwhere(lower)[:, ::-1], lower.shape)
    return bool((upper & outline).sum() > STANDING_FRACTION * upper.sum())


def _filled_hull(points: Int, shape: tuple[int, ...]) -> Bool:
    canvas = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(np.ascontiguousarray(points, np.int32))
    return cv2.fillConvexPoly(canvas, hull, 1).astype(bool)


def _distance_below(rows: Rows, block: Block, mask: Bool, columns: Int) -> float:
    """Median horizontal distance of the block just below the mask's outline in some columns."""
    row = np.minimum(lowest_rows(mask)[columns] + 1, mask.shape[0] - 1)
    contact = np.zeros(mask.shape, bool)
    contact[row, columns] = True
    depth = block_depth(rows, block, contact)
    return float(np.median(depth * rows.forward[np.nonzero(contact)[0]]))
