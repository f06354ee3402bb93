"""How deep is the scene when its objects stand on a flat ground? A point map without weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Camera, Float32, Float64, Mask, Photo, PointMap, Uint8

Int = NDArray[np.integer]

VERSION = "1"
NEEDS_MASKS = True

PITCH_GRID_DEG = np.arange(0.0, 75.5, 0.5)
# A contact this little below the horizon would put its object absurdly far away.
SMALLEST_DIP_DEG = 4.0
# Ground at or above the horizon counts as this many camera heights away.
FARTHEST_GROUND = 30.0
RIM_SPREAD_DEG = 4.0
RIM_LARGEST_MISFIT = 0.03
EDGE_SPREAD_DEG = 2.5
EDGE_LARGEST_LEAN_DEG = 35.0
# An edge this long, as a share of the photo's height, counts as one observation.
EDGE_WEIGHT_LENGTH = 0.2
# Upright-looking edges may be slanted sides, and round-looking outlines may be domes.
OUTLIER_SHARE = 0.3
# How far below a mask another one may begin and still count as touching, as a share of the height.
TOUCHING = 0.012
# With less of its lower outline visible an object's own contact says nothing.
SMALLEST_CONTACT_SHARE = 0.2
# Share of an object that cuts into another's convex outline when it stands on it.
STANDING_SHARE = 0.01
# Height over width below which an object counts as flat and above which as upright.
FLAT_SLIMNESS, UPRIGHT_SLIMNESS = 0.2, 0.6


@dataclass(frozen=True)
class Settings:
    """What the map assumes where neither the photo nor the camera says it.

    fov_x_deg: horizontal field of view when the camera is unknown.
    pitch_deg: angle of the optical axis below the horizontal; None estimates it from the photo.
    usual_pitch_deg, usual_pitch_spread_deg: the pitch expected before looking at the photo, and
    its standard deviation.
    camera_height: distance of the camera from the ground, in the unit the map shall have.
    depth_over_width: extent along the view of an upright object that shows no round rim, as a
    share of its visible width; flat and round objects are as deep as wide.
    backdrop: distance of the upright wall behind everything, relative to the farthest object.
    """

    fov_x_deg: float = 49.0
    pitch_deg: float | None = None
    usual_pitch_deg: float = 25.0
    usual_pitch_spread_deg: float = 14.0
    camera_height: float = 1.0
    depth_over_width: float = 0.6
    backdrop: float = 1.3


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
    float64 of the contact in each, nearest: distance of the object's front (all horizontal)."""

    columns: Int
    distance: Float64
    nearest: float


@dataclass(frozen=True, eq=False)
class Block:
    """A solid with upright sides and a level top: front (W,) float64 and back are horizontal
    distances (the front's in each column), top is a height above the ground."""

    front: Float64
    back: float
    top: float


