"""How far does the camera look down? Cues of the photo and its masks for the pitch."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scene.types import Bool, Camera, Float64, Photo, Uint8

Int = NDArray[np.integer]

PITCH_GRID_DEG = np.arange(0.0, 75.5, 0.5)
# A contact this little below the horizon would put its object absurdly far away.
SMALLEST_DIP_DEG = 4.0
RIM_SPREAD_DEG = 4.0
RIM_LARGEST_MISFIT = 0.03
EDGE_SPREAD_DEG = 2.5
EDGE_LARGEST_LEAN_DEG = 35.0
# An edge this long, as a share of the photo's height, counts as one observation.
EDGE_WEIGHT_LENGTH = 0.2
# Upright-looking edges may be slanted sides, and round-looking outlines may be domes.
OUTLIER_FRACTION = 0.3
# How far below a mask another one may begin and still count as touching, as a share of the height.
TOUCHING = 0.012


def find_pitch(
    photo: Photo, camera: Camera, masks: list[Bool], usual_deg: float, usual_spread_deg: float
) -> tuple[float, str]:
    """The most probable pitch of a grid, in degrees, and what told it, "" where nothing did.

    Cues: rims of round objects, upright edges on objects, contacts below the horizon; the prior
    is the usual pitch and its standard deviation.
    """
    score = -0.5 * ((PITCH_GRID_DEG - usual_deg) / usual_spread_deg) ** 2
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
        return float(PITCH_GRID_DEG[score.argmax()]), ""
    source = f"from {len(rims)} round rims and {len(edges)} upright edges"
    return float(PITCH_GRID_DEG[score.argmax()]), source


def _robust_log(residual: Float64, spread: float, span: float) -> Float64:
    """Log of a Gaussian of `spread` mixed with a uniform outlier density over `span`."""
    inlier = np.exp(-0.5 * (residual / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
    return np.log((1 - OUTLIER_FRACTION) * inlier + OUTLIER_FRACTION / span)


def highest_contact_row(masks: list[Bool]) -> int | None:
    """The highest row in which an object visibly ends above bare ground; None without any."""
    contacts = []
    for mask in masks:
        below = mask_below(mask, np.any(masks, axis=0))[mask.any(axis=0)]
        if (below == 0).mean() > 0.5:
            contacts.append(row_range(mask)[1])
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


def lowest_rows(mask: Bool) -> Int:
    """(W,) lowest row of the mask in each column, -1 where the column is empty."""
    return np.where(mask.any(axis=0), mask.shape[0] - 1 - mask[::-1].argmax(axis=0), -1)


def standing_rows(mask: Bool, columns: Int) -> Int:
    """(C,) rows of the lower edge of the convex hull of some columns of a mask: an object stands on
    its feet, not on its belly."""
    canvas = np.zeros(mask.shape, np.uint8)
    hull = cv2.convexHull(np.stack([columns, lowest_rows(mask)[columns]], 1).astype(np.int32))
    return lowest_rows(cv2.fillConvexPoly(canvas, hull, 1).astype(bool))[columns]


def mask_below(mask: Bool, others: Int) -> Int:
    """(W,) the entry of `others` (H, W) that begins just below the mask's feet or the line between
    them in each column, else 0."""
    reach = max(2, round(TOUCHING * mask.shape[0]))
    # Looks down and to both sides, since an occluder's outline may rise steeply.
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    kernel[:reach] = 0
    near = cv2.dilate(np.where(mask, 0, others).astype(np.uint16), kernel)
    columns = np.flatnonzero(mask.any(axis=0))
    below = np.zeros(mask.shape[1], np.uint16)
    below[columns] = near[standing_rows(mask, columns), columns]
    return below


def row_range(mask: Bool) -> tuple[int, int]:
    """Top and bottom row of a mask, a few stray rows set aside."""
    top, bottom = np.percentile(np.flatnonzero(mask.any(axis=1)), [1, 99])
    return int(top), int(bottom)