class GroundPlane:
    """A ground plane with the masked objects standing on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def map_points(
        self, photo: Photo, camera: Camera | None, masks: tuple[Mask, ...], file: object | None
    ) -> PointMap:
        """Depth of ground, objects and a wall behind them; `file` is for other backends.

        depth (H, W) float32, positive and finite everywhere, in units of Settings.camera_height.
        """
        notes = [f"unit: the camera is {self.settings.camera_height:g} above the ground"]
        if camera is not None and (camera.height, camera.width) != photo.rgb.shape[:2]:
            raise ValueError(f"camera is {camera.height} by {camera.width}, not the photo's size")
        if camera is None:
            camera = assumed_camera(photo, self.settings.fov_x_deg)
            notes.append(f"horizontal field of view assumed: {self.settings.fov_x_deg:g} degrees")
        outlines = [_checked(mask, photo) for mask in masks if mask.pixels.any()]
        pitch_deg, source = find_pitch(photo, camera, outlines, self.settings)
        notes.append(f"pitch {pitch_deg:.1f} degrees, {source}; no roll")
        rows = row_rays(camera, np.radians(pitch_deg), self.settings.camera_height)
        cut = sum(bool(outline[-1].any()) for outline in outlines)
        if cut:
            notes.append(f"{cut} objects are cut by the lower edge: they may be nearer than shown")
        depth = scene_depth(rows, camera, outlines, self.settings)
        return PointMap(depth, camera, metric=False, notes=tuple(notes))


def load(settings: Settings, device: str) -> GroundPlane:
    """The backend; it has no weights and always runs on the CPU."""
    return GroundPlane(settings)


def assumed_camera(photo: Photo, fov_x_deg: float) -> Camera:
    """A camera with square pixels and a centred axis that sees fov_x_deg horizontally."""
    focal_px = photo.width / (2 * np.tan(np.radians(fov_x_deg) / 2))
    centre = (photo.width / 2, photo.height / 2)
    return Camera(photo.width, photo.height, focal_px, focal_px, *centre)


def row_rays(camera: Camera, pitch_rad: float, height: float) -> Rows:
    """Rays of the pixel rows of a camera that looks down by pitch_rad from `height`."""
    y = (np.arange(camera.height) + 0.5 - camera.cy_px) / camera.fy_px
    sin, cos = np.sin(pitch_rad), np.cos(pitch_rad)
    # No wall meets the rays that point straight down or back; the floor keeps its depth finite.
    return Rows(np.maximum(cos - y * sin, 0.05), y * cos + sin, height)


def scene_depth(rows: Rows, camera: Camera, masks: list[Bool], settings: Settings) -> Float32:
    """(H, W) float32 depth of the ground, the objects on it and an upright wall behind them.

    A ground point's depth follows from its row and the camera height alone (Hoiem, Efros and
    Hebert, "Putting Objects in Perspective", CVPR 2006, eq. 3).
    """
    blocks = stand_objects(rows, camera, masks, settings)
    farthest = max((block.back for block in blocks), default=10 * settings.camera_height)
    ground = rows.height / np.maximum(rows.down, 1e-9)
    backdrop = np.minimum(ground, settings.backdrop * farthest / rows.forward)
    depth = np.repeat(backdrop[:, None], camera.width, axis=1)
    for mask, block in zip(masks, blocks, strict=True):
        depth[mask] = block_depth(rows, block, mask)
    return depth.astype(np.float32)


def stand_objects(rows: Rows, camera: Camera, masks: list[Bool], settings: Settings) -> list[Block]:
    """A block for each mask, lowest in the photo first: that one hides or carries the next."""
    placed = np.zeros((camera.height, camera.width), np.uint16)
    blocks: dict[int, Block] = {}
    for index in sorted(range(len(masks)), key=lambda i: -_row_range(masks[i])[1]):
        mask = masks[index]
        contact = find_contact(rows, masks, index, placed, blocks)
        is_round = rim_pitch_deg(mask, camera) is not None
        blocks[index] = _block_on(contact, mask, is_round, rows, camera, settings)
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
    if share <= SMALLEST_CONTACT_SHARE:
        nearest = _hidden_distance(rows, mask, masks[under], below == under + 1, blocks[under])
        return Contact(columns, np.full(len(columns), nearest), nearest)
    hull = _hull_bottom(visible, lowest_rows(mask)[visible], mask.shape)
    distance = np.interp(columns, visible, rows.ground_distance(hull))
    nearest = float(np.percentile(distance, 3))
    if share < 0.5:
        # The hidden part of the foot lies between what hides it and the visible part.
        nearest = min(nearest, (blocks[under].back + nearest) / 2)
    return Contact(columns, distance, nearest)


def _hidden_distance(rows: Rows, mask: Bool, lower: Bool, touching: Bool, block: Block) -> float:
    """Distance of an object without visible contact: on the lower object's block, or behind it."""
    nearest = block.back
    if _stands_on(mask, lower):
        nearest = _distance_below(rows, block, mask, np.flatnonzero(touching))
        # The distance on a level top seen at a grazing angle is too unsure to leave its middle.
        nearest = min(nearest, (float(block.front.min()) + block.back) / 2)
    # Its top row must still lie above the ground.
    return min(nearest, 0.95 * float(rows.ground_distance(np.array(_row_range(mask)[0]))))


def _block_on(
    contact: Contact, mask: Bool, is_round: bool, rows: Rows, camera: Camera, settings: Settings
) -> Block:
    top_row, bottom_row = _row_range(mask)
    left, right = np.percentile(contact.columns, [1, 99])
    per_distance = float((right - left + 1) / camera.fx_px / rows.forward[bottom_row])
    width = per_distance * float(np.median(contact.distance))
    slimness = rows.height_at(top_row, contact.nearest + width) / width
    shares = [1.0, settings.depth_over_width]
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
    return Block(front, back, top)


def block_depth(rows: Rows, block: Block, mask: Bool) -> Float64:
    """(N,) depth of a block in the mask's pixels: its front, or its flat top where that is seen."""
    row, column = np.nonzero(mask)
    front = block.front[column] / rows.forward[row]
    down = rows.down[row]
    on_top = np.where(down > 0, (rows.height - block.top) / np.maximum(down, 1e-9), np.inf)
    over = rows.height - front * down > block.top
    back = np.maximum(block.back / rows.forward[row], front)
    return np.where(over, np.clip(on_top, front, back), front)


def lowest_rows(mask: Bool) -> Int:
    """(W,) lowest row of the mask in each column, -1 where the column is empty."""
    return np.where(mask.any(axis=0), mask.shape[0] - 1 - mask[::-1].argmax(axis=0), -1)


def mask_below(mask: Bool, others: Int) -> Int:
    """(W,) the entry of `others` (H, W) that begins just below the mask in each column, else 0."""
    reach = max(2, round(TOUCHING * mask.shape[0]))
    # Looks down and to both sides, since an occluder's outline may rise steeply.
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    kernel[:reach] = 0
    near = cv2.dilate(np.where(mask, 0, others).astype(np.uint16), kernel)
    return np.where(mask.any(axis=0), near[lowest_rows(mask), np.arange(mask.shape[1])], 0)


def _hull_bottom(columns: Int, rows: Int, shape: tuple[int, ...]) -> Int:
    """Lower edge of the convex hull: an object stands on its feet, not on its belly."""
    return lowest_rows(_filled_hull(np.stack([columns, rows], 1), shape))[columns]


def _stands_on(upper: Bool, lower: Bool) -> bool:
    """Whether the upper mask cuts into the lower one's convex outline, so is not hidden by it."""
    outline = _filled_hull(np.argwhere(lower)[:, ::-1], lower.shape)
    return bool((upper & outline).sum() > STANDING_SHARE * upper.sum())


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


def _row_range(mask: Bool) -> tuple[int, int]:
    """Top and bottom row of a mask, a few stray rows set aside."""
    top, bottom = np.percentile(np.flatnonzero(mask.any(axis=1)), [1, 99])
    return int(top), int(bottom)


def _checked(mask: Mask, photo: Photo) -> Bool:
    if mask.pixels.shape != photo.rgb.shape[:2]:
        raise ValueError(f"mask is {mask.pixels.shape}, expected {photo.rgb.shape[:2]}")
    return mask.pixels


def find_pitch(
    photo: Photo, camera: Camera, masks: list[Bool], settings: Settings
) -> tuple[float, str]:
    """The pitch in degrees and where it came from: the most probable one on a grid.

    Cues: rims of round objects, upright edges on objects, contacts below the horizon; the prior
    is the usual pitch.
    """
    if settings.pitch_deg is not None:
        return settings.pitch_deg, "as given"
    score = (PITCH_GRID_DEG - settings.usual_pitch_deg) / settings.usual_pitch_spread_deg
    score = -0.5 * score**2
    rims = [pitch for mask in masks if (pitch := rim_pitch_deg(mask, camera)) is not None]
    for pitch in rims:
        score += _robust_log(PITCH_GRID_DEG - pitch, RIM_SPREAD_DEG, 60.0)
    edges = upright_edges(photo.rgb, masks)
    score += edge_score(edges, camera)
    highest = highest_contact_row(masks)
    if highest is not None:
        below_axis_deg = np.degrees(np.arctan((highest - camera.cy_px) / camera.fy_px))
        score[PITCH_GRID_DEG + below_axis_deg < SMALLEST_DIP_DEG] = -np.inf
    if not rims and not len(edges):
        return float(PITCH_GRID_DEG[score.argmax()]), "the usual one; the photo shows no cue"
    source = f"from {len(rims)} round rims and {len(edges)} upright edges"
    return float(PITCH_GRID_DEG[score.argmax()]), source


def _robust_log(residual: Float64, spread: float, span: float) -> Float64:
    """Log of a Gaussian of `spread` mixed with a uniform outlier density over `span`."""
    inlier = np.exp(-0.5 * (residual / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    return np.log((1 - OUTLIER_SHARE) * inlier + OUTLIER_SHARE / span)


def highest_contact_row(masks: list[Bool]) -> int | None:
    """The highest row in which an object visibly ends above bare ground; None without any."""
    contacts = []
    for mask in masks:
        below = mask_below(mask, np.any(masks, axis=0))[mask.any(axis=0)]
        if (below == 0).mean() > 0.5:
            contacts.append(_row_range(mask)[1])
    return min(contacts, default=None)


def rim_pitch_deg(mask: Bool, camera: Camera) -> float | None:
    """The pitch at which a level circle would look like the mask's upper outline, if it is round.

    A circle seen from an elevation e looks like an ellipse whose axes have the ratio sin(e).
    """
    columns = np.flatnonzero(mask.any(axis=0))
    if len(columns) < 0.04 * camera.width or columns[0] == 0 or columns[-1] == camera.width - 1:
        return None
    upper = mask[:, columns].argmax(axis=0)
    radius = len(columns) / 2
    arc = radius * np.sqrt(1 - ((np.arange(len(columns)) + 0.5 - radius) / radius) ** 2)
    slope, axis_row = np.polyfit(arc, upper, 1)
    misfit = np.abs(axis_row + slope * arc - upper).mean()
    if misfit > RIM_LARGEST_MISFIT * radius or not -0.9 < slope < -0.1 or upper.min() < 1:
        return None
    below_axis = np.degrees(np.arctan((axis_row - camera.cy_px) / camera.fy_px))
    return float(np.degrees(np.arcsin(-slope)) - below_axis)


def upright_edges(rgb: Uint8, masks: list[Bool]) -> Float64:
    """(N, 4) float64 x0, y0, x1, y1 of long, nearly vertical line segments on the objects."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector().detect(gray)[0]
    if found is None or not masks:
        return np.zeros((0, 4))
    lines = found.reshape(-1, 4).astype(np.float64)
    step = lines[:, 2:] - lines[:, :2]
    length = np.hypot(step[:, 0], step[:, 1])
    lean = np.degrees(np.arctan2(np.abs(step[:, 0]), np.abs(step[:, 1])))
    size = max(3, round(0.01 * gray.shape[0]))
    near = cv2.dilate(np.any(masks, axis=0).astype(np.uint8), np.ones((size, size), np.uint8))
    middle = ((lines[:, :2] + lines[:, 2:]) / 2).astype(int)
    inside = near[middle[:, 1].clip(0, len(near) - 1), middle[:, 0].clip(0, near.shape[1] - 1)] > 0
    keep = inside & (length > 0.04 * gray.shape[0]) & (lean < EDGE_LARGEST_LEAN_DEG)
    return lines[keep]


def edge_score(segments: Float64, camera: Camera) -> Float64:
    """(P,) log-likelihood of each pitch of the grid: do the segments point at the vertical
    vanishing point, which lies at cy + fy / tan(pitch)?"""
    middle = (segments[:, :2] + segments[:, 2:]) / 2
    step = segments[:, 2:] - segments[:, :2]
    tan = np.tan(np.radians(PITCH_GRID_DEG))[:, None]
    # Scaled by tan(pitch), so that the vanishing point of a level camera stays finite.
    to_x = tan * (camera.cx_px - middle[:, 0])
    to_y = camera.fy_px + tan * (camera.cy_px - middle[:, 1])
    sine = (to_x * step[:, 1] - to_y * step[:, 0]) / np.hypot(to_x, to_y)
    length = np.hypot(step[:, 0], step[:, 1])
    residual = np.degrees(np.arcsin(np.clip(sine / length, -1, 1)))
    weight = length / (EDGE_WEIGHT_LENGTH * camera.height)
    return (weight * _robust_log(residual, EDGE_SPREAD_DEG, 70.0)).sum(axis=1)
